"""Why a trial or a search ended: codes with values, and their texts.

A journal stores the codes and values. The texts are generated when shown, so they may change.
"""

from typing import Annotated, Literal

from pydantic import Field

from kptrain.config import PositiveInt, Settings
from search.space.budget import UNITS, Part, count_of

Cause = Literal["memory", "node_memory", "lost", "own"]
"""Why a trial failed. `memory`: it did not fit into its share of a GPU; `node_memory`: the memory
of its node was full; `lost`: its process or node died; `own`: the training raised an error."""
Positive = Annotated[float, Field(gt=0)]


class Spent(Settings):
    """A part of the budget was spent."""

    code: Literal["budget"] = "budget"
    part: Part
    value: Positive
    """The size of that part of the budget."""

    def __str__(self) -> str:
        return f"the budget of {count_of(self.value, UNITS[self.part])} was spent"


class Signal(Settings):
    """A signal asked the command to end."""

    code: Literal["signal"] = "signal"
    name: str
    """For example `SIGINT`."""

    def __str__(self) -> str:
        return self.name


class SameFailure(Settings):
    """The first trials all failed for the same reason."""

    code: Literal["alike"] = "alike"
    count: PositiveInt
    error: str
    """The error of the last of them."""

    def __str__(self) -> str:
        return f"the first {self.count} trials failed for the same reason: {self.error}"


class Failed(Settings):
    """A trial failed."""

    code: Literal["failed"] = "failed"
    error: str
    """The error's own text."""
    cause: Cause
    shares: list[Positive] = Field(default_factory=list)
    """The shares of a GPU with which it ran out of memory."""
    num_lost: Annotated[int, Field(ge=0)] = 0
    """How often its process or node died."""

    def __str__(self) -> str:
        if self.shares:
            shares = " and ".join(f"{share:g}" for share in self.shares)
            return f"{self.error} (tried with {shares} of a GPU)"
        return f"{self.error} ({self.num_lost} times)" if self.num_lost else self.error

    def is_like(self, other: "Failed") -> bool:
        """Whether two trials failed for the same reason; numbers in the texts may differ."""
        return self._kind() == other._kind()

    def _kind(self) -> tuple[str, int, bool]:
        letters = "".join(c for c in self.error if not c.isdigit())
        return letters, len(self.shares), bool(self.num_lost)


EndReason = Annotated[Spent | Signal | SameFailure, Field(discriminator="code")]
"""Why a search ends before its last trial."""
Reason = Spent | Signal | SameFailure | Failed
"""Why a trial ended, unless it was completed or stopped by ASHA."""
