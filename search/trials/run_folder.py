"""The folder of a search: made whole with what the search begins with, and opened to go on."""

import errno
import hashlib
import itertools
import json
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from kptrain.config import Settings
from kptrain.errors import CheckpointError, KptrainError, SettingsError
from kptrain.machine.disk import flush
from kptrain.machine.locks import HeldError, held
from kptrain.resolve import change
from search.algorithms.earlier import PastSearch, PastTrial
from search.estimate import Estimate
from search.journal.journal import JOURNAL, Journal, Line, read_events
from search.journal.remote import Storage, StorageError, url_name
from search.space.reader import read_space, with_budget
from search.space.space import Rungs, Space
from search.space.training import Trainable
from search.trials.beginning import (
    check_format,
    check_same_space,
    check_same_trainable,
    first_line,
)

SPACE_FILE = "space.yaml"
LOCK = ".lock"
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
"""What a system says of a folder that is to get the name of another one, or of a file."""


@dataclass(frozen=True)
class Search:
    """What a search is begun with; all that comes of it follows from that and from its trials."""

    folder: Path
    space: Space
    """With the budget that holds now."""
    base: Settings
    """The settings of trial 0."""
    past: tuple[PastTrial, ...]
    """Trials of earlier searches that it learns from."""
    first: Line
    """The first line of its journal."""
    fingerprints: Mapping[str, str] | None = None
    """Of the data of its trials, by split; None as long as it is not known."""
    url: str | None = None
    """Where the folder is, too."""
    estimate: Estimate | None = None
    """How long it takes, where that was measured before it began."""

    @property
    def warm_from(self) -> list[str]:
        return list(self.first["warm_from"])

    @property
    def started(self) -> str:
        """When, in UTC."""
        return str(self.first["started"])

    @cached_property
    def storage(self) -> Storage | None:
        """At its URL, if it has one. Raises: SettingsError."""
        return None if self.url is None else Storage(self.url)

    @property
    def wandb_id(self) -> str:
        """Of the run at Weights & Biases that has the promoted checkpoint: the same on resuming."""
        return hashlib.sha256(self.first["id"].encode()).hexdigest()[:8]

    @property
    def rungs(self) -> Rungs:
        """At which its trials are compared."""
        return Rungs(tuple(self.first["rungs"]), self.first["early"])


def begin_search(
    folder: Path,
    space: Space,
    base: Settings,
    past: Sequence[PastSearch],
    url: str | None = None,
    *,
    numbered: bool = False,
) -> Search:
    """Make the folder; as it gets its name at last, it is there with all this, or not at all.

    numbered: whether its name gets a number where another search has it, as nobody chose it.
    Raises: SettingsError if another search has it.
    """
    trials = tuple(trial for search in past for trial in search.trials)
    first = first_line(space, base, past, url)
    with _hidden(folder) as hidden:
        hidden.mkdir(parents=True)
        (hidden / SPACE_FILE).write_text(space.text, encoding="utf-8")
        Journal(hidden / JOURNAL).write(first)
        numbers = (folder.with_name(f"{folder.name}-{n}") for n in itertools.count(2))
        made = _give_name(hidden, itertools.chain([folder], numbers if numbered else ()))
    if made is None:
        raise taken(folder, space.trainable)
    flush(made.parent)  # the new name
    return Search(made.absolute(), space, base, trials, first, url=url)


@contextmanager
def _hidden(folder: Path) -> Iterator[Path]:
    """Where a folder is made before it gets its name: of each command another."""
    hidden = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.tmp")
    try:
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)  # only where it did not get it


def _give_name(hidden: Path, names: Iterable[Path]) -> Path | None:
    """The first name that is free; None where each is another's, who may have begun just now."""
    for name in names:
        try:
            return hidden.rename(name)  # only in the place of nothing, or of an empty folder
        except OSError as error:
            if error.errno not in TAKEN:
                raise
    return None


def taken(folder: Path, trainable: Trainable[Any]) -> SettingsError:
    """What to say where a search is to begin in a folder that is there."""
    how = f"--resume {shlex.quote(str(folder))}{trainable.option}"
    told = f", or go on with the search in it by {how}" if (folder / JOURNAL).exists() else ""
    return SettingsError(
        f"--out: must be a folder that does not exist yet, but {folder} does; choose another{told}"
    )


def fetch_search(url: str) -> Path:
    """The folder in `runs` where the search at a URL is worked on, as far as it is at the URL.

    Raises: CheckpointError, SettingsError.
    """
    storage = Storage(url)
    storage.check()
    there = storage.read(JOURNAL)
    if there is None:
        raise CheckpointError(
            f"{url}: must be the folder of a search, but holds no {JOURNAL}; correct it"
        )
    folder = Path("runs") / url_name(url)
    if not folder.exists():
        with _hidden(folder) as hidden:
            storage.fetch(hidden, skip=_is_of_a_trial)
            if _give_name(hidden, [folder]):  # it is there with all this, or not at all
                return folder
    path = folder / JOURNAL
    here = path.read_bytes() if path.exists() else b""
    here = here[: here.rfind(b"\n") + 1]
    if not here or not (there.startswith(here) or here.startswith(there)):
        raise CheckpointError(
            f"{folder}: must hold the search of {url}, which is worked on there, but holds "
            f"another; move it away, or go on from another folder"
        )
    if len(there) > len(here):
        storage.fetch(folder, skip=lambda name: str(name) == JOURNAL or _is_of_a_trial(name))
        storage.fetch_file(JOURNAL, folder)  # last, as it is asked above
    return folder


