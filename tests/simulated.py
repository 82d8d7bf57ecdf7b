"""Searches without trainings: the real state, journal and folder, with curves that are drawn."""

import math
from pathlib import Path

import numpy as np
from records import epoch
from space_files import resolved

from kptrain.config import TrainConfig
from search.space.reader import read_space
from search.trainings.keypoints import KEYPOINTS
from search.trials.assembly import search_state, searcher_of
from search.trials.controller import SearchState
from search.trials.record import Record
from search.trials.run_folder import Search, begin_search, journal_of

SPACE = """\
base: {{train.epochs: 8}}
space:
  optim.lr: {{low: 1e-4, high: 1e-1, log: true}}
  schedule.step_epochs: {{low: 1, high: 8}}
  train.batch_size: [2, 4, 8]
trials: {trials}
asha: {{grace_epochs: 2, reduction: 2}}
"""
ASHA = "asha: {{grace_epochs: 2, reduction: 2}}\n"


def simulate(
    folder: Path,
    trials: int = 16,
    *,
    killed_after: int | None = None,
    error: str = "",
    failed_after: int = 0,
    asha: str | None = None,
    more: str = "",
    url: str | None = None,
) -> SearchState:
    """A search in `folder`, two trials at a time; killed after so many epochs of all; every trial
    fails with `error` where one is given, after `failed_after` epochs; `asha`: what the space file
    says of it instead; `more`: of the space file; `url`: where the folder is, too."""
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text((SPACE if asha is None else SPACE.replace(ASHA, asha)).format(trials=trials))
    with path.open("a") as file:
        file.write(more)
    space = read_space(path, KEYPOINTS)
    base = resolved(space, {"data.root": "embedded"})
    return resume(begin_search(folder, space, base, [], url), killed_after, error, failed_after)


def resume(
    search: Search, killed_after: int | None = None, error: str = "", failed_after: int = 0
) -> SearchState:
    """Run what is left of a search, as above."""
    with journal_of(search, {"train": "a", "val": "b"}) as journal:
        metric = search.space.metric
        record = Record(search.folder, KEYPOINTS, metric, storage=search.storage)
        state = search_state(search, record, searcher_of(search), journal)
        if state.read_back():
            state.resume(search.space)
        _run(state, killed_after, error, failed_after)
    return state


def _run(state: SearchState, killed_after: int | None, error: str, failed_after: int) -> None:
    running: list[int] = []
    while True:
        while len(running) < 2 and (number := state.next_trial(lambda: "id")) is not None:
            state.start(number, 0.5)
            running.append(number)
        if not running or state.record.num_epochs() == killed_after:
            break
        number = running.pop(0)
        trial = state.record.trials[number]
        if error and len(trial.curve) == failed_after:
            state.fail(number, error, "own", 0.5)
            continue
        done = len(trial.curve) + 1
        assert isinstance(trial.config, TrainConfig)
        if state.report(number, epoch(done, loss_of(trial.config, done)), "host", "cuda:0"):
            running.append(number)
    if killed_after is None and not state.interrupted:
        state.close()
    state.record.save()


def loss_of(config: TrainConfig, epochs: int) -> float:
    """A curve that falls, the further the nearer the learning rate is to 0.01."""
    far = abs(math.log10(config.optim.lr) + 2)
    draw = np.random.default_rng([epochs, config.train.batch_size])
    return float(0.01 + 0.01 * far + 0.02 / epochs + 0.001 * draw.random())
