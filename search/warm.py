"""What an earlier search found, as observations for this one: `--warm-from`.

A trial says something about this search only if it was trained as this search would have trained
it, on the same data. So whatever is no axis here must be the same there, whether the earlier
search varied it or not; settings of the kind `place` may differ.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kptrain.config import Settings
from kptrain.errors import SettingsError
from kptrain.resolve import change, flatten, settings_of
from kptrain.strict_yaml import read_yaml
from search.domains import Choice, Range
from search.journal import JOURNAL, read_events
from search.past import Row, read_table
from search.searcher import Ending
from search.space import Space

USED: dict[str, Ending] = {"completed": "completed", "stopped": "stopped"}
"""The states from which something is learnt, and how the searcher is told of them."""
OUTSIDE = object()
"""A value that no axis contains."""


@dataclass(frozen=True)
class PastTrial:
    """One trial of an earlier search."""

    settings: dict[str, Any]
    """Of this search's axes, by dotted path."""
    curve: list[tuple[int, float]]
    """(epoch, value of this search's metric)."""
    ending: Ending


@dataclass(frozen=True)
class PastSearch:
    """What can be learnt from an earlier search."""

    folder: Path
    trials: list[PastTrial]
    num_outside: int
    """Trials left out, as a value lies outside of an axis of this search."""
    num_unfinished: int
    """Trials left out, as they failed, were interrupted, or are not at their end."""

    def __str__(self) -> str:
        num_all = len(self.trials) + self.num_outside + self.num_unfinished
        left_out = [
            *([f"{self.num_outside} lie outside of this space"] if self.num_outside else []),
            *([f"{self.num_unfinished} did not finish"] if self.num_unfinished else []),
        ]
        told = f"; {', '.join(left_out)}" if left_out else ""
        return f"{len(self.trials)} of {num_all} trials of {self.folder}{told}"


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

    Raises: SettingsError, also where nothing can be learnt from it; DataError.
    """
    _check_same_trainable(folder, space)
    trials = read_table(folder / "trials.csv", [*settings_of(base), space.metric.name])
    finished = [rows for rows in trials if rows[0].text("state") in USED and rows[0].text("epoch")]
    _check_same_training(finished, space, base)
    _check_same_data(folder, finished, space, base)
    cells = _choice_cells(space, base)
    read = [_read_trial(rows, space, cells) for rows in finished]
    inside = [trial for trial in read if trial is not None]
    past = PastSearch(folder, inside, len(read) - len(inside), len(trials) - len(finished))
    if not inside:
        raise SettingsError(
            f"--warm-from {folder}: must have a completed or stopped trial that lies in this "
            f"space, but has {past}; leave it out"
        )
    return past


def _read_trial(
    rows: list[Row], space: Space, cells: Mapping[str, Mapping[str, Any]]
) -> PastTrial | None:
    """None: a value lies outside of an axis."""
    settings = {}
    for path, axis in space.axes.items():
        value = _on_axis(rows[0], path, axis, cells)
        if not axis.contains(value):
            return None
        settings[path] = value
    curve = [(row.integer("epoch"), row.number(space.metric.name)) for row in rows]
    return PastTrial(settings, curve, USED[rows[0].text("state")])


def _on_axis(
    row: Row, path: str, axis: Choice | Range, cells: Mapping[str, Mapping[str, Any]]
) -> Any:
    """The value of an axis, as the axis itself spells it."""
    if isinstance(axis, Choice):
        return cells[path].get(row.text(path), OUTSIDE)
    if not row.text(path):  # a setting that may be None, and was
        return OUTSIDE
    return row.integer(path) if axis.kind == "int" else row.number(path)


def _choice_cells(space: Space, base: Settings) -> dict[str, dict[str, Any]]:
    """Of each choice, its values by their text in a table: a setting may be spelled in two ways."""
    lows = {path: axis.ends()[0] for path, axis in space.axes.items()}
    cells: dict[str, dict[str, Any]] = {}
    for path, axis in space.axes.items():
        for value in axis.values if isinstance(axis, Choice) else ():
            config = change(base, lows | {path: value}, str(space.path))
            cells.setdefault(path, {})[_cell(settings_of(config)[path])] = value
    return cells


def _check_same_trainable(folder: Path, space: Space) -> None:
    """Raises: SettingsError, as settings of the same names may be another training's."""
    journal = folder / JOURNAL
    events = read_events(journal) if journal.exists() else []
    name = events[0].get("trainable") if events else None
    if name != space.trainable.name:
        raise SettingsError(
            f"--warm-from {folder}: must be a search of {space.trainable.name or 'keypoints'}, but "
            f"is one of {name or 'keypoints'}; leave it out"
        )


def _check_same_training(trials: list[list[Row]], space: Space, base: Settings) -> None:
    infos, data = space.trainable.infos(), space.trainable.data
    for path, value in settings_of(base).items():
        if path in space.axes or path == data or infos[path].changes == "place":
            continue
        for first, *_ in trials:
            if first.text(path) != _cell(value):
                raise SettingsError(
                    f"{first.where}: {path} must be {_cell(value) or None}, as it is in this "
                    f"search, but is {first.text(path) or None}; vary it, set it to the same "
                    f"value, or leave out --warm-from"
                )


def _cell(value: Any) -> str:
    """How a table spells a setting."""
    return "" if value is None else str(value)


def _check_same_data(folder: Path, trials: list[list[Row]], space: Space, base: Settings) -> None:
    """By the fingerprints of the winner's data; where there is no winner, by where they lie."""
    path, here = space.trainable.data, space.trainable.data_of(base)
    if path is None:
        return
    provenance = folder / "best" / "provenance.json"
    if not provenance.is_file() or not space.trainable.fingerprints(base):
        for first, *_ in trials:
            if first.text(path) != _cell(here):
                raise SettingsError(
                    f"{first.where}: {path} must be {here}, as no fingerprint in {provenance} "
                    f"tells the data, but is {first.text(path) or None}; leave out --warm-from"
                )
        return
    told = _read_fingerprints(provenance)
    file = folder / "best" / "config.yaml"
    winner = change(space.trainable.settings(), flatten(read_yaml(file)), str(file))
    winner = change(winner, {path: here}, str(file))
    for name, fingerprint in space.trainable.fingerprints(winner).items():
        if told.get(name) != fingerprint:
            raise SettingsError(
                f"{provenance}: the {name} data must be that of this search ({here}), "
                f"but its fingerprint is another; name its folder with --data, or leave out "
                f"--warm-from"
            )


def _read_fingerprints(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["data"]["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{path}: must have data.fingerprint, but cannot be read so "
            f"({type(error).__name__}: {error}); leave out --warm-from"
        ) from None