def open_search(
    folder: Path,
    trainable: Trainable[Any],
    given: Path | None,
    budget: Mapping[str, float],
    data: str | None,
    url: str | None = None,
) -> Search:
    """What a search was begun with. `given`: a space file that the command names; `budget`: the
    parts of a budget that it changes; `data`: where the data lie now; `url`: where the folder is
    now, too, if not where it was.

    Raises: CheckpointError, SettingsError.
    """
    events = read_events(folder / JOURNAL)
    check_format(folder / JOURNAL, events)
    first = events[0]
    check_same_trainable(folder, trainable, first["trainable"])
    for path in (folder / SPACE_FILE, *([] if given is None else [given])):
        check_same_space(path, first["space"])
    budgets = [first["budget"], *(e["budget"] for e in events if e["event"] == "resume")]
    space = read_space(folder / SPACE_FILE, trainable, first["resolved"])
    space = with_budget(space.model_copy(update=budgets[-1]), budget)
    base = trainable.resolve(_as_python(first["base"]), str(folder / JOURNAL))
    if data is not None:
        base = change(base, {trainable.data_setting(): data}, "--data")
    past = tuple(
        PastTrial(one["settings"], [(e, v) for e, v in one["curve"]], one["ending"])
        for one in first["past"]
    )
    fingerprints = next((e["fingerprints"] for e in events if e["event"] == "data"), None)
    url = url or first["storage"]
    return Search(folder.absolute(), space, base, past, first, fingerprints, url)


@contextmanager
def journal_of(search: Search, fingerprints: Mapping[str, str]) -> Iterator[Journal]:
    """Hold the folder, and open the journal behind its first lines.

    Raises: CheckpointError if another search holds the folder, or its data were others.
    """
    if search.fingerprints is not None and search.fingerprints != dict(fingerprints):
        raise CheckpointError(
            f"{search.folder}: must go on with the data that it began with, but "
            f"{search.space.trainable.data_of(search.base)} holds other data; name the first with "
            f"--data"
        )
    try:
        with held(search.folder / LOCK, wait=1.0), _sent(search):
            journal = Journal(search.folder / JOURNAL, _sender(search))
            if search.fingerprints is None:
                journal.write({"at": 0.0, "event": "data", "fingerprints": dict(fingerprints)})
            yield journal
    except HeldError as error:
        raise CheckpointError(
            f"{search.folder}: must not be in use, but {error} searches there; wait for it, or "
            f"end it"
        ) from None


@contextmanager
def gone_if_nothing_ran(search: Search) -> Iterator[None]:
    """A search that this command has begun leaves no folder if it ends before its first trial, as
    where Ray does not start: the same command can be given again."""
    try:
        yield
    except BaseException as error:
        with suppress(HeldError, KptrainError, OSError):  # the first error is the one to report
            _remove_if_nothing_ran(search, is_in_reach=not isinstance(error, StorageError))
        raise


def _remove_if_nothing_ran(search: Search, *, is_in_reach: bool) -> None:
    """is_in_reach: whether its URL is, if it has one."""
    folder = search.folder
    with held(folder / LOCK):
        if any(event["event"] not in ("search", "data") for event in read_events(folder / JOURNAL)):
            return
        if search.storage is not None and is_in_reach:
            for path in folder.rglob("*"):
                if path.is_file():
                    search.storage.remove(path.relative_to(folder).as_posix())
        shutil.rmtree(folder)


@contextmanager
def _sent(search: Search) -> Iterator[None]:
    """What the search has written is at its URL, too, if it has one."""
    if (storage := search.storage) is None:
        yield
        return

    def send() -> None:
        storage.grow(search.folder / JOURNAL)  # first, as it says whether another command is there
        storage.send(search.folder, skip=_is_of_a_trial_or_sent)

    send()
    try:
        yield
    except StorageError:  # out of reach, or another's by now
        raise
    except BaseException:
        send()
        raise
    send()


def _sender(search: Search) -> Callable[[Path], None] | None:
    return None if search.storage is None else search.storage.grow


def _is_of_a_trial(name: PurePosixPath) -> bool:
    """Whether a file is a trial's, which sends it itself, or Ray's."""
    kind = name.parts[0]
    return kind == "ray" or (kind in ("trials", "confirm") and len(name.parts) > 2)


def _is_of_a_trial_or_sent(name: PurePosixPath) -> bool:
    return name.name == JOURNAL or _is_of_a_trial(name)


def _as_python(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a yaml file would give them."""
    return dict(json.loads(json.dumps(settings)))
