"""The GPUs of this machine: locks that allow one search per GPU, as two searches would plan the
same memory twice, and the memory that a trial may use of its share."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch

from kptrain.errors import OutOfMemoryError, SettingsError
from kptrain.machine.locks import holder_in, tell_holder

CLAIMS = Path("/tmp/kptrain-gpus")  # noqa: S108  (only the name of a lock's holder is read from it)
SHARED = 0o1777
"""As for /tmp: each user may create files, and remove only their own."""
CONTEXT = 5 * 10**8
"""Bytes of a share that are reserved for a process's CUDA context and kernel code, about 0.5 GB:
torch does not count them, so torch's memory limit does not include them."""


def visible_gpus() -> list[str]:
    """The UUIDs of the GPUs that CUDA_VISIBLE_DEVICES selects and torch can use: the driver may be
    too old for torch."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [str(torch.cuda.get_device_properties(n).uuid) for n in range(count)]


def usable_bytes(share: float, total: int) -> int:
    """The bytes that a trial's tensors may use of its share of a GPU with `total` bytes.

    Raises: OutOfMemoryError if CUDA itself needs the whole share.
    """
    usable = int(share * total) - CONTEXT
    if usable <= 0:
        raise OutOfMemoryError(
            f"resources.gpu: a share must be more than the {CONTEXT / 1e9:g} GB that CUDA itself "
            f"needs, but {share:g} of a GPU of {total / 1e9:.1f} GB is "
            f"{share * total / 1e9:.2f} GB; raise it"
        )
    return usable


@contextmanager
def claim_gpus(names: Sequence[str], folder: Path = CLAIMS) -> Iterator[None]:
    """Lock GPUs of this machine, so that no other search of any user takes them.

    folder: of the locks, the same for all users, whatever their TMPDIR.
    Raises: SettingsError naming the holder of a GPU that is locked, or if the folder is a link or a
    file.
    """
    _share(folder)
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(_claimed(name, folder / f"{name}.lock"))
        yield


def _share(folder: Path) -> None:
    """Create the folder for all users; if it exists and is ours, set its permissions."""
    with suppress(FileExistsError):
        folder.mkdir()
    try:  # a link might lead to another folder of ours, which would be opened to all users
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise SettingsError(
            f"{folder}: must be a folder for the GPU locks of all users, and not a link, but "
            f"cannot be opened as one ({error.strerror}); remove it"
        ) from None
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, SHARED)
    finally:
        os.close(descriptor)


@contextmanager
def _claimed(name: str, path: Path) -> Iterator[None]:
    """Hold the lock of a GPU.

    Not by filelock: in a folder with the sticky bit it refuses a lock file of another user, who
    could remove it. Here the worst result of that is two searches on one GPU.
    """
    descriptor = _open(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note = max(path.parent.glob(f"{path.name}.*"), key=_changed, default=path)
            raise SettingsError(
                f"GPU {name}: must be free for this search, but {holder_in(note)} searches on it; "
                f"wait, or select other GPUs with CUDA_VISIBLE_DEVICES"
            ) from None
        with tell_holder(path.with_name(f"{path.name}.{os.geteuid()}")):
            yield
    finally:
        os.close(descriptor)  # releases the lock


def _open(path: Path) -> int:
    """Open a lock file read-only, so that the target of a link is never changed."""
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL)
        os.fchmod(descriptor, 0o644)  # independent of the user's umask
        return descriptor
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)


def _changed(path: Path) -> float:
    """The time of the last change: a killed search leaves its note, so the newest one is valid."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
