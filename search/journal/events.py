"""The events of a search: what each line of its journal holds, and what must hold of it.

An event says what happened and what was decided, in codes and numbers. Whoever reads it back asks
no rule again, so rules, words and defaults may change without a journal becoming unreadable.
docs/events.md describes them for readers of the file.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from kptrain.config import PositiveInt, Settings
from kptrain.errors import CheckpointError
from search.journal.reasons import Alike, Cause, Ended, Positive
from search.space.budget import Budget

HEADS = ("search", "data", "confirm")
"""First lines: they say what is searched, on which data, or what is confirmed."""
NotNegative = Annotated[float, Field(ge=0)]
Number = Annotated[int, Field(ge=0)]
"""Of a trial, from 0."""
Decided = Literal["running", "paused", "completed", "stopped", "interrupted"]
"""What becomes of a trial after an epoch."""


class Arrival(Settings):
    """A trial reached a rung: what ASHA decided."""

    rung: PositiveInt
    """Its epoch."""
    is_compared: bool
    """False at an early rung that is not trusted: there it is only remembered."""
    goes_on: bool
    out: list[Number]
    """The trials that wait there no longer, as others are better; maybe itself."""
    trusts: bool | None
    """Whether the early rung that it passed before stops trials from now on; None if that was not
    decided now."""


class Event(Settings):
    """One line of a journal."""

    at: NotNegative
    """Seconds for which the search had run, over all its commands."""


class OfTrial(Event):
    trial: Number


class Begin(OfTrial):
    """A new trial: its number is the next one."""

    event: Literal["begin"] = "begin"
    settings: dict[str, Any]
    """Those that are varied, by dotted path."""
    wandb_id: str
    promised: PositiveInt
    """Epochs that the budget keeps for it from now on."""
    sampler: dict[str, Any] | None
    """What the sampler needs to propose the next one, as it would have."""


class Promote(OfTrial):
    """A trial that waited at a rung goes on."""

    event: Literal["promote"] = "promote"
    rung: PositiveInt
    promised: PositiveInt


class Again(OfTrial):
    """A trial whose process was lost, or that was interrupted, goes on."""

    event: Literal["again"] = "again"
    promised: PositiveInt


class Start(OfTrial):
    """A trial's process is there."""

    event: Literal["start"] = "start"
    gpu: NotNegative
    """The share of a GPU that it holds."""


class Epoch(OfTrial):
    """A trial has trained its next epoch."""

    event: Literal["epoch"] = "epoch"
    report: dict[str, Any]
    host: str
    device: str
    state: Decided
    reason: Ended | None
    """Why it was interrupted."""
    promised: Number
    """0 if it does not go on at once."""
    arrival: Arrival | None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        arrival = self.arrival
        waits = arrival is not None and not arrival.goes_on and self.trial not in arrival.out
        _must((self.state == "running") == (self.promised > 0), "promised be 0 unless it runs")
        _must((self.state == "interrupted") == (self.reason is not None), "reason tell why it ends")
        _must((self.state == "paused") == waits, "state be paused where it waits at a rung")
        return self


class Onward(Settings):
    """How a trial that failed goes on."""

    share: Positive | None
    """Of a GPU, that it holds from then on; None as before."""
    room: PositiveInt | None
    """How many times another one's part of a node it holds from then on; None as before."""
    not_before: NotNegative
    """Seconds of the search's clock."""


class Fail(OfTrial):
    """A trial's process ended with an error, or was lost."""

    event: Literal["fail"] = "fail"
    error: str
    """What it said itself."""
    cause: Cause
    gpu: NotNegative
    onward: Onward | None
    """None: it has failed for good."""
    ends: Alike | None
    """Why the search ends with it."""


class Interrupt(Event):
    """Each trial ends after its current epoch."""

    event: Literal["interrupt"] = "interrupt"
    reason: Ended


class Close(Event):
    """The search has come to its end: what waits at a rung goes no further."""

    event: Literal["close"] = "close"


class Resume(Event):
    """Another command goes on with the search."""

    event: Literal["resume"] = "resume"
    budget: Budget


AnyEvent = Annotated[
    Begin | Promote | Again | Start | Epoch | Fail | Interrupt | Close | Resume,
    Field(discriminator="event"),
]
_READ: TypeAdapter[Any] = TypeAdapter(AnyEvent)


def as_line(event: Event) -> dict[str, Any]:
    """As the journal has it: when, what, of which trial, then the rest."""
    content = event.model_dump()
    return {"at": content.pop("at"), "event": content.pop("event")} | content


def read_event(content: dict[str, Any], path: Path, line: int) -> Any:
    """The event of a line. Raises: CheckpointError naming the line and what is wrong with it."""
    try:
        return _READ.validate_python(content)
    except ValidationError as error:
        raise misplaced(path, line, describe_first(error, skip=1)) from None


def misplaced(path: Path, line: int, rule: str) -> CheckpointError:
    """What to say of a line that cannot be; rule: what must hold, and what was given."""
    return CheckpointError(
        f"{path}:{line}: {rule}; go on with the version that began the search, or take a copy of "
        f"the file from before"
    )


def describe_first(error: ValidationError, skip: int = 0) -> str:
    """The first thing that is wrong: where, what must hold, what was given; skip: parts of its
    place that are no names of fields."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][skip:])
    if first["type"] == "missing":
        return f"{name} must be given, but is missing"
    if first["type"].startswith("union_tag") and not name:
        return f"event must be a known one, but got {first['input'].get('event')!r}"
    if first["type"] == "value_error":
        return first["msg"].removeprefix("Value error, ")
    rule = first["msg"].removeprefix("Input should be ")
    return f"{name} must be {rule[0].lower()}{rule[1:]}, but got {first['input']!r}"


def _must(holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(f"an epoch must have {rule}, but has not")
