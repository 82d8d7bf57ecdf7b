"""The folder of the Ray that a search starts: for its sockets, its logs and, if needed, its
token."""

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
"""The most bytes of the name of a Unix socket."""
IN_FOLDER = len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
IN_TMPDIR = len("/pymp-12345678/listener-12345678")  # of the dashboard's processes
LEAST_FREE = 100_000_000
"""Bytes for the logs of a short search; with a full disk Ray's processes wait for each other."""
LEAST_ADDRESSES = 8_000_000 * 1024
"""Bytes of address space for each of Ray's processes: with 6 GB some are aborted, with 8 none."""
ERROR_LINE = re.compile(r"(?:.*(?=Check failed: ))?(\w*(?:Error|Exception|Check failed): .+)")


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for Ray's sockets and logs, removed at the end. Also removes those of killed
    searches.

    Raises: SettingsError if there cannot be one.
    """
    remove_leftovers()
    folder = _new_folder()
    _check_limits(folder)
    with held(_lock_of(folder)):
        folder.mkdir()
        try:
            yield folder
        finally:
            _remove(folder)


def check_start() -> None:
    """Raises: SettingsError if Ray cannot start; not checked if this process is connected to a
    Ray."""
    ray = sys.modules.get("ray")  # importing it takes seconds
    if ray is None or not ray.is_initialized():
        _check_limits(_new_folder())


def _new_folder() -> Path:
    """The path of a new folder. Raises: SettingsError."""
    return _parent() / f"{os.getpid()}-{uuid4().hex[:4]}"


def _parent() -> Path:
    """The folder of all searches of this user. Raises: SettingsError if it cannot be created."""
    # In /tmp as Ray itself: the path of TMPDIR may be too long for a socket.
    own = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / f"kptrain-{os.getuid()}"  # noqa: S108  (0700)
    try:
        own.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise no_start(f"{own}: {error.strerror}; name another folder with RAY_TMPDIR") from None
    return own


def _check_limits(folder: Path) -> None:
    """Raises: SettingsError if socket names are too long, or disk or address space is too small;
    Ray itself would wait for a minute, or abort."""
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
    """The most bytes of address space of a process; None if unlimited."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def remove_leftovers() -> None:
    """Remove the folders of killed searches: those whose lock is free."""
    with suppress(SettingsError, OSError):  # if the parent cannot be read, there are none
        for folder in _parent().iterdir():
            if folder.is_dir():
                with suppress(HeldError), held(_lock_of(folder)):
                    _remove(folder)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _remove(folder: Path) -> None:
    """Remove a folder with its lock; a process of Ray that is ending may still write there."""
    shutil.rmtree(folder, ignore_errors=True)
    _lock_of(folder).unlink(missing_ok=True)


def keep_token() -> str:
    """If the home folder is not writable, as in containers, keep Ray's token in our own folder.

    Returns the prefix of a command that reads the token; may be empty.
    """
    variables = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")
    path = _parent() / "auth_token"
    if os.environ.get("RAY_AUTH_TOKEN_PATH") != str(path):
        if any(name in os.environ for name in variables) or _home_is_writable():
            return ""
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
    with suppress(FileExistsError):
        path.touch(0o600, exist_ok=False)
        path.write_text(secrets.token_hex(32))
    return f"RAY_AUTH_TOKEN_PATH={path} "


def _home_is_writable() -> bool:
    """Whether Ray can read its token from the home folder, or write it there."""
    if "HOME" not in os.environ:
        return False
    token = Path(os.environ["HOME"]) / ".ray" / "auth_token"
    try:
        token.parent.mkdir(parents=True, exist_ok=True)
        return os.access(token if token.exists() else token.parent, os.R_OK | os.W_OK)
    except OSError:
        return False


def why_not(error: BaseException, folder: Path | None) -> str:
    """Why Ray did not start or connect, in one line, from the error and Ray's logs."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror + (f": {error.filename}" if error.filename else "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    logged = _first_logged_error(folder) if folder is not None else ""
    last = next((line for line in reversed(lines) if ERROR_LINE.match(line)), "")
    reason = last or " ".join(" ".join(lines).split())[:300] or type(error).__name__
    limit = _address_limit()
    bound = "" if limit is None else f"; `ulimit -v` is {limit // 1024}"
    is_new = logged and logged.partition(": ")[2] not in reason
    return f"{reason}{f' ({logged})' if is_new else ''}{bound}"


def _first_logged_error(folder: Path) -> str:
    """The first error in the logs of Ray's processes; empty if there is none."""
    for path in sorted(folder.glob("session_latest/logs/*.err")):
        with suppress(OSError):
            for line in path.read_text(errors="replace").splitlines():
                if match := ERROR_LINE.match(line):
                    return f"{path.stem}: {match[1].strip()[:200]}"
    return ""


def no_start(reason: str) -> SettingsError:
    return SettingsError(f"Ray must start on this machine, but does not: {reason}")
