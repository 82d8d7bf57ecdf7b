"""A small search with each kind of event, and what was known of it, to be kept for ever.

    python tests/keep_journal.py FOLDER

writes it into a new folder, and beside it one whose first trials failed alike. What lies in
`tests/journals` was written so, is never written again, and must be readable by every later
version; a new format gets folders of its own beside the others.
"""

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

from records import epoch
from simulated import loss_of, simulate
from space_files import resolved

from kptrain.config import TrainConfig
from search.space.budget import Budget
from search.space.reader import read_space
from search.trainings.keypoints import KEYPOINTS
from search.trials.assembly import ListedSettings, confirmation_state, search_state, searcher_of
from search.trials.confirmation import Confirmation, fresh_seeds
from search.trials.controller import SearchState
from search.trials.history import History, read_history
from search.trials.record import Record
from search.trials.run_folder import begin_search, journal_of

SPACE = """\
base: {train.epochs: 6}
space:
  optim.lr: {low: 1e-4, high: 1e-1, log: true}
  schedule.step_epochs: {low: 1, high: 8}
  train.batch_size: [2, 4, 8]
start: [{optim.lr: 3e-3}]
trials: 18
epochs: 60
asha: {grace_epochs: 3}
confirm: {top: 1, seeds: 2}
"""


def keep_alike(folder: Path) -> None:
    """One whose first trials all fail alike."""
    simulate(folder, 5, error="it broke")
    _expect(folder)


def keep(folder: Path) -> None:
    """One with all else."""
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(SPACE)
    space = read_space(path, KEYPOINTS)
    search = begin_search(folder, space, resolved(space, {"data.root": "embedded"}), [])
    with journal_of(search, {"train": "a", "val": "b"}) as journal:
        record = Record(search.folder, KEYPOINTS, space.metric)
        state = search_state(search, record, searcher_of(search), journal)
        _run(state, random.Random(1), Budget(trials=18, epochs=75))
        seeds = fresh_seeds(space, search.base, 2)
        assert space.confirm is not None
        confirmation = Confirmation(record, space.confirm, seeds)
        points = ListedSettings(confirmation.points())
        confirming = confirmation_state(search, confirmation, points, confirmation.journal())
        _run(confirming, None, None)
    _expect(folder)


def _expect(folder: Path) -> None:
    expected = json.dumps(known(read_history(folder, KEYPOINTS)))
    (folder / "expected.json").write_text(expected + "\n")
    folder.with_suffix(".yaml").unlink()
    for path in (*folder.glob(".lock*"), *folder.glob("*.csv")):
        path.unlink()
    shutil.rmtree(folder / "trials", ignore_errors=True)


def known(history: History) -> dict[str, Any]:
    """What every version must say of it, in codes and numbers."""
    confirmation, leader = history.confirmation, history.record.leader()
    return {
        "trials": [_trial(trial) for trial in history.record.trials],
        "leader": None if leader is None else leader.number,
        "spans": [[span.trial, span.share, span.begin, span.end] for span in history.spans()],
        "has_work": history.state.has_work(),
        "rungs": history.state.asha.epochs(),
        "budget": dict(history.state.spending.budget),
        "epochs_left": history.state.spending.epochs_left(),
        "confirmed": [] if confirmation is None else [_trial(t) for t in confirmation.trials],
    }


def _trial(trial: Any) -> dict[str, Any]:
    reason = None if trial.reason is None else trial.reason.model_dump()
    told = {"settings": trial.settings, "state": trial.state, "reason": reason}
    return told | {"values": trial.values()}


def _run(state: SearchState, draw: random.Random | None, more: Budget | None) -> None:
    """Two trials at a time, to the end; draw: what befalls them; more: a later budget."""
    running: list[int] = []
    causes = ["node_memory", "memory", "lost", "own"]
    state.clock.tick = lambda: state.clock.set(state.clock.now + 7.5)  # type: ignore[method-assign]
    while True:
        if len(running) < 2 and (number := state.next_trial(lambda: "0123abcd")) is not None:
            state.start(number, state.share(number, 0.25))
            running.append(number)
        elif running:
            number = running.pop(0)
            trial = state.record.trials[number]
            if draw is not None and causes and trial.curve and draw.random() < 0.2:
                state.fail(number, "it broke", causes.pop(), state.share(number, 0.25))  # type: ignore[arg-type]
                continue
            if draw is not None and state.record.num_epochs() == 22:
                state.interrupt("SIGINT")
            done = len(trial.curve) + 1
            assert isinstance(trial.config, TrainConfig)
            report = epoch(done, loss_of(trial.config, done))
            if state.report(number, report, "host", "cuda:0"):
                running.append(number)
        elif not state.ended:  # a node was full
            state.clock.set(state.clock.now + 60)
        elif state.interrupted:
            state.resume(state.spending.budget)
        elif more is not None:
            state.close()
            state.resume(more)
            more = None
        else:
            state.close()
            return


if __name__ == "__main__":
    folder = Path(sys.argv[1]).absolute()
    keep(folder)
    keep_alike(folder.with_name(f"{folder.name}-alike"))
