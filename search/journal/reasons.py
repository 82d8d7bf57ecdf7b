"""Why a trial ended, or a search: codes with numbers, and the words for them.

A journal holds the codes. The words are made where they are shown, so they may be changed.
"""

from typing import Annotated, Literal

from pydantic import Field

from kptrain.config import PositiveInt, Settings
from search.space.budget import Part, count_of

Cause = Literal["memory", "node_memory", "lost", "own"]
"""Why a trial failed: it did not fit into its share of a GPU, its node's own memory was full, its
process or node died, or by itself."""
UNITS: dict[Part, str] = {"hours": "hour", "gpu_hours": "GPU hour", "epochs": "epoch"}
Positive = Annotated[float, Field(gt=0)]


class Spent(Settings):
    """A part of the budget was spent."""

    code: Literal["budget"] = "budget"
    part: Part
    value: Positive
    """What the budget had of it."""

    def __str__(self) -> str:
        return f"the budget of {count_of(self.value, UNITS[self.part])} was spent"


class Signal(Settings):
    """A signal asked the command to end."""

    code: Literal["signal"] = "signal"
    name: str
    """Such as `SIGINT`."""

    def __str__(self) -> str:
        return self.name


class Alike(Settings):
    """The first trials all failed for the same reason."""

    code: Literal["alike"] = "alike"
    count: PositiveInt
    error: str
    """What the last of them said."""

    def __str__(self) -> str:
        return f"the first {self.count} trials failed alike: {self.error}"


class Failed(Settings):
    """A trial failed."""

    code: Literal["failed"] = "failed"
    error: str
    """What the trial itself said."""
    cause: Cause
    shares: list[Positive] = Field(default_factory=list)
    """Of a GPU, with which it ran out of the GPU's memory."""
    num_lost: Annotated[int, Field(ge=0)] = 0
    """How often its process or node died."""

    def __str__(self) -> str:
        if self.shares:
            shares = " and ".join(f"{share:g}" for share in self.shares)
            return f"{self.error} (tried with {shares} of a GPU)"
        return f"{self.error} ({self.num_lost} times)" if self.num_lost else self.error

    def is_like(self, other: "Failed") -> bool:
        """Whether two trials failed for the same reason, whatever numbers it names."""
        return self._kind() == other._kind()

    def _kind(self) -> tuple[str, int, bool]:
        letters = "".join(c for c in self.error if not c.isdigit())
        return letters, len(self.shares), bool(self.num_lost)


Ended = Annotated[Spent | Signal | Alike, Field(discriminator="code")]
"""Why a search ends before its last trial."""
Reason = Spent | Signal | Alike | Failed
"""Why a trial ended, where it did not come to its own end."""
