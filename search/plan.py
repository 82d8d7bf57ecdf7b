"""What a search will do and can cost, said before anything is started."""

import itertools
import math
import os

from kptrain.coco import read_split
from kptrain.config import TrainConfig
from kptrain.device import find_device
from kptrain.errors import SettingsError
from kptrain.model import weights_file
from kptrain.pack import data_folder
from kptrain.resolve import EMBEDDED, change
from search.domains import Choice
from search.space import Space, max_epochs, rungs


def concurrent_trials(cpu: int, gpu: float, num_cpus: int, num_gpus: int) -> int:
    """How many trials run at once, each on `cpu` cores and a share `gpu` of one GPU or of none."""
    by_cpu = num_cpus // cpu
    if not gpu:
        return by_cpu
    return min(by_cpu, num_gpus * math.floor(1 / gpu))


def gpu_share(space: Space, has_gpu: bool) -> float:
    """What a trial holds of a GPU: without any, the same file runs on CPUs."""
    return space.resources.gpu if has_gpu else 0.0


def describe_plan(space: Space, base: TrainConfig, num_gpus: int) -> str:
    """Trials, rungs, concurrency and the most epochs that the search can cost."""
    epochs = max_epochs(space, base)
    stops = rungs(space.asha, epochs)
    asha = (
        f"after epoch {', '.join(map(str, stops))}: one in {space.asha.reduction} goes on"
        if stops
        else f"stops none: no trial is longer than grace_epochs ({space.asha.grace_epochs})"
    )
    num_cpus = os.cpu_count() or 1
    cpu, gpu = space.resources.cpu, gpu_share(space, num_gpus > 0)
    at_once = concurrent_trials(cpu, gpu, num_cpus, num_gpus)
    hold = f"{cpu} CPU and {gpu:g} GPU" if gpu else f"{cpu} CPU (no GPU found)"
    axes = "\n".join(f"          {path}: {axis}" for path, axis in space.axes.items())
    return (
        f"Space     {space.path}\n{axes}\n"
        f"Trials    {space.trials}, judged by {space.metric}; the first has the defaults\n"
        f"ASHA      {asha}\n"
        f"At once   {at_once} on this machine ({num_cpus} CPUs, {num_gpus} GPUs), each on {hold}\n"
        f"At most   {space.trials * epochs} epochs ({space.trials} trials of {epochs})"
    )


def check_machine(space: Space, base: TrainConfig) -> None:
    """Raises: SettingsError if no trial fits on this machine, or its device is not there."""
    find_device(base)
    cpu, num_cpus = space.resources.cpu, os.cpu_count() or 1
    if cpu > num_cpus:  # a share of a GPU fits wherever there is one
        raise SettingsError(
            f"{space.path}: resources.cpu must be at most the CPUs of this machine ({num_cpus}), "
            f"but got {cpu}; lower it, or name a cluster with --address"
        )


def check_files(space: Space, base: TrainConfig) -> None:
    """Look at the data, and at the weights of every trunk; torchvision's are fetched, once.

    Raises: DataError or WeightsError.
    """
    weights_file(base.model)
    axes = {path: space.axes.get(path) for path in ("model.trunk", "model.weights")}
    choices = {path: axis.values for path, axis in axes.items() if isinstance(axis, Choice)}
    for values in itertools.product(*choices.values()):
        point = dict(zip(choices, values, strict=True))
        weights_file(change(base, point, str(space.path)).model)
    if base.data.root != EMBEDDED:  # that one is drawn when it is needed
        for name in ("train", "val"):
            read_split(data_folder(base.data), name)
