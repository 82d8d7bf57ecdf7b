"""Why a trial failed: the original error without Ray's wrappers, its cause, and its text."""

import re
from pathlib import Path

import ray
import torch
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError as NodeIsFullError
from ray.tune.experiment import Trial

from kptrain.errors import KptrainError, OutOfMemoryError, TrainingError
from kptrain.machine.device import OUT_OF_MEMORY
from search.journal.reasons import Cause
from search.journal.remote import StorageError

DIED = (
    ray.exceptions.RayActorError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.WorkerCrashedError,
)
UNABLE = (ray.exceptions.RayError, StorageError)
"""Errors of a node or a network: another attempt may succeed."""


class LostError(ray.exceptions.RayActorError):
    """An actor error for Tune that stands for a `cause` of another type."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(error_msg=str(cause))
        self.cause = cause


def as_actor_error(error: Exception) -> Exception:
    """An error of a trial's process, of a type that ends the trial only: others end Tune's run."""
    of_trial = (ray.exceptions.RayActorError, ray.exceptions.RayTaskError)
    return error if isinstance(error, of_trial) else LostError(error)


def original_error(trial: Trial) -> BaseException:
    """The original error of a failed trial."""
    if trial.pickled_error_file is None:  # an error of Tune itself
        return TrainingError(Path(trial.error_file).read_text(encoding="utf-8").strip())
    # Ray's file on this machine; the copy that Ray's accessor reads does not exist yet.
    error: BaseException = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    while getattr(error, "cause", None) is not None:
        error = error.cause  # type: ignore[attr-defined]  # checked in the line above
    return error


def kind_of(error: BaseException) -> Cause:
    """The cause of a failure, which decides whether and how the trial is resumed."""
    if isinstance(error, OutOfMemoryError | torch.OutOfMemoryError) or _is_out_of_memory(error):
        return "memory"
    if isinstance(error, NodeIsFullError):
        return "node_memory"
    is_own = isinstance(error, ray.exceptions.RayTaskError) or _failed_at_start(str(error))
    return "lost" if isinstance(error, UNABLE) and not is_own else "own"


def _is_out_of_memory(error: BaseException) -> bool:
    """By its text: CUDA's context does not fit, or a user's training reports it."""
    is_plain = isinstance(error, RuntimeError) and not isinstance(error, UNABLE)
    return is_plain and any(words in str(error) for words in OUT_OF_MEMORY)


def in_one_line(error: BaseException) -> str:
    if isinstance(error, NodeIsFullError):
        return _on_full_node(str(error))
    if isinstance(error, DIED):
        return _cause_of_death(str(error))
    name = "" if isinstance(error, KptrainError) else f"{type(error).__name__}: "
    return " ".join(f"{name}{error}".split())[:500]


def _on_full_node(text: str) -> str:
    """The node, and its limit, if Ray's text names them."""
    node, most = (
        re.search(r"IP: ([^,)\s]+)", text),
        re.search(r"exceeded threshold.*\((.+?%)", text),
    )
    where, above = (f" {node[1]}" if node else ""), (f" above {most[1]}" if most else "")
    return f"the memory of its node{where} was full{above}, so Ray ended its process"


def _cause_of_death(text: str) -> str:
    """Why a trial's process died: an error at its start, or a cause from outside."""
    if _failed_at_start(text):
        plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
        return plain.strip().rpartition("\n")[2].strip()[:500]
    return "the trial's process died: killed, out of memory, or lost with its node"


def _failed_at_start(text: str) -> bool:
    return "creation task" in text
