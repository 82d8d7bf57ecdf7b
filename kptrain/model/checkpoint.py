"""Checkpoints: written completely or not at all, and read without running any code in them.

`best_keypoint_model.pth` holds `weights`, `config` and `metrics` of the best epoch: inference
needs nothing else. `resume.pt` holds the state to resume from.
"""

import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch

from kptrain.config import BEST
from kptrain.errors import CheckpointError
from kptrain.machine.disk import replacing

FORMAT = 1
PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
"""The first bytes of JPEG, PNG, GIF, WebP, BMP and TIFF; no file of torch begins so."""
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Ends of the names of normalisation statistics."""
NO_KINDS: Mapping[str, type] = MappingProxyType({})


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write under a temporary name, flush to the disk, rename.

    Raises: CheckpointError if it cannot be written; the previous file stays.
    """
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        # Torch's writer raises its own error; the system's is its context.
        reason = error if isinstance(error, OSError) else error.__context__
        if not isinstance(reason, OSError):
            raise
        raise CheckpointError(
            f"{path}: must be writable, but {reason.strerror}; make room or choose another folder "
            f"(the checkpoint before it is intact)"
        ) from None


def on_host(state: Any) -> Any:
    """A copy of nested dicts and lists with all tensors in the host's memory; a GPU is waited for
    once."""
    copied = _copied(state)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch
        torch.cuda.synchronize()
    return copied


def _copied(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        place = torch.empty_like(state, device="cpu", pin_memory=state.is_cuda)
        return place.copy_(state.detach(), non_blocking=True)
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    return [_copied(value) for value in state] if isinstance(state, list) else state


def with_dtype(
    weights: dict[str, torch.Tensor], dtype: Literal["float32", "bfloat16"]
) -> dict[str, torch.Tensor]:
    """The weights in a dtype; the running statistics of normalisation stay as they are."""
    if dtype == "float32":
        return weights
    return {key: v if key.endswith(STATISTICS) else v.bfloat16() for key, v in weights.items()}


def load_checkpoint(path: Path, kinds: Mapping[str, type] = NO_KINDS) -> dict[str, Any]:
    """Read a checkpoint of this package onto the CPU; `kinds`: what it must hold.

    Raises: CheckpointError if it is missing, damaged, unsafe, of another format or another kind.
    """
    content = _load(path)
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: must be a checkpoint of format {FORMAT}, but got {content.get('format')!r}; "
            f"use a file that this version wrote"
        )
    if missing := [key for key, kind in kinds.items() if not isinstance(content.get(key), kind)]:
        raise CheckpointError(
            f"{path}: must hold {', '.join(kinds)}, but {', '.join(missing)} is missing; it is a "
            f"checkpoint of another kind"
        )
    return content


def load_weights(path: Path) -> dict[str, Any]:
    """Read the weights of a checkpoint of ours, or a plain state dict such as torchvision's.

    Raises: CheckpointError as `load_checkpoint` does.
    """
    content = _load(path)
    weights = content.get("weights", content)
    if not isinstance(weights, dict) or not all(map(_is_weight, weights.items())):
        raise CheckpointError(
            f"{path}: must hold weights by name, but holds {list(content)[:4]}; use a checkpoint "
            f"of this package or a plain state dict"
        )
    return weights


def _is_weight(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], torch.Tensor)


def _check_sums(path: Path) -> None:
    """Compare the archive's own checksums, which torch writes but does not read.

    Raises: ValueError, or an error of zipfile.
    """
    if zipfile.is_zipfile(path):  # else written by torch before 1.6, without checksums
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"{damaged} does not have its checksum")


def _is_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(PICTURES)
    except OSError:  # the reader reports it
        return False


def _load(path: Path) -> dict[str, Any]:
    if _is_picture(path):
        raise CheckpointError(
            f"{path}: must be a checkpoint, but is a picture; name a checkpoint (predict: the "
            f"checkpoint first, then the pictures)"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged files, which are refused anyway
            _check_sums(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: must be a checkpoint, but there is no such file") from None
    except IsADirectoryError:
        raise CheckpointError(
            f"{path}: must be a checkpoint, but is a folder; name the file in it, such as {BEST}"
        ) from None
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: must hold tensors and plain values only, but it is damaged or holds code, "
            f"which is never run; use a file from a source that you trust"
        ) from None
    except Exception as error:  # damaged bytes can raise any exception
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{path}: must be a complete checkpoint, but cannot be read ({reason}); write or "
            f"download it again"
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path}: must be a checkpoint, but holds a {type(content).__name__}; use a "
            f"checkpoint of this package or a plain state dict"
        )
    return content
