"""What trials of the training that comes with this package need: files, memory and disk."""

import itertools
import json
import math
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, get_args

from kptrain import errors
from kptrain.annotations.reader import read_split
from kptrain.config import ModelSettings, TrainConfig
from kptrain.data.pack import data_folder
from kptrain.errors import SettingsError
from kptrain.model.network import weights_file
from kptrain.needs.memory import MemoryNeed, checkpoint_bytes
from kptrain.resolve import EMBEDDED, change, settings_of
from search.machine import programs
from search.machine.gpus import CONTEXT
from search.space.axes import Choice
from search.space.space import axis_values
from search.space.training import Axes

TRUNKS = get_args(ModelSettings.model_fields["trunk"].annotation)  # the largest first
GREEDY: dict[str, Callable[[Any], float]] = {
    "train.batch_size": float,
    "data.image_size": math.prod,
    "model.trunk": lambda trunk: -TRUNKS.index(trunk),
    "model.deconv_channels": lambda channels: sum(c * 4**n for n, c in enumerate(channels)),
}
"""What decides how much memory a training needs, and by what its values compare."""
MODEL_AXES = ("model.trunk", "model.deconv_channels")
NAMES = 400_000
"""Bytes that the names of weights, the settings and a curve may take in a checkpoint."""
MOST_TRIALS = 48
"""That one GPU serves. Source: NVIDIA's Multi-Process Service serves 48 processes."""
MOST_CONTEXT = 2 * 10**9
"""Bytes; CUDA holds less than this for a process, so that more belongs to others."""
USABLE = 0.9
"""Of a GPU's memory, what trials are planned to fill."""
LEAST_WORK = 0.1
"""Of what one trial does alone, that the last of those on a GPU must find to do."""
CODE = "from kptrain.needs.memory import answer; answer()"


def greediest(axes: Axes, base: TrainConfig, where: str) -> TrainConfig:
    """The settings of the space, trial 0 included, that need the most memory."""
    config = base
    for path, size in GREEDY.items():
        axis = axes.get(path)
        if axis is not None:
            values = axis.values if isinstance(axis, Choice) else axis.ends()
            largest = max([settings_of(base)[path], *values], key=size)
            config = change(config, {path: largest}, where)
    return config


def fit_gpu(axes: Axes, base: TrainConfig, where: str) -> tuple[float, str]:
    """The share of each of the most trials that a GPU holds and that do not wait for each other,
    instead of `gpu: auto`, and why. What they hold is that of the greediest, and how busy they keep
    it that of a usual one, of the base, if that is less: most trials are not the greediest.

    Raises: SettingsError if not even one fits, or the GPU is in use; OutOfMemoryError.
    """
    greedy = greediest(axes, base, where)
    need = measured(greedy, where)
    held = trials_that_fit(need, where)
    if trials_that_work(need) < held and greedy != base:
        need = replace(need, busy=min(need.busy, measured(base, where).busy))
    share = share_of_each(need, held)
    spelled = axis_values({path: settings_of(greedy)[path] for path in GREEDY})
    told = (
        f"GPU       {share:g} for each trial: {_why(need, held)} ({spelled} alone took "
        f"{need.peak / 1e9:.2f} GB and {need.context / 1e9:.2f} GB of context; of "
        f"{need.total / 1e9:.1f} GB, {1 - USABLE:.0%} stay free)"
    )
    return share, told


