"""The table of an earlier search, read with the line of whatever is wrong in it."""

import csv
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from kptrain.errors import SettingsError
from search.record import State


@dataclass(frozen=True)
class Row:
    """One row of `trials.csv`: an epoch of a trial, or a trial without any."""

    where: str
    """`trials.csv:12`."""
    cells: dict[str, str]

    def text(self, column: str) -> str:
        return self.cells[column]

    def integer(self, column: str) -> int:
        """Raises: SettingsError if it is none."""
        try:
            return int(self.cells[column])
        except ValueError:
            raise self._wrong(column, "an integer") from None

    def number(self, column: str) -> float:
        """Raises: SettingsError if it is none, or not finite."""
        try:
            value = float(self.cells[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self._wrong(column, "a finite number")
        return value

    def _wrong(self, column: str, rule: str) -> SettingsError:
        return SettingsError(
            f"{self.where}: {column} must be {rule}, but got {self.cells[column]!r}; mend the file"
        )


def read_table(path: Path, columns: Collection[str]) -> list[list[Row]]:
    """Read the rows of each trial, in the order of their epochs.

    `columns` are needed beside those that every table has.
    Raises: SettingsError if there is none, or it is not as a search writes it.
    """
    try:
        rows = _read_rows(path, {"trial", "state", "epoch", *columns})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(
            f"{path}: must be the table of a search, but cannot be read: {error}"
        ) from None
    trials: dict[int, list[Row]] = {}
    for row in rows:
        seen = trials.setdefault(row.integer("trial"), [])
        _check_next(row, seen)
        seen.append(row)
    return list(trials.values())


def _read_rows(path: Path, columns: set[str]) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        if missing := sorted(columns - set(reader.fieldnames or ())):
            raise SettingsError(
                f"{path}:1: must have the column {missing[0]}, but has not; it is no table of a "
                f"search, or one of another version"
            )
        rows = []
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if None in cells or None in cells.values():
                raise SettingsError(f"{where}: must have as many cells as line 1; mend the file")
            rows.append(Row(where, cells))
    return rows


def _check_next(row: Row, seen: list[Row]) -> None:
    """Raises: SettingsError if a row does not continue its trial."""
    if row.text("state") not in get_args(State):
        raise SettingsError(
            f"{row.where}: state must be one of {', '.join(get_args(State))}, but got "
            f"{row.text('state')!r}; mend the file"
        )
    if not seen and not row.text("epoch"):  # a trial that ended before its first
        return
    if row.integer("epoch") != len(seen) + 1:
        raise SettingsError(
            f"{row.where}: epoch must be {len(seen) + 1}, the next of trial {row.text('trial')}, "
            f"but got {row.text('epoch')}; mend the file"
        )
