"""The resources that trials of the keypoint training need: files, memory and disk."""

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
from search.space.axes import Axes, Choice
from search.space.conditions import may_hold
from search.space.space import axis_values

BACKBONES = get_args(ModelSettings.model_fields["trunk"].annotation)  # the largest first
GREEDY: dict[str, Callable[[Any], float]] = {
    "train.batch_size": float,
    "data.image_size": math.prod,
    "model.trunk": lambda trunk: -BACKBONES.index(trunk),
    "model.deconv_channels": lambda channels: sum(c * 4**n for n, c in enumerate(channels)),
}
"""Settings that change the memory of a training, with the size by which their values compare."""
IN_MEMORY: dict[str, Callable[[Any], float]] = {
    **GREEDY,
    "train.accumulate": lambda parts: -parts,
    "train.ema_decay": lambda decay: decay is not None,
    "optim.name": lambda name: name != "sgd",
    "model.freeze": lambda stages: -stages,
}
"""Likewise with those that change the memory, but hardly the time, or only shorten it."""
STATE_AXES = ("model.trunk", "model.deconv_channels", "optim.name", "train.ema_decay")
"""Settings that change the size of a checkpoint."""
NAMES = 400_000
"""Bytes of a checkpoint for the names of weights, the settings and the curve, at most."""
MOST_TRIALS = 48
"""The most trials on one GPU. Source: NVIDIA's Multi-Process Service serves 48 processes."""
MOST_CONTEXT = 2 * 10**9
"""Bytes. CUDA's context of one process is smaller, so a larger value means other users."""
USABLE = 0.9
"""The share of a GPU's memory that trials are planned to use."""
LEAST_WORK = 0.1
"""The least load that the last trial on a GPU must find, as a share of a trial's load alone."""
CODE = "from kptrain.needs.memory import answer; answer()"


def greediest(axes: Axes, base: TrainConfig, where: str) -> TrainConfig:
    """The settings of the space, trial 0 included, that need the most memory: each by itself, also
    if no trial has two of them together."""
    config = base
    for path, size in IN_MEMORY.items():
        axis = axes.get(path)
        if axis is not None:
            values = axis.marks()
            largest = max([settings_of(base)[path], *values], key=size)
            config = change(config, {path: largest}, where)
    return config


def fit_gpu(axes: Axes, base: TrainConfig, where: str) -> tuple[float, str]:
    """The share for `gpu: auto`, and its explanation: as many trials share a GPU as fit into its
    memory and find enough computing time. The memory is that of the greediest settings; the time is
    that of the base if it is less, as most trials are not the greediest.

    Raises: SettingsError if none fits, or the GPU is in use; OutOfMemoryError.
    """
    greedy = greediest(axes, base, where)
    need = measured(greedy, where)
    num_fitting = trials_that_fit(need, where)
    if trials_that_work(need) < num_fitting and greedy != base:
        need = replace(need, busy=min(need.busy, measured(base, where).busy))
    share = share_of_each(need, num_fitting)
    values = axis_values({path: settings_of(greedy)[path] for path in GREEDY})
    message = (
        f"GPU       {share:g} for each trial: {_why(need, num_fitting)} ({values} alone took "
        f"{need.peak / 1e9:.2f} GB and {need.context / 1e9:.2f} GB of context; of "
        f"{need.total / 1e9:.1f} GB, {1 - USABLE:.0%} stay free)"
    )
    return share, message


