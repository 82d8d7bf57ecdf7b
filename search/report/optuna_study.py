"""The search as an Optuna study in its folder, for `optuna-dashboard` and `optuna.load_study`.

A mirror of the record, written anew by each command and added to while it runs. Nothing of ours
reads it back. Trials that wait at a rung, or were interrupted, are to Optuna
still running, as they may go on.
"""

import datetime
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.space.axes import Choice, Range
from search.trials.record import Record, TrialRecord

STUDY = "study.log"
STATES = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class StudyMirror:
    """Keeps the study in step with a record. Whoever holds it holds the folder's lock."""

    def __init__(self, record: Record, axes: Mapping[str, Choice | Range]) -> None:
        self._record = record
        self._axes = axes
        self._path = record.run_dir / STUDY
        self._ids: list[int] = []
        self._ended: set[int] = set()
        self._num_epochs: list[int] = []
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def sync(self) -> None:
        """Add what the study lacks."""
        if not self._ids and self._record.trials:
            self._open()
        for trial in self._record.trials:
            if trial.number == len(self._ids):
                self._add(trial)
            elif trial.number not in self._ended:
                self._go_on(trial)

    def _open(self) -> None:
        """Begin anew: of the file that is there the end may be torn, and its lock left behind."""
        for path in (self._path, Path(f"{self._path}.lock")):
            path.unlink(missing_ok=True)
        backend = JournalFileBackend(str(self._path), JournalFileOpenLock(str(self._path)))
        self._storage = JournalStorage(backend)
        is_max = self._record.metric.is_max
        direction = StudyDirection.MAXIMIZE if is_max else StudyDirection.MINIMIZE
        self._study = self._storage.create_new_study([direction], self._record.title)
        self._storage.set_study_user_attr(self._study, "metric", self._record.metric.name)
        defaults = self._record.trials[0].settings
        self._distributions = {p: distribution(axis, defaults[p]) for p, axis in self._axes.items()}

    def _add(self, trial: TrialRecord) -> None:
        """A trial as it is by now, in one write."""
        state = STATES.get(trial.state, TrialState.RUNNING)
        values = trial.values()
        now = datetime.datetime.now()
        frozen = FrozenTrial(
            number=trial.number,
            trial_id=-1,
            state=state,
            value=trial.best() if state != TrialState.FAIL else None,
            values=None,
            datetime_start=now,
            datetime_complete=now if state.is_finished() else None,
            params=(params := _params(self._axes, trial)),
            distributions={path: self._distributions[path] for path in params},
            user_attrs=_attributes(trial),
            system_attrs={},
            intermediate_values=dict(enumerate(values, 1)),
        )
        if not state.is_finished():
            frozen.value = None
        self._ids.append(self._storage.create_new_trial(self._study, frozen))
        self._num_epochs.append(len(values))
        if state.is_finished():
            self._ended.add(trial.number)

    def _go_on(self, trial: TrialRecord) -> None:
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
        told = None if best is None or state == TrialState.FAIL else [best]
        self._storage.set_trial_state_values(trial_id, state, told)
        self._ended.add(trial.number)


def distribution(axis: Choice | Range, default: Any) -> BaseDistribution:
    """An axis as Optuna has it, with room for the defaults' value, which may lie beyond."""
    if isinstance(axis, Choice):
        choices = [_param(axis, value) for value in axis.values]
        extra = [_param(axis, default)] if _param(axis, default) not in choices else []
        return CategoricalDistribution([*choices, *extra])
    seen = [axis.low, axis.high, *([default] if _can_show(axis, default) else [])]
    low, high = min(seen), max(seen)
    if axis.kind == "int":
        return IntDistribution(int(low), int(high), log=axis.log)
    return FloatDistribution(low, high, log=axis.log)


def _can_show(axis: Choice | Range, value: Any) -> bool:
    """Whether Optuna has a place for a value: the defaults' may be none, or 0 on a log scale."""
    if isinstance(axis, Choice):
        return True
    return value is not None and (value > 0 or not axis.log)


def without_place(record: Record, axes: Mapping[str, Choice | Range]) -> list[TrialRecord]:
    """The trials that plots of settings leave out: the defaults, maybe."""
    return [trial for trial in record.trials if len(_params(axes, trial)) < len(axes)]


def _params(axes: Mapping[str, Choice | Range], trial: TrialRecord) -> dict[str, Any]:
    """The settings of a trial as Optuna has them."""
    return {
        path: _param(axis, trial.settings[path])
        for path, axis in axes.items()
        if _can_show(axis, trial.settings[path])
    }


def _param(axis: Choice | Range, value: Any) -> Any:
    """A value as Optuna may hold it: a choice may be a list."""
    if isinstance(axis, Range) or isinstance(value, bool | int | float | str | None):
        return value
    return str(value)


def _attributes(trial: TrialRecord) -> dict[str, Any]:
    told = {"state": trial.state, "error": trial.error, "host": trial.host, "device": trial.device}
    return {name: value for name, value in told.items() if value}


def study_of(
    record: Record, axes: Mapping[str, Choice | Range], epoch: int, without: Collection[str]
) -> optuna.Study:
    """The trials that reached an epoch, by their best value until then, to be plotted; without
    those of some labels.

    Settings go by the last part of their path where that is unique.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ends = [path.rpartition(".")[2] for path in axes]
    names = {
        path: end if ends.count(end) == 1 else path for path, end in zip(axes, ends, strict=True)
    }
    is_max = record.metric.is_max
    study = optuna.create_study(direction="maximize" if is_max else "minimize")
    for trial in record.trials:
        value = trial.best(epoch)
        if value is None or len(trial.curve) < epoch or trial.label in without:
            continue
        params = _params(axes, trial)
        if len(params) < len(axes):  # its axis would be taken for one of names
            continue
        study.add_trial(
            optuna.create_trial(
                params={names[path]: shown for path, shown in params.items()},
                distributions={
                    names[path]: distribution(axes[path], record.trials[0].settings[path])
                    for path in params
                },
                value=value,
            )
        )
    return study
