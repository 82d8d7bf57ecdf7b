"""The first line of a search's journal: the inputs of the search, with all defaults resolved.

A resumed search uses what is recorded here, so a later version's defaults do not change it.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import yaml
from pydantic import ValidationError

import kptrain
from kptrain.config import PositiveInt, Settings
from kptrain.errors import CheckpointError, SettingsError
from kptrain.resolve import flatten, settings_of
from search.algorithms.earlier import EarlierSearch
from search.journal.events import NotNegative
from search.space.budget import Budget
from search.space.faults import describe_first
from search.space.space import Space, max_epochs, rungs_of
from search.space.training import Trainable

FORMAT = 2
"""The format of the journal; raised when earlier versions cannot read it."""
READ_BY = {1: "0.1.0"}
"""For each earlier format, a version of kptrain that reads it."""
RESOLVED = ("keep", "asha", "seed", "sampler", "confirm")
"""Keys of a space that are recorded besides its text, metric, resources and budget."""


class FirstLine(Settings):
    at: NotNegative
    event: Literal["search"]
    format: int
    version: str
    """The version of the package that began the search."""
    trainable: str | None
    id: str
    started: str
    """The time in UTC."""
    space: str
    """The text of the space file."""
    resolved: dict[str, Any]
    """The keys of a space file that have a default, with their values."""
    rungs: list[PositiveInt]
    """The epochs at which ASHA may stop a trial."""
    early: PositiveInt | None
    """The epoch of the early rung."""
    budget: Budget
    base: dict[str, Any]
    """All settings of trial 0, by dotted path."""
    storage: str | None
    """The URL of the folder's copy."""
    warm_from: list[str]
    """The folders of the earlier searches that it learns from."""
    past: list[dict[str, Any]]
    """The trials of these searches."""


def first_line(
    space: Space, base: Settings, past: Sequence[EarlierSearch], url: str | None
) -> dict[str, Any]:
    """The first line of a new journal; url: of the folder's copy."""
    rungs = rungs_of(space.asha, max_epochs(space, base))
    trials = [trial for search in past for trial in search.trials]
    return {
        "at": 0.0,
        "event": "search",
        "format": FORMAT,
        "version": kptrain.__version__,
        "trainable": space.trainable.name,
        "id": uuid4().hex,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "space": space.text,
        "resolved": _resolved(space),
        "rungs": list(rungs.stops),
        "early": rungs.early,
        "budget": space.model_dump(include=set(Budget.model_fields)),
        "base": settings_of(base),
        "storage": url,
        "warm_from": [str(search.folder.absolute()) for search in past],
        "past": json.loads(json.dumps([asdict(trial) for trial in trials])),
    }


def _resolved(space: Space) -> dict[str, Any]:
    """The keys that have a default. `resources.gpu` only if the file does not set it: `auto` is
    resolved anew on each machine."""
    given = (yaml.safe_load(space.text) or {}).get("resources") or {}
    resources = space.resources.model_dump(exclude={"gpu"} if "gpu" in given else None)
    recorded = {"metric": space.metric.name, "resources": resources}
    return recorded | space.model_dump(include=set(RESOLVED))


def check_format(path: Path, events: Sequence[Mapping[str, Any]]) -> None:
    """Raises: CheckpointError if this version cannot read the journal; it names the version that
    can."""
    if not events:
        raise CheckpointError(
            f"{path}: must have a complete first line, but has none; begin the search again, with "
            f"another --out"
        )
    first = events[0]
    given = first.get("format")
    if first.get("event") != "search" or given != FORMAT:
        writer = READ_BY.get(given, first.get("version")) if isinstance(given, int) else None
        reader = f"kptrain {writer}" if writer else "the version that began it"
        raise CheckpointError(
            f"{path}:1: must be the journal of a search, of format {FORMAT}, but is "
            f"{first.get('event')!r} of {given!r}; read or resume it with {reader}"
        )
    try:
        FirstLine.model_validate(dict(first))
    except ValidationError as error:
        raise CheckpointError(f"{path}:1: {describe_first(error)}; restore an older copy") from None


def check_same_trainable(folder: Path, trainable: Trainable[Any], began_with: str | None) -> None:
    """Raises: SettingsError if the search trains something else."""
    if trainable.name == began_with:
        return
    do = "leave out --trainable" if began_with is None else f"give --trainable {began_with}"
    raise SettingsError(
        f"{folder}: must be read with what it searches, {began_with or 'keypoints'}, but got "
        f"{trainable.name or 'no --trainable'}; {do}"
    )


def check_same_space(path: Path, began_with: str) -> None:
    """Raises: SettingsError naming every difference."""
    try:
        text = path.read_text(encoding="utf-8")
        if text == began_with:
            return
        now = flatten(yaml.safe_load(text) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError) as error:
        raise SettingsError(
            f"{path}: must be the space file that the search began with, but cannot be read "
            f"({' '.join(str(error).split())[:200]}); restore it, or leave it out"
        ) from None
    then = flatten(yaml.safe_load(began_with))
    differing = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    changes = "; ".join(
        f"{name} was {then.get(name, 'not given')}, now {now.get(name, 'not given')}"
        for name in differing
    )
    if differing:
        raise SettingsError(
            f"{path}: must not change after the search began, but {changes}; restore it, or begin "
            f"another search (--trials, --hours, --gpu-hours and --epochs change the budget)"
        )