def measured(config: TrainConfig, where: str) -> MemoryNeed:
    """The memory and load of a training on this machine's GPU, measured in a separate process, so
    that its memory is freed.

    Raises: SettingsError, also if it cannot be measured; OutOfMemoryError.
    """
    done = subprocess.run(  # noqa: S603  (our own code)
        programs.command(CODE),
        input=config.model_dump_json(),
        env=programs.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    answer = json.loads(["{}", *done.stdout.splitlines()][-1])
    if "busy" in answer:
        return MemoryNeed(**answer)
    kind = getattr(errors, answer.get("kind", ""), None)
    if kind is not None:
        raise kind(answer["error"])
    reason = answer.get("error", f"the measuring process ended with exit code {done.returncode}")
    raise SettingsError(
        f"{where}: resources.gpu: auto must be able to train on this machine's GPU, but "
        f"cannot ({' '.join(reason.split())[:200]}); give a share, such as 0.25"
    )


def share_of_each(need: MemoryNeed, num_fitting: int) -> float:
    """The share of each trial of a GPU whose memory holds `num_fitting`."""
    trials = min(num_fitting, trials_that_work(need))
    return math.floor(1e4 / trials) / 1e4  # rounded down: the sum must not exceed one


def trials_that_work(need: MemoryNeed) -> int:
    """The number of trials that keep a GPU busy; one more would mostly wait."""
    return max(math.ceil(1 / need.busy - LEAST_WORK), 1)


def _why(need: MemoryNeed, num_fitting: int) -> str:
    """What limits the number of trials on a GPU."""
    busy = f"one keeps the GPU busy for {need.busy:.0%} of the time"
    working = trials_that_work(need)
    if working < num_fitting:
        shared = "none shares it" if working == 1 else f"{working} share it"
        return f"{busy}, so {shared}; memory would admit {num_fitting}"
    limit = ", the most that it serves" if num_fitting == MOST_TRIALS else ""
    return f"memory admits {num_fitting}{limit}; {busy}"


def trials_that_fit(need: MemoryNeed, where: str) -> int:
    """The number of trials that fit into a GPU's memory, at most MOST_TRIALS.

    Raises: SettingsError if none fits, or others use the GPU.
    """
    if need.context > MOST_CONTEXT:
        raise SettingsError(
            f"{where}: resources.gpu: auto must have a GPU that no other process uses, but of its "
            f"{need.total / 1e9:.1f} GB {need.context / 1e9:.1f} GB are in use; wait, or give a "
            f"share"
        )
    each = need.peak + max(need.context, CONTEXT)  # as trials are capped by CONTEXT
    trials = min(int(USABLE * need.total // each), MOST_TRIALS)
    if trials == 0:
        raise SettingsError(
            f"{where}: a trial must fit into {USABLE:.0%} of a GPU's {need.total / 1e9:.1f} GB, "
            f"but the largest takes {each / 1e9:.1f} GB; lower train.batch_size or another of "
            f"{', '.join(GREEDY)}, or raise train.accumulate"
        )
    return trials


def most_bytes(axes: Axes, base: TrainConfig, where: str) -> tuple[int, int]:
    """The bytes of the best checkpoint and of the state to resume from, for the largest model."""
    sizes = [checkpoint_bytes(config) for config in with_each(axes, base, where, STATE_AXES)]
    return max(size for size, _ in sizes) + NAMES, max(size for _, size in sizes) + NAMES


def check_files(axes: Axes, base: TrainConfig, where: str) -> None:
    """Check the weights, and the data unless they are the synthetic set.

    Raises: DataError or WeightsError.
    """
    check_weights(axes, base, where)
    if base.data.root != EMBEDDED:
        for name in ("train", "val"):
            read_split(data_folder(base.data), name, base.data.strict)


def check_weights(axes: Axes, base: TrainConfig, where: str) -> None:
    """Check the weights of every backbone; torchvision's are downloaded once. Raises:
    WeightsError."""
    for config in with_each(axes, base, where, ("model.trunk", "model.weights")):
        weights_file(config.model)


def with_each(
    axes: Axes, base: TrainConfig, where: str, paths: Iterable[str]
) -> Iterator[TrainConfig]:
    """The base, then the base with each combination of the values of some axes, of ranges the
    ends; without a value on an axis that does not hold there."""
    yield base
    choices = {
        path: axis.values if isinstance(axis, Choice) else axis.ends()
        for path in paths
        if (axis := axes.get(path)) is not None
    }
    for values in itertools.product(*choices.values()):
        point = dict(zip(choices, values, strict=True))
        held = [path for path in point if may_hold(axes, path, point)]
        if all(path in held or value == choices[path][0] for path, value in point.items()):
            yield change(base, {path: point[path] for path in held}, where)
