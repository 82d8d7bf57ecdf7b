"""What an earlier search found, as observations for this one: `--warm-from`.

A trial says something about this search only if it was trained as this search would have trained
it, on the same data. So whatever is no axis here must be the same there, whether the earlier
search varied it or not; settings of the kind `place` may differ.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kptrain.config import Settings
from kptrain.errors import SettingsError
from kptrain.resolve import change, settings_of
from search.algorithms.earlier import Ending, PastSearch, PastTrial
from search.journal.journal import JOURNAL, read_events
from search.space.axes import Choice, Range
from search.space.space import Space
from search.trials.beginning import check_format
from search.trials.history import History, read_history
from search.trials.record import TrialRecord

USED: dict[str, Ending] = {"completed": "completed", "stopped": "stopped"}
"""The states from which something is learnt, and how the searcher is told of them."""
OUTSIDE = object()
"""A value that no axis contains."""
Spelled = Mapping[str, Sequence[tuple[Any, Any]]]
"""Of each choice, its values: as settings spell them, and as the axis does."""


def read_past_searches(folders: Sequence[Path], space: Space, base: Settings) -> list[PastSearch]:
    """Read the searches that were named with --warm-from.

    Raises: SettingsError naming what makes one of them no help here; DataError.
    """
    for index, folder in enumerate(folders):
        if folder.resolve() in [other.resolve() for other in folders[:index]]:
            raise SettingsError(f"--warm-from: must name a search once, but {folder} comes twice")
    if folders and space.sampler == "random":
        raise SettingsError(
            f"--warm-from: needs a sampler that learns, but {space.path} has sampler: random; "
            f"use gp, or leave it out"
        )
    return [read_past_search(folder, space, base) for folder in folders]


def read_past_search(folder: Path, space: Space, base: Settings) -> PastSearch:
    """Read one earlier search, and check that it is about the same training.

    Raises: SettingsError, also where nothing can be learnt from it; CheckpointError; DataError.
    """
    _check_same_trainable(folder, space)
    history = read_history(folder, space.trainable)
    trials = history.record.trials
    finished = [trial for trial in trials if trial.state in USED and trial.curve]
    for trial in finished:
        _check_same_training(f"--warm-from {folder}: trial {trial.number}", trial, space, base)
    _check_same_data(folder, history, space, base)
    spelled = _spelled(space, base)
    read = [_read_trial(folder, trial, space, spelled) for trial in finished]
    inside = [trial for trial in read if trial is not None]
    past = PastSearch(folder, inside, len(read) - len(inside), len(trials) - len(finished))
    if not inside:
        raise SettingsError(
            f"--warm-from {folder}: must have a completed or stopped trial that lies in this "
            f"space, but has {past}; leave it out"
        )
    return past


def _read_trial(
    folder: Path, trial: TrialRecord, space: Space, spelled: Spelled
) -> PastTrial | None:
    """None: a value lies outside of an axis."""
    told = settings_of(trial.config)
    settings = {
        path: _on_axis(told[path], axis, spelled.get(path, ())) for path, axis in space.axes.items()
    }
    if not all(axis.contains(settings[path]) for path, axis in space.axes.items()):
        return None
    where = f"--warm-from {folder}: trial {trial.number}"
    curve = [(epoch, _value(where, report, space)) for epoch, report in enumerate(trial.curve, 1)]
    return PastTrial(settings, curve, USED[trial.state])


def _value(where: str, report: Mapping[str, Any], space: Space) -> float:
    """Of this search's metric. Raises: SettingsError if it is no finite number."""
    name = space.metric.name
    value = report.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SettingsError(
            f"{where}: {name} must be a finite number after epoch {report['epoch']}, but is "
            f"{value!r}; leave it out"
        )
    return value


def _on_axis(value: Any, axis: Choice | Range, spelled: Sequence[tuple[Any, Any]]) -> Any:
    """The value of an axis, as the axis itself spells it."""
    if isinstance(axis, Range):
        return value
    return next((own for as_setting, own in spelled if as_setting == value), OUTSIDE)


def _spelled(space: Space, base: Settings) -> Spelled:
    """A setting may be spelled in two ways, such as `1` and `1.0`."""
    lows = {path: axis.ends()[0] for path, axis in space.axes.items()}
    return {
        path: [
            (settings_of(change(base, lows | {path: own}, str(space.path)))[path], own)
            for own in axis.values
        ]
        for path, axis in space.axes.items()
        if isinstance(axis, Choice)
    }


def _check_same_trainable(folder: Path, space: Space) -> None:
    """Raises: SettingsError, as settings of the same names may be another training's."""
    events = read_events(folder / JOURNAL)
    check_format(folder / JOURNAL, events)
    name = events[0]["trainable"]
    if name != space.trainable.name:
        raise SettingsError(
            f"--warm-from {folder}: must be a search of {space.trainable.name or 'keypoints'}, but "
            f"is one of {name or 'keypoints'}; leave it out"
        )


def _check_same_training(where: str, trial: TrialRecord, space: Space, base: Settings) -> None:
    infos, data = space.trainable.infos(), space.trainable.data
    told = settings_of(trial.config)
    for path, value in settings_of(base).items():
        if path in space.axes or path == data or infos[path].changes == "place":
            continue
        if told[path] != value:
            raise SettingsError(
                f"{where}: {path} must be {value}, as it is in this search, but is {told[path]}; "
                f"vary it, set it to the same value, or leave out --warm-from"
            )


def _check_same_data(folder: Path, history: History, space: Space, base: Settings) -> None:
    """By its fingerprints; where nothing is known of them, by where it lies."""
    path, here = space.trainable.data, space.trainable.data_of(base)
    if path is None:
        return
    search = history.search
    there = space.trainable.data_of(search.base)
    if not search.fingerprints:
        if there != here:
            raise SettingsError(
                f"--warm-from {folder}: {path} must be {here}, as no fingerprint in its journal "
                f"tells the data, but is {there}; leave it out"
            )
        return
    # As it shaped them, from where they lie now.
    moved = change(search.base, {path: here}, str(folder))
    for name, fingerprint in space.trainable.fingerprints(moved).items():
        if search.fingerprints.get(name) != fingerprint:
            raise SettingsError(
                f"--warm-from {folder}: the {name} data must be that of this search ({here}), "
                f"but its fingerprint is another; name its folder with --data, or leave it out"
            )
