"""What an epoch leaves on disk, copied at its end and written while the next one runs."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kptrain.checkpoint import on_host, save_checkpoint, with_dtype
from kptrain.config import BEST, RESUME, TrainConfig
from kptrain.curve import EpochReport, save_curve
from kptrain.errors import CheckpointError
from kptrain.resolve import settings_of
from kptrain.training import Training


@dataclass(frozen=True)
class Files:
    """What to write; the tensors are copies that the training does not touch."""

    best: dict[str, Any] | None
    curve: list[EpochReport]
    resume: dict[str, Any] | None


def copy_files(training: Training, config: TrainConfig, data: str, *, is_last: bool) -> Files:
    """Copy what the latest epoch of the curve leaves: the best weights if it is the best so far,
    the state to resume from if one is due, as it always is after the last epoch."""
    report = training.curve[-1]
    is_due = is_last or report.epoch % config.checkpoint.resume_epochs == 0
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
    return Files(best, list(training.curve), resume)


def write_files(files: Files, run_dir: Path, saved: Callable[[], None]) -> None:
    """The best checkpoint first and the resume state last: a kill in between repeats the epoch.
    Then `saved` is called."""
    if files.best is not None:
        save_checkpoint(files.best, run_dir / BEST)
    save_curve(files.curve, run_dir)
    if files.resume is not None:
        save_checkpoint(files.resume, run_dir / RESUME)
    saved()


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
