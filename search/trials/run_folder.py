"""The folder of a search: created with all that the search begins with, and opened to resume."""

import errno
import hashlib
import itertools
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from search.algorithms.earlier import EarlierSearch, EarlierTrial
from search.estimate import Estimate
from search.journal.journal import JOURNAL, Journal, Line, read_events
from search.journal.remote import Storage, StorageError, url_name
from search.space.reader import read_space, with_budget
from search.space.space import Rungs, Space
from search.space.training import Trainable
from search.trials import beginning

SPACE_FILE = "space.yaml"
LOCK = ".lock"
NAME_IN_USE = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
"""Errors of a rename to a name that another folder or a file has."""


@dataclass(frozen=True)
class Search:
    """The inputs of a search."""

    folder: Path
    space: Space
    """With the present budget."""
    base: Settings
    """The settings of trial 0."""
    past: tuple[EarlierTrial, ...]
    """Trials of earlier searches that it learns from."""
    first: Line
    """The first line of its journal."""
    fingerprints: Mapping[str, str] | None = None
    """Of the data, by split; None until the data are prepared."""
    url: str | None = None
    """The URL of the folder's copy."""
    estimate: Estimate | None = None
    """The estimated duration; None if it was not measured."""

    @cached_property
    def storage(self) -> Storage | None:
        """The folder's copy at its URL, if it has one. Raises: SettingsError."""
        return None if self.url is None else Storage(self.url)

    @property
    def wandb_id(self) -> str:
        """The id of the run at Weights & Biases with the promoted checkpoint; resuming keeps it."""
        return hashlib.sha256(self.first["id"].encode()).hexdigest()[:8]

    @property
    def rungs(self) -> Rungs:
        """The rungs at which its trials are compared."""
        return Rungs(tuple(self.first["rungs"]), self.first["early"])


def begin_search(
    folder: Path,
    space: Space,
    base: Settings,
    past: Sequence[EarlierSearch],
    url: str | None = None,
    *,
    numbered: bool = False,
) -> Search:
    """Create the folder of a search. It gets its name last, so it is never seen incomplete.

    numbered: whether to append a number if the name is in use, as the user did not choose it.
    Raises: SettingsError if the name is in use.
    """
    trials = tuple(trial for search in past for trial in search.trials)
    first = beginning.first_line(space, base, past, url)
    with _hidden(folder) as hidden:
        hidden.mkdir(parents=True)
        (hidden / SPACE_FILE).write_text(space.text, encoding="utf-8")
        Journal(hidden / JOURNAL).write(first)
        numbers = (folder.with_name(f"{folder.name}-{n}") for n in itertools.count(2))
        renamed = _rename(hidden, itertools.chain([folder], numbers if numbered else ()))
    if renamed is None:
        raise folder_exists(folder, space.trainable)
    flush(renamed.parent)  # the new name
    return Search(renamed.absolute(), space, base, trials, first, url=url)


@contextmanager
def _hidden(folder: Path) -> Iterator[Path]:
    """A temporary name for a folder that is being created, unique to this command."""
    hidden = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.tmp")
    try:
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)  # exists only if it was not renamed


def _rename(hidden: Path, names: Iterable[Path]) -> Path | None:
    """Rename a folder to the first free name and return it; None if none is free."""
    for name in names:
        try:
            return hidden.rename(name)  # replaces nothing but an empty folder
        except OSError as error:
            if error.errno not in NAME_IN_USE:
                raise
    return None


def folder_exists(folder: Path, trainable: Trainable[Any]) -> SettingsError:
    """The error for a new search in a folder that exists."""
    option = f"--resume {shlex.quote(str(folder))}{trainable.option}"
    hint = f", or resume the search in it with {option}" if (folder / JOURNAL).exists() else ""
    return SettingsError(
        f"--out: must be a folder that does not exist yet, but {folder} does; choose another{hint}"
    )


def fetch_search(url: str) -> Path:
    """Copy the search at a URL into `runs`, or update the copy there; returns the folder.

    Raises: CheckpointError, SettingsError.
    """
    storage = Storage(url)
    storage.check()
    remote = storage.read(JOURNAL)
    if remote is None:
        raise CheckpointError(
            f"{url}: must be the folder of a search, but holds no {JOURNAL}; correct it"
        )
    folder = Path("runs") / url_name(url)
    if not folder.exists():
        with _hidden(folder) as hidden:
            storage.fetch(hidden, skip=_is_of_a_trial)
            if _rename(hidden, [folder]):  # last, so the folder is never seen incomplete
                return folder
    path = folder / JOURNAL
    local = path.read_bytes() if path.exists() else b""
    local = local[: local.rfind(b"\n") + 1]
    if not local or not (remote.startswith(local) or local.startswith(remote)):
        raise CheckpointError(
            f"{folder}: must hold the local copy of the search at {url}, but holds another search; "
            f"move it away, or resume from another working folder"
        )
    if len(remote) > len(local):
        storage.fetch(folder, skip=lambda name: str(name) == JOURNAL or _is_of_a_trial(name))
        storage.fetch_file(JOURNAL, folder)  # last, as it is compared above
    return folder


