"""One search on a GPU: two on the same would plan its memory twice."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch

from kptrain.errors import SettingsError
from kptrain.locks import HeldError, held

CLAIMS = Path("/tmp/kptrain-gpus")  # noqa: S108  (nothing is read from it but who holds a lock)


def visible_gpus() -> list[str]:
    """The names that the GPUs have whatever CUDA_VISIBLE_DEVICES says."""
    count = torch.cuda.device_count()
    return [str(torch.cuda.get_device_properties(n).uuid) for n in range(count)]


@contextmanager
def claim_gpus(names: Sequence[str], folder: Path = CLAIMS) -> Iterator[None]:
    """Hold GPUs of this machine against other searches, whoever runs them.

    folder: where the claims are kept, for all users alike, whatever TMPDIR each of them has.
    Raises: SettingsError naming who holds one already.
    """
    folder.mkdir(exist_ok=True)
    with suppress(PermissionError):  # made by another user, who opened it to all
        folder.chmod(0o777)
    with ExitStack() as stack:
        for name in names:
            path = folder / f"{name}.lock"
            try:
                stack.enter_context(held(path, mode=0o666))
            except HeldError as error:
                raise SettingsError(
                    f"GPU {name}: must be free for this search, but {error} searches on it; wait, "
                    f"or let CUDA_VISIBLE_DEVICES name others"
                ) from None
            with suppress(PermissionError):
                path.chmod(0o666)  # whatever the mask of this user
        yield
