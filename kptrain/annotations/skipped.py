"""What is left out of a split, repaired in it or doubtful: counted by reason, each with the first
of what is unsound."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from kptrain.annotations.reasons import NO_IMAGE_ID, NO_PERSON, NOT_LISTED
from kptrain.errors import DataError
from kptrain.files.values import printable, shown


@dataclass
class LeftOut:
    """Counts by reason; where `strict`, the first that is unsound is an error."""

    strict: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    """What is not left out, but read as its file does not say it."""
    doubts: Counter[str] = field(default_factory=Counter)
    """What is read as its file says it, and hardly meant so."""
    first: dict[str, str] = field(default_factory=dict)
    """By reason: the first of them. A reason without one is nothing wrong."""
    fault: str | None = None
    """What `data.strict` has to say of the first that is unsound."""

    def count(self, reason: str, number: int = 1) -> None:
        """Leave out what is sound, but nothing to learn from."""
        if number:
            self.counts[reason] += number

    def add(self, reason: str, which: str, file: Path, number: int = 1) -> None:
        """Leave out what is unsound: one of the file's, or the file itself.

        Raises: DataError where `strict`.
        """
        self.counts[reason] += number
        self._note(reason, which, file, unsound=True)

    def repair(
        self, reason: str, which: str, file: Path, number: int = 1, *, unsound: bool = True
    ) -> None:
        """Take what a file lacks or has wrong from elsewhere. That is unsound where it is a guess,
        and not where the file could mean nothing else.

        Raises: DataError where `strict`, if it is unsound.
        """
        self.repairs[reason] += number
        self._note(reason, which, file, unsound)

    def doubt(self, reason: str, which: str, file: Path, number: int = 1) -> None:
        """Read what is sound, but hardly meant so. Nothing is refused for it."""
        self.doubts[reason] += number
        self._note(reason, which, file, unsound=False)

    def cause(self) -> str | None:
        """The reason of most of what is left out as unsound; else of most that is left out.

        An image without a person follows from what its persons lack; and an annotation of an image
        that is not listed, where images have no id, from that.
        """
        follows = {NO_PERSON, NOT_LISTED} if NO_IMAGE_ID in self.counts else {NO_PERSON}
        causes = {reason: n for reason, n in self.counts.items() if reason not in follows}
        found = {reason: n for reason, n in causes.items() if reason in self.first} or causes
        return max(found, key=lambda reason: found[reason]) if found else None

    def __str__(self) -> str:
        return self._listed(self.counts) or "nothing was left out"

    def said(self) -> str:
        """What is left out, repaired or doubtful, to follow what was found; empty if nothing is."""
        parts = {
            "left out": self.counts,
            "repaired": self.repairs,
            "to be checked, taken as it is": self.doubts,
        }
        told = {name: self._listed(counts) for name, counts in parts.items()}
        return "".join(f"; {name}: {listed}" for name, listed in told.items() if listed)

    def _note(self, reason: str, which: str, file: Path, unsound: bool) -> None:
        which = shown(which)
        self.first.setdefault(reason, which)
        if not unsound:
            return
        self.fault = self.fault or (
            f"{printable(str(file))}: must have no {reason} where data.strict is true, "
            f"but has {which}; correct or remove it, or leave out data.strict to go on without"
        )
        check_strict(self.strict, self.fault)

    def _listed(self, counts: Counter[str]) -> str:
        return ", ".join(self.told(reason, n) for reason, n in sorted(counts.items()) if n)

    def told(self, reason: str, number: int) -> str:
        """One reason with its count and its first."""
        first = f" (first: {self.first[reason]})" if reason in self.first else ""
        return f"{number:,} {reason}{first}"


def check_strict(strict: bool, fault: str | None) -> None:
    """Raises: DataError if something is unsound and must not be."""
    if strict and fault:
        raise DataError(fault)
