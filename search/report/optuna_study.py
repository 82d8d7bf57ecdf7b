"""The search as an Optuna study in its folder, for `optuna-dashboard` and `optuna.load_study`.

A copy of the table of trials, rewritten by each command and extended while it runs. The search
never reads it. Paused and interrupted trials are `RUNNING` in Optuna's terms, as they may be
resumed.
"""

import datetime
from collections.abc import Collection
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.algorithms.optuna_axes import distribution_with, has_place, label
from search.algorithms.searcher import STATES
from search.space.axes import Axes
from search.space.space import short_names
from search.trials.record import Record, TrialRecord

STUDY = "study.log"


class StudyCopy:
    """Keeps the study equal to a record. Its owner must hold the folder's lock."""

    def __init__(self, record: Record, axes: Axes) -> None:
        self._record = record
        self._axes = axes
        self._path = record.run_dir / STUDY
        self._ids: list[int] = []
        self._ended: set[int] = set()
        self._num_epochs: list[int] = []
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def sync(self) -> None:
        """Write what has changed since the last call."""
        if not self._ids and self._record.trials:
            self._open()
        for trial in self._record.trials:
            if trial.number == len(self._ids):
                self._add(trial)
            elif trial.number not in self._ended:
                self._update(trial)

    def _open(self) -> None:
        """Replace the file: a killed command may have left an incomplete line and a lock."""
        for path in (self._path, Path(f"{self._path}.lock")):
            path.unlink(missing_ok=True)
        backend = JournalFileBackend(str(self._path), JournalFileOpenLock(str(self._path)))
        self._storage = JournalStorage(backend)
        direction = StudyDirection[self._record.metric.direction.upper()]
        self._study = self._storage.create_new_study([direction], self._record.title)
        self._storage.set_study_user_attr(self._study, "metric", self._record.metric.name)
        self._distributions = _distributions(self._axes, self._record)

    def _add(self, trial: TrialRecord) -> None:
        """Add a trial in its present state, in one write."""
        state = STATES.get(trial.state, TrialState.RUNNING)
        values = trial.values()
        now = datetime.datetime.now()
        frozen = FrozenTrial(
            number=trial.number,
            trial_id=-1,
            state=state,
            value=trial.best() if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
            values=None,
            datetime_start=now,
            datetime_complete=now if state.is_finished() else None,
            params=(params := _params(self._axes, trial)),
            distributions={path: self._distributions[path] for path in params},
            user_attrs=_attributes(trial),
            system_attrs={},
            intermediate_values=dict(enumerate(values, 1)),
        )
        self._ids.append(self._storage.create_new_trial(self._study, frozen))
        self._num_epochs.append(len(values))
        if state.is_finished():
            self._ended.add(trial.number)

    def _update(self, trial: TrialRecord) -> None:
        trial_id = self._ids[trial.number]
        values = trial.values()
        for epoch in range(self._num_epochs[trial.number], len(values)):
            self._storage.set_trial_intermediate_value(trial_id, epoch + 1, values[epoch])
        self._num_epochs[trial.number] = len(values)
        state = STATES.get(trial.state)
        if state is None:
            return
        for name, value in _attributes(trial).items():
            self._storage.set_trial_user_attr(trial_id, name, value)
        best = trial.best()
        final = None if best is None or state == TrialState.FAIL else [best]
        self._storage.set_trial_state_values(trial_id, state, final)
        self._ended.add(trial.number)


def trials_off_axes(record: Record, axes: Axes) -> list[TrialRecord]:
    """The trials that plots of settings leave out, as a value cannot be shown on its axis."""
    return [trial for trial in record.trials if not _is_shown(axes, trial)]


def _is_shown(axes: Axes, trial: TrialRecord) -> bool:
    return len(_params(axes, trial)) == sum(path in trial.settings for path in axes)


def _distributions(axes: Axes, record: Record) -> dict[str, BaseDistribution]:
    """The distribution of each axis, with room for the defaults."""
    defaults = record.trials[0].settings if record.trials else {}
    return {
        path: distribution_with(axis, defaults.get(path, axis.ends()[0]))
        for path, axis in axes.items()
    }


def _params(axes: Axes, trial: TrialRecord) -> dict[str, Any]:
    """The settings of a trial as Optuna's parameters."""
    return {
        path: label(trial.settings[path])
        for path, axis in axes.items()
        if path in trial.settings and has_place(axis, trial.settings[path])
    }


def _attributes(trial: TrialRecord) -> dict[str, Any]:
    names = ("state", "error", "host", "device")
    return {name: value for name in names if (value := getattr(trial, name))}


def study_of(record: Record, axes: Axes, epoch: int, without: Collection[str]) -> optuna.Study:
    """A study for plots: the trials that reached an epoch, with their best value until then.

    without: labels of trials to leave out. Settings are named by the last part of their path if
    that is unique. A trial has no parameter for an axis that it does not have.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names, distributions = short_names(axes), _distributions(axes, record)
    study = optuna.create_study(direction=record.metric.direction)
    for trial in record.trials:
        value = trial.best(epoch)
        if value is None or len(trial.curve) < epoch or trial.label in without:
            continue
        if not _is_shown(axes, trial):  # Optuna would treat the axis as categorical
            continue
        params = _params(axes, trial)
        study.add_trial(
            optuna.create_trial(
                params={names[path]: shown for path, shown in params.items()},
                distributions={names[path]: distributions[path] for path in params},
                value=value,
            )
        )
    return study
