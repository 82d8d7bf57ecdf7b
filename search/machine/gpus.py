"""The GPUs of this machine: one search on each, as two on the same would plan its memory twice, and
what a trial may take of its share."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch

from kptrain.errors import OutOfMemoryError, SettingsError
from kptrain.machine.locks import holder_in, tell_holder

CLAIMS = Path("/tmp/kptrain-gpus")  # noqa: S108  (nothing is read from it but who holds a lock)
SHARED = 0o1777
"""As /tmp itself: anyone makes files there, and removes none but his own."""
CONTEXT = 5 * 10**8
"""Bytes of a share that are kept for CUDA's context of a process and the code of its kernels, some
0.5 GB: they lie outside of what torch counts, so that no cap of torch's holds them."""


def visible_gpus() -> list[str]:
    """The names, whatever CUDA_VISIBLE_DEVICES calls them, of the GPUs that it shows and torch can
    use: the driver may be too old for it."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [str(torch.cuda.get_device_properties(n).uuid) for n in range(count)]


def usable_bytes(share: float, total: int) -> int:
    """What the tensors of a trial may take of its share of a GPU that has so many bytes.

    Raises: OutOfMemoryError if the share is no more than what CUDA takes.
    """
    usable = int(share * total) - CONTEXT
    if usable <= 0:
        raise OutOfMemoryError(
            f"resources.gpu: a share must be more than the {CONTEXT / 1e9:g} GB that are kept for "
            f"CUDA itself, but {share:g} of a GPU of {total / 1e9:.1f} GB is "
            f"{share * total / 1e9:.2f} GB; raise it"
        )
    return usable


@contextmanager
def claim_gpus(names: Sequence[str], folder: Path = CLAIMS) -> Iterator[None]:
    """Hold GPUs of this machine against other searches, whoever runs them.

    folder: where the claims are kept, for all users alike, whatever TMPDIR each of them has.
    Raises: SettingsError naming who holds one already, or if the folder is a link or a file.
    """
    _share(folder)
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(_claimed(name, folder / f"{name}.lock"))
        yield


def _share(folder: Path) -> None:
    """Make the folder, for all users; one of ours that is there is set right, another's is used."""
    with suppress(FileExistsError):
        folder.mkdir()
    try:  # a link might lead to a folder of ours, which all would be let into
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise SettingsError(
            f"{folder}: must be a folder for the claims on GPUs of all users, and no link, but "
            f"cannot be opened so ({error.strerror}); remove it"
        ) from None
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, SHARED)
    finally:
        os.close(descriptor)


@contextmanager
def _claimed(name: str, path: Path) -> Iterator[None]:
    """Hold the lock of a GPU.

    filelock would not: in such a folder it takes no lock whose file is another user's, who might
    remove it. Here that would let two searches onto a GPU, and nothing worse.
    """
    descriptor = _open(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            told = max(path.parent.glob(f"{path.name}.*"), key=_changed, default=path)
            raise SettingsError(
                f"GPU {name}: must be free for this search, but {holder_in(told)} searches on it; "
                f"wait, or let CUDA_VISIBLE_DEVICES name others"
            ) from None
        with tell_holder(path.with_name(f"{path.name}.{os.geteuid()}")):
            yield
    finally:
        os.close(descriptor)  # and with it the lock


def _open(path: Path) -> int:
    """To be locked, never written: whatever it is a link to stays as it is."""
    with suppress(FileExistsError):
        made = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL)
        os.fchmod(made, 0o644)  # whatever the mask of this user
        return made
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)


def _changed(path: Path) -> float:
    """When; a killed search leaves its note behind, so the last one counts."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