def measured(config: TrainConfig, where: str) -> MemoryNeed:
    """What a training needs on this machine's GPU, measured in a process of its own, so that all
    that it held is free again.

    Raises: SettingsError, also for whatever keeps it from being measured; OutOfMemoryError.
    """
    done = subprocess.run(  # noqa: S603  (our own code)
        programs.command(CODE),
        input=config.model_dump_json(),
        env=programs.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(["{}", *done.stdout.splitlines()][-1])
    if "busy" in told:
        return MemoryNeed(**told)
    kind = getattr(errors, told.get("kind", ""), None)
    if kind is not None:
        raise kind(told["error"])
    reason = told.get("error", f"the process that measured has ended with {done.returncode}")
    raise SettingsError(
        f"{where}: resources.gpu: auto must be able to train on this machine's GPU, but "
        f"cannot ({' '.join(reason.split())[:200]}); give a share, such as 0.25"
    )


def share_of_each(need: MemoryNeed, held: int) -> float:
    """The share of each trial of a GPU whose memory holds so many; no more than keep it busy."""
    trials = min(held, trials_that_work(need))
    return math.floor(1e4 / trials) / 1e4  # a rounded share must not add up to more than one


def trials_that_work(need: MemoryNeed) -> int:
    """How many at once keep a GPU busy: a further one that finds hardly any work would wait."""
    return max(math.ceil(1 / need.busy - LEAST_WORK), 1)


def _why(need: MemoryNeed, held: int) -> str:
    """What decides how many trials share a GPU, in words."""
    busy, working = (
        f"one keeps the GPU busy for {need.busy:.0%} of the time",
        trials_that_work(need),
    )
    if working < held:
        shared = "none shares it" if working == 1 else f"{working} share it"
        return f"{busy}, so {shared}; memory would admit {held}"
    return f"memory admits {held}{', the most that it serves' * (held == MOST_TRIALS)}; {busy}"


def trials_that_fit(need: MemoryNeed, where: str) -> int:
    """How many trials a GPU's memory holds, at most MOST_TRIALS.

    Raises: SettingsError if not even one, or others use the GPU.
    """
    if need.context > MOST_CONTEXT:
        raise SettingsError(
            f"{where}: resources.gpu: auto needs a GPU that nobody else uses, but of its "
            f"{need.total / 1e9:.1f} GB {need.context / 1e9:.1f} GB are taken; wait, or give "
            f"a share"
        )
    each = need.peak + max(need.context, CONTEXT)  # as trials are capped by CONTEXT
    trials = min(int(USABLE * need.total // each), MOST_TRIALS)
    if trials == 0:
        raise SettingsError(
            f"{where}: a trial must fit into {USABLE:.0%} of a GPU's {need.total / 1e9:.1f} GB, "
            f"but the greediest takes {each / 1e9:.1f} GB; lower train.batch_size or another of "
            f"{', '.join(GREEDY)}"
        )
    return trials


def most_bytes(axes: Axes, base: TrainConfig, where: str) -> tuple[int, int]:
    """Of the best checkpoint and of the state to resume from, of the largest model."""
    sizes = [checkpoint_bytes(config) for config in with_each(axes, base, where, MODEL_AXES)]
    return max(size for size, _ in sizes) + NAMES, max(size for _, size in sizes) + NAMES


def check_files(axes: Axes, base: TrainConfig, where: str) -> None:
    """Look at the weights, and at the data unless they are drawn when they are needed.

    Raises: DataError or WeightsError.
    """
    check_weights(axes, base, where)
    if base.data.root != EMBEDDED:
        for name in ("train", "val"):
            read_split(data_folder(base.data), name, base.data.strict)


def check_weights(axes: Axes, base: TrainConfig, where: str) -> None:
    """Look at those of every trunk; torchvision's are fetched, once. Raises: WeightsError."""
    for config in with_each(axes, base, where, ("model.trunk", "model.weights")):
        weights_file(config.model)


def with_each(
    axes: Axes, base: TrainConfig, where: str, paths: Iterable[str]
) -> Iterator[TrainConfig]:
    """The base, and the base with every combination of some of the space's choices."""
    yield base
    varied = {path: axes.get(path) for path in paths}
    choices = {path: axis.values for path, axis in varied.items() if isinstance(axis, Choice)}
    for values in itertools.product(*choices.values()):
        yield change(base, dict(zip(choices, values, strict=True)), where)
