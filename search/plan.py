"""What a search will do and can cost, said before anything is started."""

import itertools
import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, get_args

from kptrain.coco import read_split
from kptrain.config import ModelSettings, TrainConfig
from kptrain.device import find_device
from kptrain.errors import SettingsError
from kptrain.memory import MemoryNeed, checkpoint_bytes, measure_memory
from kptrain.model import weights_file
from kptrain.pack import data_folder
from kptrain.resolve import EMBEDDED, change, settings_of
from search.budget import describe_budget
from search.domains import Choice
from search.searcher import axis_values
from search.space import Space, early_rung, max_epochs, rungs

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
"""On one GPU. Source: NVIDIA's Multi-Process Service serves 48 processes."""
MOST_CONTEXT = 2 * 10**9
"""Bytes; CUDA holds less than this for a process, so that more belongs to others."""
USABLE = 0.9
"""Of a GPU's memory, what trials are planned to fill."""


def concurrent_trials(cpu: int, gpu: float, num_cpus: int, num_gpus: int) -> int:
    """How many trials run at once, each on `cpu` cores and a share `gpu` of one GPU or of none."""
    by_cpu = num_cpus // cpu
    if not gpu:
        return by_cpu
    return min(by_cpu, num_gpus * math.floor(1 / gpu))


def gpu_share(space: Space, base: TrainConfig, has_gpu: bool) -> float:
    """What a trial holds of a GPU: without any, or told to, the same file runs on CPUs.

    Raises: SettingsError if the share is to be found, but was not: this machine has no GPU.
    """
    if not has_gpu or base.train.device == "cpu":
        return 0.0
    if space.resources.gpu == "auto":
        raise SettingsError(
            f"{space.path}: resources.gpu can be auto only where this machine has a GPU to measure "
            f"on, but it has none; give a share, such as 0.25"
        )
    return space.resources.gpu


def greediest(space: Space, base: TrainConfig) -> TrainConfig:
    """The settings of the space, trial 0 included, that need the most memory."""
    config = base
    for path, size in GREEDY.items():
        axis = space.axes.get(path)
        if axis is not None:
            values = axis.values if isinstance(axis, Choice) else axis.ends()
            largest = max([settings_of(base)[path], *values], key=size)
            config = change(config, {path: largest}, str(space.path))
    return config


def fit_gpu(space: Space, base: TrainConfig) -> tuple[Space, str]:
    """Replace `gpu: auto` by the share with which most trials fit on a GPU; say why.

    Raises: SettingsError if not even one does, or the GPU is in use; OutOfMemoryError.
    """
    greedy = greediest(space, base)
    # In a process of its own, so that all it held is free again.
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            need = process.submit(measure_memory, greedy).result()
    except RuntimeError as error:  # of CUDA, or of a process that died
        raise SettingsError(
            f"{space.path}: resources.gpu: auto must be able to train on this machine's GPU, but "
            f"cannot ({' '.join(str(error).split())[:200]}); give a share, such as 0.25"
        ) from None
    share = share_that_fits(need, str(space.path))
    resources = space.resources.model_copy(update={"gpu": share})
    spelled = axis_values({path: settings_of(greedy)[path] for path in GREEDY})
    told = (
        f"GPU       {share:g} for each trial: {spelled} alone took {need.peak / 1e9:.2f} GB and "
        f"{need.context / 1e9:.2f} GB of context; of {need.total / 1e9:.1f} GB, "
        f"{1 - USABLE:.0%} stay free"
    )
    return space.model_copy(update={"resources": resources}), told


