"""The files of an epoch: copied at its end and written while the next one runs."""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kptrain.config import BEST, RESUME, TrainConfig
from kptrain.errors import CheckpointError
from kptrain.model.checkpoint import on_host, save_checkpoint, with_dtype
from kptrain.resolve import settings_of
from kptrain.run.curve import EpochReport, save_curve
from kptrain.training.state import Training

MOST_TIME = 0.05
"""Share of the time that resume states may take if `checkpoint.resume_epochs` is not set."""


class Schedule:
    """Which epochs save a resume state, besides the last one."""

    def __init__(self, every: int | None) -> None:
        """every: number of epochs; None: as often as `MOST_TIME` allows, including the first."""
        self._every = every
        self._next = 0.0

    def is_due(self, epoch: int) -> bool:
        """False while another state is being written, because its duration is not known yet."""
        if self._every is not None:
            return epoch % self._every == 0
        is_due = time.perf_counter() >= self._next
        if is_due:
            self._next = math.inf
        return is_due

    def finished(self, seconds: float) -> None:
        """Called when a state is written, with the duration of copying and writing."""
        self._next = time.perf_counter() + seconds * (1 / MOST_TIME - 1)


@dataclass(frozen=True)
class Files:
    """What to write; the tensors are copies that the training does not change."""

    best: dict[str, Any] | None
    curve: list[EpochReport]
    resume: dict[str, Any] | None
    seconds: float
    """Duration of copying."""


def copy_files(training: Training, config: TrainConfig, data: str, *, is_due: bool) -> Files:
    """Copy the content of the latest epoch's files: the weights if it is the best so far, and the
    resume state if one is due."""
    began = time.perf_counter()
    report = training.curve[-1]
    is_averaged = training.averaged is not None
    evaluated = on_host(training.evaluated.state_dict()) if report.is_best or is_due else {}
    best = resume = None
    if report.is_best:
        best = {
            "weights": with_dtype(evaluated, config.checkpoint.best_dtype),
            "config": settings_of(config),
            "metrics": report.metrics(),
        }
    if is_due:
        resume = {
            "weights": on_host(training.model.state_dict()) if is_averaged else evaluated,
            "averaged": evaluated if is_averaged else {},
            "scaler": training.scaler.state_dict(),
            "optimizer": on_host(training.optimizer.state_dict()),
            "schedule": training.schedule.state_dict(),
            "curve": [vars(row) for row in training.curve],
            "settings": settings_of(config),
            "data": data,
        }
    return Files(best, list(training.curve), resume, time.perf_counter() - began)


def write_files(files: Files, run_dir: Path, schedule: Schedule, saved: Callable[[], None]) -> None:
    """Write the best checkpoint first and the resume state last, so that a run killed in between
    repeats the epoch. Then call `saved`."""
    began = time.perf_counter()
    if files.best is not None:
        save_checkpoint(files.best, run_dir / BEST)
    save_curve(files.curve, run_dir)
    if files.resume is not None:
        save_checkpoint(files.resume, run_dir / RESUME)
    saved()
    if files.resume is not None:
        schedule.finished(files.seconds + time.perf_counter() - began)


@contextmanager
def in_background() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Yield a function that runs a job in a thread, after the previous job has ended.

    An exception of a job is raised by the next call, or at the end.
    """
    with ThreadPoolExecutor(1, "save") as thread:
        last: Future[None] = thread.submit(lambda: None)

        def run(job: Callable[[], None]) -> None:
            nonlocal last
            last.result()
            last = thread.submit(job)

        try:
            yield run
        finally:
            last.result()


def restore(
    training: Training, state: dict[str, Any], config: TrainConfig, data: str, run_dir: Path
) -> None:
    """Restore a saved state.

    Raises: CheckpointError if it was trained on other data, or is of another model.
    """
    if state["data"] != data:
        raise CheckpointError(
            f"{run_dir}: must resume with the data that it was started with, but "
            f"{config.data.root} holds other data; name the original data with --data, or choose "
            f"another folder with --out"
        )
    try:
        training.model.load_state_dict(state["weights"])
        if training.averaged is not None:
            training.averaged.model.load_state_dict(state["averaged"])
        if state.get("scaler"):  # not if the run has had another precision so far
            training.scaler.load_state_dict(state["scaler"])
        training.optimizer.load_state_dict(state["optimizer"])
        training.schedule.load_state_dict(state["schedule"])
        training.curve = [EpochReport(**row) for row in state["curve"]]
    except (RuntimeError, TypeError, LookupError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{run_dir / RESUME}: must hold the state of this training, but {error}; start again "
            f"in another folder with --out"
        ) from None
