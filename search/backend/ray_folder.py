"""The folder that a Ray of our own has for its sockets, its logs and, if need be, its token."""

import os
import re
import resource
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from kptrain.errors import SettingsError
from kptrain.machine.locks import HeldError, held

LONGEST_SOCKET = 107
"""Bytes that the name of a Unix socket may have."""
IN_FOLDER = len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
IN_TMPDIR = len("/pymp-12345678/listener-12345678")  # of the dashboard's processes
LEAST_FREE = 100_000_000
"""Bytes for the logs of a short search; without them Ray's processes wait for each other."""
LEAST_ADDRESSES = 8_000_000 * 1024
"""Bytes of address space for each of Ray's processes: with 6 GB some are aborted, with 8 none."""
ERROR_LINE = re.compile(r"(?:.*(?=Check failed: ))?(\w*(?:Error|Exception|Check failed): .+)")


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for Ray's sockets and logs, removed at the end; and those of killed searches are.

    Raises: SettingsError if Ray cannot have one.
    """
    remove_leftovers()
    folder = _new_folder()
    _check_room(folder)
    with held(_lock_of(folder)):
        folder.mkdir()
        try:
            yield folder
        finally:
            _remove(folder)


def check_start() -> None:
    """Raises: SettingsError if Ray cannot start; a process that is connected to one needs none."""
    ray = sys.modules.get("ray")  # importing it takes seconds
    if ray is None or not ray.is_initialized():
        _check_room(_new_folder())


def _new_folder() -> Path:
    """Its name. Raises: SettingsError."""
    return _place() / f"{os.getpid()}-{uuid4().hex[:4]}"


def _place() -> Path:
    """Of the folders of all searches of this user. Raises: SettingsError if it cannot be made."""
    # Where Ray itself puts them: TMPDIR may be too long a name for a socket.
    own = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / f"kptrain-{os.getuid()}"  # noqa: S108  (0700)
    try:
        own.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise no_start(f"{own}: {error.strerror}; name another folder with RAY_TMPDIR") from None
    return own


def _check_room(folder: Path) -> None:
    """Raises: SettingsError if Ray's names, logs or addresses have no room; itself, it would wait
    for a minute, or be aborted."""
    for name, path, more in (
        ("RAY_TMPDIR", str(folder), IN_FOLDER),
        ("TMPDIR", tempfile.gettempdir(), IN_TMPDIR),
    ):
        longest = LONGEST_SOCKET - more
        if len(os.fsencode(path)) > longest:
            raise no_start(
                f"its sockets may have names of {LONGEST_SOCKET} bytes, so {path} must have at "
                f"most {longest}; name another folder with {name}"
            )
    free = shutil.disk_usage(folder.parent).free
    if free < LEAST_FREE:
        raise no_start(
            f"{folder.parent} must have {LEAST_FREE // 10**6} MB free, but has "
            f"{free / 1e6:.0f}; make room, or name another folder with RAY_TMPDIR"
        )
    limit = _address_limit()
    if limit is not None and limit < LEAST_ADDRESSES:
        raise no_start(
            f"`ulimit -v` must be unlimited or at least {LEAST_ADDRESSES // 1024}, but is "
            f"{limit // 1024}; raise it"
        )


def _address_limit() -> int | None:
    """Bytes of address space that a process may have; None if as many as it wants."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def remove_leftovers() -> None:
    """The folders of searches that were killed: nobody holds their locks."""
    with suppress(SettingsError, OSError):  # of a place that cannot be had there are none
        for folder in _place().iterdir():
            if folder.is_dir():
                with suppress(HeldError), held(_lock_of(folder)):
                    _remove(folder)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _remove(folder: Path) -> None:
    """With its lock; a process of Ray's that is about to end may still write there."""
    shutil.rmtree(folder, ignore_errors=True)
    _lock_of(folder).unlink(missing_ok=True)


def keep_token() -> str:
    """Where the home folder cannot be written, as in containers, Ray's token is in our own.

    Returns what to put before a command that reads it.
    """
    given = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")
    path = _place() / "auth_token"
    if os.environ.get("RAY_AUTH_TOKEN_PATH") != str(path):
        if any(name in os.environ for name in given) or _home_has_room():
            return ""
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
    with suppress(FileExistsError), open(path, "x", opener=_for_me_alone) as file:
        file.write(secrets.token_hex(32))
    return f"RAY_AUTH_TOKEN_PATH={path} "


def _home_has_room() -> bool:
    """Whether Ray finds its token in the home folder, or can put it there."""
    if "HOME" not in os.environ:
        return False
    token = Path(os.environ["HOME"]) / ".ray" / "auth_token"
    try:
        token.parent.mkdir(parents=True, exist_ok=True)
        return os.access(token if token.exists() else token.parent, os.R_OK | os.W_OK)
    except OSError:
        return False


def _for_me_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def why_not(error: BaseException, folder: Path | None) -> str:
    """Why Ray did not start or connect, in a line: mostly its own words, else those of its logs."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror + (f": {error.filename}" if error.filename else "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = _in_logs(folder) if folder is not None else ""
    last = next((line for line in reversed(lines) if ERROR_LINE.match(line)), "")
    told = last or " ".join(" ".join(lines).split())[:300] or type(error).__name__
    limit = _address_limit()
    bound = "" if limit is None else f"; `ulimit -v` is {limit // 1024}"
    is_new = found and found.partition(": ")[2] not in told
    return f"{told}{f' ({found})' if is_new else ''}{bound}"


def _in_logs(folder: Path) -> str:
    """The first error that a process of Ray's wrote before it died."""
    for path in sorted(folder.glob("session_latest/logs/*.err")):
        with suppress(OSError):
            for line in path.read_text(errors="replace").splitlines():
                if found := ERROR_LINE.match(line):
                    return f"{path.stem}: {found[1].strip()[:200]}"
    return ""


def no_start(reason: str) -> SettingsError:
    return SettingsError(f"Ray must start on this machine, but does not: {reason}")
