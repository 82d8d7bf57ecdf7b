"""Decodes an image file to RGB pixels, in the frame in which it was annotated, or upright.

Values of 16 bits range from black at 0 to white at 65535, TIFF's 12 bits to 4095. Integers of 32
bits and floats do not define white: it is the smallest of 1 (floats only), 255 and 65535 that no
pixel exceeds. Transparent pixels keep their hidden colour. Of an animation the first frame is read.
"""

import errno
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose

from kptrain.annotations.images import MOST_PIXELS
from kptrain.annotations.reasons import OTHER_SIZE, TOO_LARGE, UNDECODED, UNKNOWN_WHITE
from kptrain.errors import DataError, unreadable

ORIENTATION_TAG = 0x0112
"""EXIF's orientation."""
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""By orientation: what makes the picture upright. Source: EXIF 2.32, 4.6.4; 1 is upright."""
QUARTER_TURNS = (5, 6, 7, 8)
"""The orientations that exchange height and width."""
BITS_TAG = 258
"""TIFF's bits per sample."""
SYSTEM_ERRORS = (
    *(errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
)
"""Errors of the system, not of the image."""


class UnreadableImageError(Exception):
    """The file cannot be used; the message is one of `kptrain.annotations.reasons`."""


def decode_image(path: Path, size: tuple[int, int]) -> Image.Image:
    """Decode a file to 8-bit RGB of the annotated size (height, width).

    An EXIF rotation is applied only if the annotated size shows that the annotator saw the image
    rotated; COCO's own annotations are in the frame of the stored pixels. The size is checked
    before the image is decoded.

    Raises: UnreadableImageError if the file is damaged or does not fit; DataError for an error of
    the system, which may be temporary and so must not be recorded in a pack.
    """
    try:
        with Image.open(path) as image:
            return _to_rgb(_upright(image) if _is_rotated(image, size) else image)
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(TOO_LARGE) from error
    except Exception as error:  # Pillow raises any exception for malformed files
        if isinstance(error, OSError) and error.errno in SYSTEM_ERRORS:
            raise unreadable(path, error) from None
        raise UnreadableImageError(UNDECODED) from error


def read_picture(path: Path) -> tuple[Image.Image, int]:
    """Decode a file to 8-bit RGB, upright by its EXIF orientation; also the number of frames in the
    file, of which this is the first.

    Raises: DataError if it cannot be decoded.
    """
    try:
        # Pillow warns of damaged tags, and of half the number of pixels that it refuses.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            # A phone's photograph with a depth or gain map is one picture.
            count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            return _to_rgb(_upright(image)), count
    except Exception as error:  # Pillow raises any exception for malformed files
        raise DataError(f"{path}: must be a picture, but {_reason(path, error)}") from None


def _reason(path: Path, error: Exception) -> str:
    """Why a file cannot be decoded, and what to do."""
    if isinstance(error, Image.DecompressionBombError):
        return f"has more than {MOST_PIXELS:,} pixels; make it smaller"
    if path.is_file() and path.stat().st_size == 0:
        return "is empty; name another"
    if isinstance(error, UnidentifiedImageError):
        return "has an unknown format; convert it to PNG or JPEG"
    if isinstance(error, UnreadableImageError):
        return f"is one of the {error}; convert it to 8 or 16 bits"
    system = error.strerror if isinstance(error, OSError) else None
    reason = " ".join((system or str(error) or type(error).__name__).split())
    return f"cannot be read ({reason}); name another"


def _is_rotated(image: Image.Image, size: tuple[int, int]) -> bool:
    stored = (image.height, image.width)
    if stored == size:
        return False
    if stored[::-1] == size and image.getexif().get(ORIENTATION_TAG) in QUARTER_TURNS:
        return True
    raise UnreadableImageError(OTHER_SIZE)


def _upright(image: Image.Image) -> Image.Image:
    """Not by Pillow's `exif_transpose`, which rewrites all tags and fails at malformed ones."""
    image.load()  # this rotates a TIFF
    method = UPRIGHT.get(image.getexif().get(ORIENTATION_TAG, 1))
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if "transparency" in image.info:  # of a palette; without this step Pillow warns
        image = image.convert("RGBA")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> np.ndarray:
    """(h, w) uint8 of values of more than 8 bits, which Pillow would clip."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        has_12_bits = getattr(image, "tag_v2", {}).get(BITS_TAG) == (12,)
        return _levels(values, 4095 if has_12_bits else 65535)
    half_a_level = 0.5 / 255
    for white in (1, 255, 65535) if image.mode == "F" else (255, 65535):
        if values.max() < white * (1 + half_a_level):
            if values.min() <= -white * half_a_level:
                break
            return _levels(values, white)
    raise UnreadableImageError(UNKNOWN_WHITE)


def _levels(values: np.ndarray, white: int) -> np.ndarray:
    levels = values.astype(np.float32)
    levels /= white / 255
    return levels.round(out=levels).clip(0, 255, out=levels).astype(np.uint8)
