"""What an epoch leaves on disk, copied at its end and written while the next one runs."""

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
"""Share of the time that states to resume from may take, where nobody says how often."""


class Schedule:
    """Which epochs save a state to resume from, besides the last one."""

    def __init__(self, every: int | None) -> None:
        """every: so many epochs; None: as often as `MOST_TIME` allows, the first epoch included."""
        self._every = every
        self._next = 0.0

    def is_due(self, epoch: int) -> bool:
        """None is while another is still written, of which it is not known yet what it takes."""
        if self._every is not None:
            return epoch % self._every == 0
        is_due = time.perf_counter() >= self._next
        if is_due:
            self._next = math.inf
        return is_due

    def took(self, seconds: float) -> None:
        """What the latest state took to copy and to write, which has just ended."""
        self._next = time.perf_counter() + seconds * (1 / MOST_TIME - 1)


@dataclass(frozen=True)
class Files:
    """What to write; the tensors are copies that the training does not touch."""

    best: dict[str, Any] | None
    curve: list[EpochReport]
    resume: dict[str, Any] | None
    seconds: float
    """For which copying took."""


def copy_files(training: Training, config: TrainConfig, data: str, *, is_due: bool) -> Files:
    """Copy what the latest epoch of the curve leaves: the best weights if it is the best so far,
    the state to resume from if one is due."""
    began = time.perf_counter()
    report = training.curve[-1]
    weights = on_host(training.model.state_dict()) if report.is_best or is_due else {}
    best = resume = None
    if report.is_best:
        best = {
            "weights": with_dtype(weights, config.checkpoint.best_dtype),
            "config": settings_of(config),
            "metrics": report.metrics(),
        }
    if is_due:
        resume = {
            "weights": weights,
            "optimizer": on_host(training.optimizer.state_dict()),
            "schedule": training.schedule.state_dict(),
            "curve": [vars(row) for row in training.curve],
            "settings": settings_of(config),
            "data": data,
        }
    return Files(best, list(training.curve), resume, time.perf_counter() - began)


def write_files(files: Files, run_dir: Path, schedule: Schedule, saved: Callable[[], None]) -> None:
    """The best checkpoint first and the resume state last: a kill in between repeats the epoch.
    Then `saved` is called."""
    began = time.perf_counter()
    if files.best is not None:
        save_checkpoint(files.best, run_dir / BEST)
    save_curve(files.curve, run_dir)
    if files.resume is not None:
        save_checkpoint(files.resume, run_dir / RESUME)
    saved()
    if files.resume is not None:
        schedule.took(files.seconds + time.perf_counter() - began)


@contextmanager
def in_background() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Yield a function that runs a job in a thread, once the job before has ended.

    What a job raises is raised by the call for the next one, or at the end.
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
    """Go on from a saved state.

    Raises: CheckpointError if it was trained on other data, or is not of this model.
    """
    if state["data"] != data:
        raise CheckpointError(
            f"{run_dir}: must go on with the data that it began with, but {config.data.root} holds "
            f"other data; name the first with --data, or choose another folder with --out"
        )
    try:
        training.model.load_state_dict(state["weights"])
        training.optimizer.load_state_dict(state["optimizer"])
        training.schedule.load_state_dict(state["schedule"])
        training.curve = [EpochReport(**row) for row in state["curve"]]
    except (RuntimeError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{run_dir / RESUME}: must hold the state of this training, but {error}; begin it anew "
            f"in another folder with --out"
        ) from None
