"""Warm start (`--warm-from`): trials of earlier searches as observations for this one.

An earlier trial is evidence only if this search would have trained it in the same way, on the same
data. So every setting that is not an axis of this search must have the same value there, whether
the earlier search varied it or not. Settings that change only `place` may differ.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kptrain.config import Settings
from kptrain.errors import SettingsError
from kptrain.resolve import change, settings_of
from kptrain.tree import without_effect
from search.algorithms.earlier import EarlierSearch, EarlierTrial, Ending
from search.journal.journal import JOURNAL, read_events
from search.space.axes import Choice
from search.space.conditions import active, point_with
from search.space.space import Space
from search.trials.beginning import check_format
from search.trials.history import History, read_history
from search.trials.record import TrialRecord

USED: dict[str, Ending] = {"completed": "completed", "stopped": "stopped"}
"""The states of trials to learn from, and the ending that the searcher gets for each."""
OUTSIDE = object()
"""A value that no axis contains."""
Spellings = Mapping[str, Sequence[tuple[Any, Any]]]
"""For each choice, pairs of a value as the settings spell it and as the axis spells it."""


def read_earlier_searches(
    folders: Sequence[Path], space: Space, base: Settings
) -> list[EarlierSearch]:
    """Read the searches that --warm-from names.

    Raises: SettingsError naming why one of them cannot be used; DataError.
    """
    for index, folder in enumerate(folders):
        if folder.resolve() in [other.resolve() for other in folders[:index]]:
            raise SettingsError(f"--warm-from: must name a search once, but got {folder} twice")
    if folders and space.sampler == "random":
        raise SettingsError(
            f"--warm-from: must come with a sampler that learns, but {space.path} has sampler: "
            f"random; use gp, or leave out --warm-from"
        )
    return [read_earlier_search(folder, space, base) for folder in folders]


def read_earlier_search(folder: Path, space: Space, base: Settings) -> EarlierSearch:
    """Read one earlier search, and check that it ran the same training.

    Raises: SettingsError, also if it has no usable trial; CheckpointError; DataError.
    """
    _check_same_trainable(folder, space)
    history = read_history(folder, space.trainable)
    trials = history.record.trials
    finished = [trial for trial in trials if trial.state in USED and trial.curve]
    for trial in finished:
        _check_same_training(f"--warm-from {folder}: trial {trial.number}", trial, space, base)
    _check_same_data(folder, history, space, base)
    spellings = _spellings(space, base)
    defaults = settings_of(base)
    read = [_read_trial(folder, trial, space, spellings, defaults) for trial in finished]
    inside = [trial for trial in read if trial is not None]
    past = EarlierSearch(folder, inside, len(read) - len(inside), len(trials) - len(finished))
    if not inside:
        raise SettingsError(
            f"--warm-from {folder}: must have a completed or stopped trial that lies in this "
            f"space, but has {past}; leave it out"
        )
    return past


def _read_trial(
    folder: Path,
    trial: TrialRecord,
    space: Space,
    spellings: Spellings,
    defaults: Mapping[str, Any],
) -> EarlierTrial | None:
    """None if a value lies outside of its axis, or an axis that does not hold there is not at the
    base's value, which this search would give it.

    defaults: all settings of trial 0, by dotted path.
    """
    values = settings_of(trial.config)
    whole = {path: values[path] for path in space.axes}
    for path, pairs in spellings.items():
        whole[path] = next((own for one, own in pairs if one == values[path]), OUTSIDE)
    settings = active(space.axes, whole)
    if not all(space.axes[path].contains(value) for path, value in settings.items()):
        return None
    unused = without_effect(trial.config)
    elsewhere = [path for path in space.axes if path not in settings and path not in unused]
    if any(values[path] != defaults[path] for path in elsewhere):
        return None
    where = f"--warm-from {folder}: trial {trial.number}"
    curve = [(epoch, _value(where, report, space)) for epoch, report in enumerate(trial.curve, 1)]
    return EarlierTrial(settings, curve, USED[trial.state])


def _value(where: str, report: Mapping[str, Any], space: Space) -> float:
    """The value of this search's metric. Raises: SettingsError if it is not a finite number."""
    name = space.metric.name
    value = report.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SettingsError(
            f"{where}: {name} must be a finite number after epoch {report['epoch']}, but is "
            f"{value!r}; leave out this search"
        )
    return value


def _spellings(space: Space, base: Settings) -> Spellings:
    """A value may have two spellings, such as `1` and `1.0`."""
    return {
        path: [(settings_of(_at(path, own, space, base))[path], own) for own in axis.values]
        for path, axis in space.axes.items()
        if isinstance(axis, Choice)
    }


def _at(path: str, value: Any, space: Space, base: Settings) -> Settings:
    """The settings of a trial with a value on one axis."""
    return change(base, point_with(space.axes, path, value), str(space.path))


def _check_same_trainable(folder: Path, space: Space) -> None:
    """Raises: SettingsError if it ran another training, whose settings may have the same names."""
    events = read_events(folder / JOURNAL)
    check_format(folder / JOURNAL, events)
    name = events[0]["trainable"]
    if name != space.trainable.name:
        raise SettingsError(
            f"--warm-from {folder}: must be a search of {space.trainable.name or 'keypoints'}, but "
            f"is one of {name or 'keypoints'}; leave out this search"
        )


def _check_same_training(where: str, trial: TrialRecord, space: Space, base: Settings) -> None:
    """Raises: SettingsError naming a setting that differs."""
    infos, data = space.trainable.infos(), space.trainable.data
    values, unused = settings_of(trial.config), without_effect(trial.config)
    for path, value in settings_of(base).items():
        if path in (*space.axes, *unused, data) or infos[path].changes == "place":
            continue
        if values[path] != value:
            raise SettingsError(
                f"{where}: {path} must be {value}, as it is in this search, but is {values[path]}; "
                f"vary it, set it to the same value, or leave out --warm-from"
            )


def _check_same_data(folder: Path, history: History, space: Space, base: Settings) -> None:
    """Raises: SettingsError if the fingerprints differ; without fingerprints, if the paths do."""
    path, here = space.trainable.data, space.trainable.data_of(base)
    if path is None:
        return
    search = history.search
    there = space.trainable.data_of(search.base)
    if not search.fingerprints:
        if there != here:
            raise SettingsError(
                f"--warm-from {folder}: {path} must be {here}, as its journal has no fingerprint "
                f"of the data, but is {there}; leave out this search"
            )
        return
    # With the earlier search's settings of the data, at the data's present path.
    moved = change(search.base, {path: here}, str(folder))
    for name, fingerprint in space.trainable.fingerprints(moved).items():
        if search.fingerprints.get(name) != fingerprint:
            raise SettingsError(
                f"--warm-from {folder}: the {name} data must be that of this search ({here}), "
                f"but its fingerprint differs; name its folder with --data, or leave out this "
                f"search"
            )
