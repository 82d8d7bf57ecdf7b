"""Why a trial failed, without the layers that Ray puts around it."""

import re
from pathlib import Path

import ray
from ray import cloudpickle
from ray.tune.experiment import Trial

from kptrain.errors import KptrainError, TrainingError


def cause_of(trial: Trial) -> BaseException:
    """The error itself."""
    if trial.pickled_error_file is None:  # an error of Tune's own
        return TrainingError(str(trial.get_error()))
    # Ray's own file on this machine; the copy that its accessor reads is not there yet.
    error: BaseException = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    while getattr(error, "cause", None) is not None:
        error = error.cause  # type: ignore[attr-defined]  # looked for in the line above
    return error


def in_one_line(error: BaseException) -> str:
    if isinstance(error, ray.exceptions.ActorDiedError):
        return _cause_of_death(str(error))
    name = "" if isinstance(error, KptrainError) else f"{type(error).__name__}: "
    return " ".join(f"{name}{error}".split())[:500]


def _cause_of_death(text: str) -> str:
    """Why a trial's process is gone: an error of its start, or one from outside."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    if "creation task" in plain:
        return plain.strip().rpartition("\n")[2].strip()[:500]
    return "the trial's process died: killed, out of memory, or lost with its node"
