"""Trials of earlier searches, from which the searcher learns at a warm start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Ending = Literal["completed", "stopped", "failed"]
"""How a trial ended, as the searcher distinguishes it."""


@dataclass(frozen=True)
class EarlierTrial:
    """One trial of an earlier search."""

    settings: dict[str, Any]
    """The values on this search's axes, by dotted path."""
    curve: list[tuple[int, float]]
    """(epoch, value of this search's metric)."""
    ending: Ending


@dataclass(frozen=True)
class EarlierSearch:
    """An earlier search, and the trials of it that can be used."""

    folder: Path
    trials: list[EarlierTrial]
    num_outside: int
    """Trials left out because a value lies outside of an axis of this search."""
    num_unfinished: int
    """Trials left out because they failed, were interrupted, or have not ended."""

    def __str__(self) -> str:
        num_all = len(self.trials) + self.num_outside + self.num_unfinished
        left_out = [
            *([f"{self.num_outside} lie outside of this space"] if self.num_outside else []),
            *([f"{self.num_unfinished} did not finish"] if self.num_unfinished else []),
        ]
        note = f"; {', '.join(left_out)}" if left_out else ""
        return f"{len(self.trials)} of {num_all} trials of {self.folder}{note}"
