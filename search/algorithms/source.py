"""The interface of whatever proposes the settings of trials: a sampler, or a fixed list."""

from collections.abc import Mapping
from typing import Any

from search.algorithms.earlier import Ending


class Source:
    """Proposes the settings of trials, and receives their results.

    This class itself is the source of a search that is only replayed: all settings come from the
    journal.
    """

    def propose(self, number: int) -> dict[str, Any]:
        """The settings of a new trial; called once per number, in order."""
        raise AssertionError(f"trial {number} must come from the journal")

    def memory(self) -> dict[str, Any] | None:
        """Its state besides the trials' results, to be restored by `take`; None if it has none."""
        return None

    def take(
        self, number: int, settings: Mapping[str, Any], memory: Mapping[str, Any] | None
    ) -> None:
        """Register a trial that this object has not proposed itself, and restore the state.

        Raises: ValueError if the memory is not one of this kind of source.
        """

    def report(self, number: int, epoch: int, value: float) -> None:
        """Learn the metric's value after an epoch of a trial."""

    def finish(self, number: int, ending: Ending, best: float | None) -> None:
        """Learn how a trial ended; best: its best value."""
