"""The events are documented, and are JSON that comes back as it was."""

import json
from pathlib import Path
from typing import get_args

import pytest

from search.journal.events import AnyEvent, Arrival, Begin, Event, Retry, as_line, read_event
from search.journal.reasons import Failed, Reason, SameFailure, Signal, Spent
from search.trials.beginning import FirstLine

DOC = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
KINDS: tuple[type[Event], ...] = get_args(get_args(AnyEvent)[0])


@pytest.mark.parametrize("model", [*KINDS, Arrival, Retry, *get_args(Reason)])
def test_each_field_of_an_event_is_documented(model: type[Event]) -> None:
    missing = [name for name in model.model_fields if f"`{name}`" not in DOC]
    assert [name for name in missing if name not in ("code",)] == []


def test_each_kind_and_code_is_documented() -> None:
    kinds = [kind.model_fields["event"].default for kind in KINDS]
    codes = [kind.model_fields["code"].default for kind in get_args(Reason)]
    assert len(kinds) == 9
    assert [name for name in [*kinds, *codes] if f"| `{name}` |" not in DOC] == []
    told = {"at", "event", "trainable", "id", "started", "storage", "warm_from"}  # by their names
    fields = FirstLine.model_fields.keys() - told
    assert [name for name in fields if f"`{name}`" not in DOC] == []


def test_an_event_comes_back_from_its_line() -> None:
    event = Begin(
        at=0.1 + 0.2,
        trial=0,
        settings={"optim.lr": 1e-3},
        wandb_id="id",
        promised=4,
        sampler={"generator": {"state": 2**127 + 1}, "logs": [0.1 + 0.7]},
    )
    line = json.loads(json.dumps(as_line(event)))
    assert list(line)[:3] == ["at", "event", "trial"]
    assert read_event(line, Path("journal"), 1) == event


@pytest.mark.parametrize(
    ("reason", "values"),
    [
        (Spent(part="hours", value=2), ["2 hours"]),
        (Signal(name="SIGTERM"), ["SIGTERM"]),
        (SameFailure(count=3, error="no room"), ["3 trials", "no room"]),
        (Failed(error="no room", cause="own"), ["no room"]),
        (Failed(error="it died", cause="lost", num_lost=4), ["it died", "4 times"]),
        (
            Failed(error="too large", cause="memory", shares=[0.75, 1.0]),
            ["too large", "0.75 and 1"],
        ),
    ],
)
def test_the_text_of_a_reason_has_its_values(reason: Reason, values: list[str]) -> None:
    assert [value for value in values if value not in str(reason)] == []


def test_failures_are_alike_whatever_numbers_they_name() -> None:
    one, other = (Failed(error=f"no room for {n} bytes", cause="own") for n in (1, 200))
    assert one.is_like(other)
    assert not one.is_like(Failed(error="no room for you", cause="own"))
    assert not one.is_like(Failed(error="no room for 1 bytes", cause="lost", num_lost=1))
