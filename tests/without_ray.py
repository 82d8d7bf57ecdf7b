"""Whole searches through the user's command whose trials run in this process, without Ray.

All but the loop is real: the command, the proposals, the journal, the trials' trainings and files,
and what becomes of their errors.
"""

import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from in_process import run_here
from ray.tune.search import Searcher

from search.backend.trial_actor import TrialActor
from search.backend.tune_run import TuneRun
from search.run import main
from search.space.pace import MeasuringError


def search_alone(
    *arguments: object, cwd: Path, at_once: int = 1
) -> subprocess.CompletedProcess[str]:
    """A search whose trials take turns in this process, epoch by epoch, so many at once."""
    with trials_in_this_process(at_once):
        return run_here(main, *arguments, cwd=cwd)


@contextmanager
def trials_in_this_process(at_once: int = 1) -> Iterator[None]:
    with ExitStack() as patches:
        for name, value in {
            "search.runner.RayOnDemand": _NoRay,
            "search.trainings.keypoints.Keypoints.pace": _not_measured,
            "search.backend.tune_driver.has_gpu": lambda: False,
            "search.backend.tune_driver.capacity": lambda *_: at_once,
            "search.backend.tune_run.capacity": lambda *_: at_once,
            "search.backend.tune_run.original_error": lambda trial: trial.error,
            "search.backend.tune_driver._run_tune": lambda run: _run_trials(run, at_once),
        }.items():
            patches.enter_context(patch(name, value))
        yield


def _not_measured(*_: object, **__: object) -> None:
    """In place of steps measured in another process, which other tests have."""
    raise MeasuringError("it is another test's")


class _NoRay(ExitStack):
    """In place of `RayOnDemand`."""

    logs = None

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def start(self) -> None:
        pass


@dataclass
class _Trial:
    """What the hooks of Tune read of Tune's own trials."""

    trial_id: str
    config: dict[str, Any]
    actor: TrialActor | None = None
    error: BaseException | None = None


def _run_trials(run: TuneRun, at_once: int) -> None:
    """In place of Tune's loop."""
    running: deque[_Trial] = deque()
    number = 0
    while True:
        while len(running) < at_once:
            config = run.propose(str(number))
            if not isinstance(config, dict):
                break
            running.append(_Trial(str(number), config))
            run.start(running[-1])
            number += 1
        if not running:
            assert config == Searcher.FINISHED or run.state.interrupted
            return
        if _goes_on(run, trial := running.popleft()):
            running.append(trial)


def _goes_on(run: TuneRun, trial: _Trial) -> bool:
    """Train an epoch; whether the trial keeps running."""
    try:
        with redirect_stdout(StringIO()):  # the log of a trial's process
            trial.actor = trial.actor or TrialActor(trial.config)
            result = trial.actor.step()
    except Exception as error:  # as Ray does with whatever a training raises
        trial.error = error
        run.fail(trial)
        return False
    keeps = run.report(trial.trial_id, result) and not result["done"]
    if not keeps:
        with redirect_stdout(StringIO()):
            trial.actor.cleanup()
    return keeps