def open_search(
    folder: Path,
    trainable: Trainable[Any],
    given: Path | None,
    budget: Mapping[str, float],
    data: str | None,
    url: str | None = None,
) -> Search:
    """Read the inputs of a search from its folder.

    given: a space file that the command names; budget: the parts of the budget that it changes;
    data: the data's present path; url: the present URL of the folder's copy; None: unchanged.
    Raises: CheckpointError, SettingsError.
    """
    events = read_events(folder / JOURNAL)
    beginning.check_format(folder / JOURNAL, events)
    first = events[0]
    beginning.check_same_trainable(folder, trainable, first["trainable"])
    for path in (folder / SPACE_FILE, *([] if given is None else [given])):
        beginning.check_same_space(path, first["space"])
    budgets = [first["budget"], *(e["budget"] for e in events if e["event"] == "resume")]
    space = read_space(folder / SPACE_FILE, trainable, first["resolved"])
    space = with_budget(space.model_copy(update=budgets[-1]), budget)
    base = trainable.resolve(first["base"], str(folder / JOURNAL))
    if data is not None:
        base = change(base, {trainable.data_setting(): data}, "--data")
    past = tuple(
        EarlierTrial(one["settings"], [(e, v) for e, v in one["curve"]], one["ending"])
        for one in first["past"]
    )
    fingerprints = next((e["fingerprints"] for e in events if e["event"] == "data"), None)
    url = url or first["storage"]
    return Search(folder.absolute(), space, base, past, first, fingerprints, url)


@contextmanager
def journal_of(search: Search, fingerprints: Mapping[str, str]) -> Iterator[Journal]:
    """Lock the folder, and open the journal with its first lines.

    Raises: CheckpointError if another command holds the folder, or the data have changed.
    """
    if search.fingerprints is not None and search.fingerprints != dict(fingerprints):
        raise CheckpointError(
            f"{search.folder}: must be resumed with the data that it began with, but "
            f"{search.space.trainable.data_of(search.base)} holds other data; name the original "
            f"data with --data"
        )
    try:
        with held(search.folder / LOCK, wait=1.0), _sent(search):
            storage = search.storage
            journal = Journal(search.folder / JOURNAL, None if storage is None else storage.grow)
            if search.fingerprints is None:
                journal.write({"at": 0.0, "event": "data", "fingerprints": dict(fingerprints)})
            yield journal
    except HeldError as error:
        raise CheckpointError(
            f"{search.folder}: must not be in use, but {error} searches there; wait for it, or "
            f"end it"
        ) from None


@contextmanager
def removed_if_nothing_ran(search: Search) -> Iterator[None]:
    """Remove the folder of a new search that ends before its first trial, for example because Ray
    does not start, so that the same command can be given again."""
    try:
        yield
    except BaseException as error:
        with suppress(HeldError, KptrainError, OSError):  # only the first error is reported
            _remove_if_nothing_ran(search, is_reachable=not isinstance(error, StorageError))
        raise


def _remove_if_nothing_ran(search: Search, *, is_reachable: bool) -> None:
    """is_reachable: whether its URL is, if it has one."""
    folder = search.folder
    with held(folder / LOCK):
        if any(event["event"] not in ("search", "data") for event in read_events(folder / JOURNAL)):
            return
        if search.storage is not None and is_reachable:
            for path in folder.rglob("*"):
                if path.is_file():
                    search.storage.remove(path.relative_to(folder).as_posix())
        shutil.rmtree(folder)


@contextmanager
def _sent(search: Search) -> Iterator[None]:
    """Send what the search writes to its URL, if it has one: at the start and at the end."""
    if (storage := search.storage) is None:
        yield
        return

    def send() -> None:
        storage.grow(search.folder / JOURNAL)  # first, as it detects another command
        storage.send(search.folder, skip=lambda name: name.name == JOURNAL or _is_of_a_trial(name))

    send()
    try:
        yield
    except StorageError:  # unreachable, or used by another command
        raise
    except BaseException:
        send()
        raise
    send()


def _is_of_a_trial(name: PurePosixPath) -> bool:
    """Whether a file belongs to a trial, whose actor sends it, or to Ray."""
    kind = name.parts[0]
    return kind == "ray" or (kind in ("trials", "confirm") and len(name.parts) > 2)
