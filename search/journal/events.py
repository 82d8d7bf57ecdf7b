"""The events of a search: the fields of each line of a journal, and their constraints.

An event records what happened and what was decided, in codes and numbers. Reading a journal applies
the decisions and evaluates no rule again, so rules, texts and defaults may change while old
journals stay readable. docs/events.md documents the format.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from kptrain.config import PositiveInt, Settings
from kptrain.errors import CheckpointError
from search.journal.reasons import Cause, EndReason, Positive, SameFailure
from search.space.budget import Budget
from search.space.faults import describe_first

FIRST_LINES = ("search", "data", "confirm")
"""Events that describe the whole journal: what is searched, on which data, or what is confirmed."""
NotNegative = Annotated[float, Field(ge=0)]
Number = Annotated[int, Field(ge=0)]
"""The number of a trial, from 0."""
NextState = Literal["running", "paused", "completed", "stopped", "interrupted"]
"""The state of a trial after an epoch."""


class Arrival(Settings):
    """ASHA's decision when a trial reaches a rung."""

    rung: PositiveInt
    """The epoch of the rung."""
    is_compared: bool
    """False at an early rung that is not trusted: it only records the value."""
    goes_on: bool
    """Whether the trial is promoted at once."""
    out: list[Number]
    """Trials that stop at this rung, as others are better; may include this trial."""
    trusts: bool | None
    """Whether the early rung below stops trials from now on; None if this arrival did not decide
    that."""


class Event(Settings):
    """One line of a journal."""

    at: NotNegative
    """Seconds for which the search had run, summed over all its commands."""


class TrialEvent(Event):
    trial: Number


class Begin(TrialEvent):
    """A new trial, with the next free number."""

    event: Literal["begin"] = "begin"
    settings: dict[str, Any]
    """The varied settings, by dotted path."""
    wandb_id: str
    promised: PositiveInt
    """Epochs that the budget reserves for it."""
    sampler: dict[str, Any] | None
    """The sampler's state after this proposal; None if it has none."""


class Promote(TrialEvent):
    """A trial that was paused at a rung is promoted."""

    event: Literal["promote"] = "promote"
    rung: PositiveInt
    promised: PositiveInt


class ResumeTrial(TrialEvent):
    """A trial whose process was lost, or that was interrupted, resumes."""

    event: Literal["again"] = "again"
    promised: PositiveInt


class Start(TrialEvent):
    """A trial's process has started."""

    event: Literal["start"] = "start"
    gpu: NotNegative
    """The share of a GPU that it holds."""


class Epoch(TrialEvent):
    """A trial has finished its next epoch."""

    event: Literal["epoch"] = "epoch"
    report: dict[str, Any]
    host: str
    device: str
    state: NextState
    reason: EndReason | None
    """Why it was interrupted."""
    promised: Number
    """Epochs reserved for it; 0 unless it keeps running."""
    arrival: Arrival | None
    """None if the epoch is not at a rung."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        arrival = self.arrival
        pauses = arrival is not None and not arrival.goes_on and self.trial not in arrival.out
        _must((self.state == "running") == (self.promised > 0), "promised 0 unless it runs")
        _must((self.state == "interrupted") == (self.reason is not None), "a reason if interrupted")
        _must((self.state == "paused") == pauses, "state paused if it pauses at a rung")
        return self


class Retry(Settings):
    """How a failed trial is resumed."""

    share: Positive | None
    """The share of a GPU from now on; None: unchanged."""
    room: PositiveInt | None
    """Its resources as a multiple of an ordinary trial's, from now on; None: unchanged."""
    not_before: NotNegative
    """The earliest time, in seconds of the search's clock."""


class Fail(TrialEvent):
    """A trial's process ended with an error, or was lost."""

    event: Literal["fail"] = "fail"
    error: str
    """The error's own text."""
    cause: Cause
    gpu: NotNegative
    """The share of a GPU that it held."""
    onward: Retry | None
    """None: the trial has failed and is not resumed."""
    ends: SameFailure | None
    """The reason if this failure ends the search, else None."""


class Interrupt(Event):
    """The search is interrupted: each trial ends after its current epoch."""

    event: Literal["interrupt"] = "interrupt"
    reason: EndReason


class Close(Event):
    """The search is finished: trials that are paused at a rung are stopped."""

    event: Literal["close"] = "close"


class ResumeSearch(Event):
    """Another command resumes the search."""

    event: Literal["resume"] = "resume"
    budget: Budget


AnyEvent = Annotated[
    Begin | Promote | ResumeTrial | Start | Epoch | Fail | Interrupt | Close | ResumeSearch,
    Field(discriminator="event"),
]
_READ: TypeAdapter[Any] = TypeAdapter(AnyEvent)


def as_line(event: Event) -> dict[str, Any]:
    """An event as a line of the journal: time, event code, trial number, then the other fields."""
    content = event.model_dump()
    return {"at": content.pop("at"), "event": content.pop("event")} | content


def read_event(content: dict[str, Any], path: Path, line: int) -> Any:
    """Parse the event of a line. Raises: CheckpointError naming the line and the wrong field."""
    try:
        return _READ.validate_python(content)
    except ValidationError as error:
        raise bad_line(path, line, describe_first(error, skip=1)) from None


def bad_line(path: Path, line: int, rule: str) -> CheckpointError:
    """The error for an invalid line; rule: what must hold, and what was given."""
    return CheckpointError(
        f"{path}:{line}: {rule}; resume with the version that began the search, or restore an "
        f"older copy of the file"
    )


def _must(holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(f"an epoch must have {rule}, but this one does not")
