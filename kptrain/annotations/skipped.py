"""Counts of what is skipped, repaired or doubtful in a split, by reason, each with an example."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from kptrain.annotations.reasons import NO_IMAGE_ID, NO_PERSON, NOT_LISTED
from kptrain.errors import DataError
from kptrain.files.values import printable, shown


@dataclass
class Skipped:
    """Counts by reason; if `strict`, the first unsound item is an error."""

    strict: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    """Used, but not as the file states it."""
    doubts: Counter[str] = field(default_factory=Counter)
    """Used as the file states it, but probably not intended."""
    first: dict[str, str] = field(default_factory=dict)
    """By reason: the first item. A reason without one is no fault."""
    fault: str | None = None
    """The error that `data.strict` raises for the first unsound item."""

    def count(self, reason: str, number: int = 1) -> None:
        """Skip items that are sound but not used in training."""
        if number:
            self.counts[reason] += number

    def add(self, reason: str, which: str, file: Path, number: int = 1) -> None:
        """Skip an unsound item of the file, or the file itself.

        Raises: DataError if `strict`.
        """
        self.counts[reason] += number
        self._note(reason, which, file, unsound=True)

    def repair(
        self, reason: str, which: str, file: Path, number: int = 1, *, unsound: bool = True
    ) -> None:
        """Replace what is missing or wrong in the file. This is `unsound` if it is a guess, and not
        if the file has only one possible meaning.

        Raises: DataError if `strict` and unsound.
        """
        self.repairs[reason] += number
        self._note(reason, which, file, unsound)

    def doubt(self, reason: str, which: str, file: Path, number: int = 1) -> None:
        """Count what is used as it is but probably not intended; never an error."""
        self.doubts[reason] += number
        self._note(reason, which, file, unsound=False)

    def cause(self) -> str | None:
        """The commonest reason of unsound items; else the commonest of all skipped items.

        Consequences do not count: images without a person follow from faults of their persons, and
        annotations of unlisted images from images without an id.
        """
        follows = {NO_PERSON, NOT_LISTED} if NO_IMAGE_ID in self.counts else {NO_PERSON}
        causes = {reason: n for reason, n in self.counts.items() if reason not in follows}
        causes = {reason: n for reason, n in causes.items() if reason in self.first} or causes
        return max(causes, key=lambda reason: causes[reason]) if causes else None

    def __str__(self) -> str:
        return self._listed(self.counts) or "nothing was skipped"

    def summary(self) -> str:
        """All counts, to be appended to a line; empty if there are none."""
        parts = {"skipped": self.counts, "repaired": self.repairs, "to check": self.doubts}
        texts = {name: self._listed(counts) for name, counts in parts.items()}
        return "".join(f"; {name}: {text}" for name, text in texts.items() if text)

    def _note(self, reason: str, which: str, file: Path, unsound: bool) -> None:
        which = shown(which)
        self.first.setdefault(reason, which)
        if not unsound:
            return
        self.fault = self.fault or (
            f"{printable(str(file))}: must have no {reason} where data.strict is true, "
            f"but has {which}; correct or remove it, or set data.strict to false to skip it"
        )
        check_strict(self.strict, self.fault)

    def _listed(self, counts: Counter[str]) -> str:
        return ", ".join(self.with_example(reason, n) for reason, n in sorted(counts.items()) if n)

    def with_example(self, reason: str, number: int) -> str:
        """A reason with its count and its first item."""
        first = f" (first: {self.first[reason]})" if reason in self.first else ""
        return f"{number:,} {reason}{first}"


def check_strict(strict: bool, fault: str | None) -> None:
    """Raises: DataError if `strict` and there is a fault."""
    if strict and fault:
        raise DataError(fault)
