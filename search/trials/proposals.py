"""What a search asks for the settings of its trials: a sampler, or a list."""

from collections.abc import Mapping
from typing import Any, Protocol

from search.algorithms.earlier import Ending


class Source(Protocol):
    """Where the settings of trials come from; told what becomes of them."""

    def propose(self, number: int, /) -> dict[str, Any]:
        """The settings of a new trial; numbers are asked for in order, once each."""

    def memory(self) -> dict[str, Any] | None:
        """What it needs, beside what it is told, to propose the next ones as it would have."""

    def take(
        self, number: int, settings: Mapping[str, Any], memory: Mapping[str, Any] | None, /
    ) -> None:
        """A trial was begun; one that it has proposed itself just now is known to it.

        Raises: ValueError if the memory is not its own."""

    def report(self, number: int, epoch: int, value: float, /) -> None: ...
    def finish(self, number: int, ending: Ending, best: float | None, /) -> None: ...