def share_that_fits(need: MemoryNeed, where: str) -> float:
    """The share of a GPU of each of the most trials that fit, at most MOST_TRIALS.

    Raises: SettingsError if not even one does, or others use the GPU.
    """
    if need.context > MOST_CONTEXT:
        raise SettingsError(
            f"{where}: resources.gpu: auto needs a GPU that nobody else uses, but of its "
            f"{need.total / 1e9:.1f} GB {need.context / 1e9:.1f} GB are taken; wait, or give "
            f"a share"
        )
    each = need.peak + need.context
    trials = min(int(USABLE * need.total // each), MOST_TRIALS)
    if trials == 0:
        raise SettingsError(
            f"{where}: a trial must fit into {USABLE:.0%} of a GPU's {need.total / 1e9:.1f} GB, "
            f"but the greediest takes {each / 1e9:.1f} GB; lower train.batch_size or another of "
            f"{', '.join(GREEDY)}"
        )
    return math.floor(1e4 / trials) / 1e4  # a rounded share must not add up to more than one


def disk_bound(space: Space, base: TrainConfig, at_once: int) -> int:
    """The most bytes that checkpoints take at any time.

    A running trial has its best checkpoint and its state to resume from, and writes the next beside
    them; one that waits at a rung has both; of those that ended the best `keep` stay, and the
    winner's is copied. A confirmation keeps one of each of its settings beside these.
    """
    sizes = [checkpoint_bytes(config) for config in _with_each(space, base, MODEL_AXES)]
    best, resume = max(size for size, _ in sizes) + NAMES, max(size for _, size in sizes) + NAMES
    kept = space.keep + 1 + confirmed_settings(space)
    last = max_epochs(space, base)
    num_rungs = len(rungs(space.asha, last)) + (early_rung(space.asha, last) is not None)
    waiting = space.asha.reduction * num_rungs
    return (2 * at_once + waiting) * (best + resume) + kept * best


def confirmed_settings(space: Space) -> int:
    """The most settings that are confirmed: the best few and the defaults, if there are as many."""
    if space.confirm is None:
        return 0
    most = space.confirm.top + 1
    return most if space.trials is None else min(most, space.trials)


def _describe_confirm(space: Space, epochs: int) -> str:
    if space.confirm is None:
        return ""
    trainings = confirmed_settings(space) * space.confirm.seeds
    top = min(space.confirm.top, space.trials or space.confirm.top)
    return (
        f"Confirm   top {top} and the defaults, "
        f"{space.confirm.seeds} seeds each: at most {trainings * epochs} epochs\n"
    )


def most_at_once(space: Space, at_once: int) -> int:
    """Trials or trainings that run at once, as far as there are so many."""
    seeds = 0 if space.confirm is None else space.confirm.seeds
    trials = at_once if space.trials is None else space.trials
    return min(at_once, max(trials, confirmed_settings(space) * seeds))


def describe_plan(space: Space, base: TrainConfig, num_gpus: int) -> str:
    """Trials, rungs, concurrency, and the most epochs and disk that the search can cost."""
    epochs = max_epochs(space, base)
    stops, early = rungs(space.asha, epochs), early_rung(space.asha, epochs)
    sooner = f"; after epoch {early} too, once that is shown to tell as much" if early else ""
    asha = (
        f"after epoch {', '.join(map(str, stops))}: one in {space.asha.reduction} goes on{sooner}"
        if stops
        else f"stops none: no trial is longer than grace_epochs ({space.asha.grace_epochs})"
    )
    num_cpus = os.cpu_count() or 1
    cpu, gpu = space.resources.cpu, gpu_share(space, base, num_gpus > 0)
    at_once = concurrent_trials(cpu, gpu, num_cpus, num_gpus)
    hold = f"{cpu} CPU and {gpu:g} GPU" if gpu else f"{cpu} CPU (no GPU found)"
    axes = "\n".join(f"          {path}: {axis}" for path, axis in space.axes.items())
    disk = disk_bound(space, base, most_at_once(space, at_once)) / 1e9
    return (
        f"Space     {space.path}\n{axes}\n"
        f"Trials    {space.trials or 'as many as the budget has room for'}, judged by "
        f"{space.metric}; the first has the defaults\n"
        f"{_describe_budget(space)}"
        f"ASHA      {asha}\n"
        f"{_describe_confirm(space, epochs)}"
        f"At once   {at_once} on this machine ({num_cpus} CPUs, {num_gpus} GPUs), each on {hold}\n"
        f"At most   {most_epochs(space, epochs)}, and {disk:.2g} GB of checkpoints"
    )


def _describe_budget(space: Space) -> str:
    """A line, unless trials are all that is given."""
    parts = describe_budget(space)
    if len(parts) == 1 and space.trials is not None:
        return ""
    first = " (what is spent first ends the search)" if len(parts) > 1 else ""
    return f"Budget    {', '.join(parts)}{first}\n"


def most_epochs(space: Space, longest: int) -> str:
    """The least bound on the epochs of all trials, in words; `longest` is that of one trial."""
    bounds: list[tuple[int, str]] = []
    if space.trials is not None:
        bounds.append((space.trials * longest, f"{space.trials} trials of {longest}"))
    if space.epochs is not None:
        bounds.append((space.epochs, "the budget"))
    if not bounds:
        return f"the epochs that {' and '.join(describe_budget(space))} have room for"
    count, why = min(bounds)
    return f"{count} epochs ({why})"


def check_machine(space: Space, base: TrainConfig) -> None:
    """Raises: SettingsError if no trial fits on this machine, or its device is not there."""
    device = find_device(base)
    check_gpu_hours(space, gpu_share(space, base, device.type == "cuda"))
    cpu, num_cpus = space.resources.cpu, os.cpu_count() or 1
    if cpu > num_cpus:  # a share of a GPU fits wherever there is one
        raise SettingsError(
            f"{space.path}: resources.cpu must be at most the CPUs of this machine ({num_cpus}), "
            f"but got {cpu}; lower it, or name a cluster with --address"
        )


def check_gpu_hours(space: Space, gpu: float) -> None:
    """Raises: SettingsError if a budget of GPU hours would last for ever: trials hold no GPU."""
    if space.gpu_hours is not None and not gpu:
        raise SettingsError(
            f"{space.path}: gpu_hours ({space.gpu_hours:g}) must be given only where trials use a "
            f"GPU, but none does here, so that nothing would be spent; give hours instead"
        )


def check_files(space: Space, base: TrainConfig) -> None:
    """Look at the data, and at the weights of every trunk; torchvision's are fetched, once.

    Raises: DataError or WeightsError.
    """
    for config in _with_each(space, base, ("model.trunk", "model.weights")):
        weights_file(config.model)
    if base.data.root != EMBEDDED:  # that one is drawn when it is needed
        for name in ("train", "val"):
            read_split(data_folder(base.data), name, base.data.strict)


def _with_each(space: Space, base: TrainConfig, paths: Iterable[str]) -> Iterator[TrainConfig]:
    """The base, and the base with every combination of some of the space's choices."""
    yield base
    axes = {path: space.axes.get(path) for path in paths}
    choices = {path: axis.values for path, axis in axes.items() if isinstance(axis, Choice)}
    for values in itertools.product(*choices.values()):
        yield change(base, dict(zip(choices, values, strict=True)), str(space.path))
