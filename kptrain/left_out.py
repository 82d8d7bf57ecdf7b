"""What is left out of a split: counted by reason, each with the first of what is unsound."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from kptrain.errors import DataError


@dataclass
class LeftOut:
    """Counts by reason; where `strict`, the first that is unsound is an error."""

    strict: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    """By reason: the first of them. A reason without one is nothing wrong."""
    fault: str | None = None
    """What `data.strict` has to say of the first that is unsound."""

    def count(self, reason: str, number: int = 1) -> None:
        """Leave out what is sound, but nothing to learn from."""
        self.counts[reason] += number

    def add(self, reason: str, which: str, file: Path) -> None:
        """Leave out what is unsound: one of the file's, or the file itself.

        Raises: DataError where `strict`.
        """
        self.counts[reason] += 1
        self.first.setdefault(reason, which)
        self.fault = self.fault or (
            f"{file}: must have no {reason} where data.strict is true, but has {which}; correct or "
            f"remove it, or leave out data.strict to go on without"
        )
        check_strict(self.strict, self.fault)

    def __str__(self) -> str:
        told = [self._told(reason, n) for reason, n in sorted(self.counts.items()) if n]
        return ", ".join(told) or "nothing was left out"

    def _told(self, reason: str, number: int) -> str:
        first = f" (first: {self.first[reason]})" if reason in self.first else ""
        return f"{number:,} {reason}{first}"


def check_strict(strict: bool, fault: str | None) -> None:
    """Raises: DataError if something is unsound and must not be."""
    if strict and fault:
        raise DataError(fault)
