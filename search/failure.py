"""Why a trial failed, without the layers that Ray puts around it."""

import re
from pathlib import Path

import ray
import torch
from ray import cloudpickle
from ray.tune.experiment import Trial

from kptrain.errors import KptrainError, OutOfMemoryError, TrainingError
from search.state import Cause
from search.storage import StorageError

DIED = (
    ray.exceptions.RayActorError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,  # of Ray, which kills a process when a node's memory is full
)


def cause_of(trial: Trial) -> BaseException:
    """The error itself."""
    if trial.pickled_error_file is None:  # an error of Tune's own
        return TrainingError(str(trial.get_error()))
    # Ray's own file on this machine; the copy that its accessor reads is not there yet.
    error: BaseException = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    while getattr(error, "cause", None) is not None:
        error = error.cause  # type: ignore[attr-defined]  # looked for in the line above
    return error


def kind_of(error: BaseException) -> Cause:
    """Whether another attempt may help: with more memory, or in another process."""
    if isinstance(error, OutOfMemoryError | torch.OutOfMemoryError):
        return "memory"
    is_dead = isinstance(error, DIED) and not _failed_at_start(str(error))
    is_lost = is_dead or isinstance(error, StorageError)  # which may be in reach again
    return "lost" if is_lost else "own"


def in_one_line(error: BaseException) -> str:
    if isinstance(error, DIED):
        return _cause_of_death(str(error))
    name = "" if isinstance(error, KptrainError) else f"{type(error).__name__}: "
    return " ".join(f"{name}{error}".split())[:500]


def _cause_of_death(text: str) -> str:
    """Why a trial's process is gone: an error of its start, or one from outside."""
    if _failed_at_start(text):
        plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
        return plain.strip().rpartition("\n")[2].strip()[:500]
    return "the trial's process died: killed, out of memory, or lost with its node"


def _failed_at_start(text: str) -> bool:
    return "creation task" in text
