"""The first line of a search's journal: all that the search began with, defaults resolved.

A search goes on with what is recorded here, so that no later default or rule alters it.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from pydantic import ValidationError

from kptrain.config import PositiveInt, Settings
from kptrain.errors import CheckpointError
from kptrain.resolve import settings_of
from search.budget import Budget
from search.events import NotNegative, describe_first
from search.space import Space, max_epochs, rungs_of
from search.warm import PastSearch

FORMAT = 2
"""Of all lines; raised when a journal is written that versions before cannot read."""
READ_BY = {1: "0.1.0"}
"""The versions of kptrain that read the formats before."""
RESOLVED = ("keep", "asha", "seed", "sampler", "confirm")
"""What is recorded of a space beside its text, its metric and its budget."""


class FirstLine(Settings):
    at: NotNegative
    event: Literal["search"]
    format: int
    version: str
    """Of the package that began it."""
    trainable: str | None
    id: str
    started: str
    """When, in UTC."""
    space: str
    """The text of the space file."""
    resolved: dict[str, Any]
    """The keys of a space file that have a default, as they held."""
    rungs: list[PositiveInt]
    """The epochs at which ASHA may stop a trial."""
    early: PositiveInt | None
    """Of the early rung."""
    budget: Budget
    base: dict[str, Any]
    """All settings of trial 0, by dotted path."""
    storage: str | None
    """The URL at which the folder is, too."""
    warm_from: list[str]
    past: list[dict[str, Any]]
    """The trials that were taken from there."""


def first_line(
    space: Space, base: Settings, past: Sequence[PastSearch], url: str | None
) -> dict[str, Any]:
    """As the journal has it."""
    rungs = rungs_of(space.asha, max_epochs(space, base))
    trials = [trial for search in past for trial in search.trials]
    return {
        "at": 0.0,
        "event": "search",
        "format": FORMAT,
        "version": version("kptrain"),
        "trainable": space.trainable.name,
        "id": uuid4().hex,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "space": space.text,
        "resolved": {"metric": space.metric.name} | space.model_dump(include=set(RESOLVED)),
        "rungs": list(rungs.stops),
        "early": rungs.early,
        "budget": space.model_dump(include=set(Budget.model_fields)),
        "base": settings_of(base),
        "storage": url,
        "warm_from": [str(search.folder.absolute()) for search in past],
        "past": json.loads(json.dumps([asdict(trial) for trial in trials])),
    }


def check_format(path: Path, events: Sequence[Mapping[str, Any]]) -> None:
    """Raises: CheckpointError if a journal has no first line of a search that this version reads;
    it names the version that does."""
    if not events:
        raise CheckpointError(
            f"{path}: must have a whole first line, but has not; begin the search anew, with "
            f"another --out"
        )
    first = events[0]
    given = first.get("format")
    if first.get("event") != "search" or given != FORMAT:
        writer = READ_BY.get(given, first.get("version")) if isinstance(given, int) else None
        reader = f"kptrain {writer}" if writer else "the version that began it"
        raise CheckpointError(
            f"{path}:1: must be the journal of a search, of format {FORMAT}, but is "
            f"{first.get('event')!r} of {given!r}; read it, or go on, with {reader}"
        )
    try:
        FirstLine.model_validate(dict(first))
    except ValidationError as error:
        raise CheckpointError(
            f"{path}:1: {describe_first(error)}; take a copy from before"
        ) from None
