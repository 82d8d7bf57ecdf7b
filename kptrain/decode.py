"""One image file to RGB pixels in the frame in which it was annotated."""

import errno
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from kptrain.errors import DataError

ORIENTATION_TAG = 0x0112
"""EXIF's orientation."""
QUARTER_TURNS = (5, 6, 7, 8)
"""The orientations that exchange height and width."""
NOT_THE_FILES = (
    *(errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
)
"""Errors of the system, which say nothing of the image."""


class UnreadableImageError(Exception):
    """The file cannot serve; the message is a reason to count by."""


def decode_image(path: Path, size: tuple[int, int]) -> Image.Image:
    """Decode a file to 8-bit RGB of the annotated size (height, width).

    Grey, CMYK, palette and 16-bit files are converted. An EXIF rotation is applied only where
    the annotated size says that the annotator saw the image rotated; COCO's own annotations are
    in the frame of the stored pixels. The size is checked before anything is decoded.

    Raises: UnreadableImageError if the file is at fault; DataError if it cannot be read, which
    may pass, so that it must not be kept in a pack.
    """
    try:
        with Image.open(path) as image:
            turned = _is_turned(image, size)
            return _to_rgb(ImageOps.exif_transpose(image) if turned else image)
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("images too large to be real") from error
    except Exception as error:  # malformed files lead Pillow to any
        if isinstance(error, OSError) and error.errno in NOT_THE_FILES:
            raise DataError(f"{path}: must be readable, but {error.strerror}; try again") from None
        raise UnreadableImageError("images that cannot be decoded") from error


def _is_turned(image: Image.Image, size: tuple[int, int]) -> bool:
    stored = (image.height, image.width)
    if stored == size:
        return False
    if stored[::-1] == size and image.getexif().get(ORIENTATION_TAG) in QUARTER_TURNS:
        return True
    raise UnreadableImageError("images of another size than annotated")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits: Pillow would clip, not scale
        grey = np.asarray(image).astype(np.float32)
        return Image.fromarray((grey / 257).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:  # of a palette; without this step Pillow warns
        image = image.convert("RGBA")
    return image.convert("RGB")
