"""One image file to RGB pixels, in the frame in which it was annotated, or upright.

What a file's numbers mean: 16 bits are from black at 0 to white at 65535, TIFF's 12 bits to 4095.
Whole numbers of 32 bits and floats do not say what white is: it is the least of 1 (floats only),
255 and 65535 that no pixel is above. What is transparent keeps the colour that it hides, and of an
animation the first picture is read.
"""

import errno
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose

from kptrain.annotations.images import MOST_PIXELS
from kptrain.errors import DataError

ORIENTATION_TAG = 0x0112
"""EXIF's orientation."""
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What makes a picture of an orientation upright. Source: EXIF 2.32, 4.6.4; 1 is upright."""
QUARTER_TURNS = (5, 6, 7, 8)
"""The orientations that exchange height and width."""
BITS_TAG = 258
"""TIFF's bits per sample."""
NOT_THE_FILES = (
    *(errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
)
"""Errors of the system, which say nothing of the image."""


class UnreadableImageError(Exception):
    """The file cannot serve; the message is a reason to count by."""


def decode_image(path: Path, size: tuple[int, int]) -> Image.Image:
    """Decode a file to 8-bit RGB of the annotated size (height, width).

    An EXIF rotation is applied only where the annotated size says that the annotator saw the image
    rotated; COCO's own annotations are in the frame of the stored pixels. The size is checked
    before anything is decoded.

    Raises: UnreadableImageError if the file is at fault; DataError if it cannot be read, which
    may pass, so that it must not be kept in a pack.
    """
    try:
        with Image.open(path) as image:
            turned = _is_turned(image, size)
            return _to_rgb(_upright(image) if turned else image)
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("images too large to be real") from error
    except Exception as error:  # malformed files lead Pillow to any
        if isinstance(error, OSError) and error.errno in NOT_THE_FILES:
            raise DataError(f"{path}: must be readable, but {error.strerror}; try again") from None
        raise UnreadableImageError("images that cannot be decoded") from error


def read_picture(path: Path) -> tuple[Image.Image, int]:
    """Decode a file to 8-bit RGB, upright: without an annotation, its own orientation is the only
    one known. Also how many pictures it holds, of which this is the first.

    Raises: DataError if it holds none that can be decoded.
    """
    try:
        # Pillow warns of damaged tags, and of half as many pixels as it refuses.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            # A photograph that a phone stores with its depth or its gain map is one picture.
            count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            return _to_rgb(_upright(image)), count
    except Exception as error:  # malformed files lead Pillow to any
        raise DataError(f"{path}: must be a picture, but {_said_of(path, error)}") from None


def _said_of(path: Path, error: Exception) -> str:
    """Why a file cannot be decoded, and what to do."""
    if isinstance(error, Image.DecompressionBombError):
        return f"has more than {MOST_PIXELS:,} pixels; reduce it"
    if path.is_file() and path.stat().st_size == 0:
        return "is empty; name another"
    if isinstance(error, UnidentifiedImageError):
        return "is of no kind that is known here; convert it to PNG or JPEG"
    if isinstance(error, UnreadableImageError):
        return f"is one of the {error}; convert it to 8 or 16 bits"
    system = error.strerror if isinstance(error, OSError) else None
    reason = " ".join((system or str(error) or type(error).__name__).split())
    return f"cannot be read ({reason}); name another"


def _is_turned(image: Image.Image, size: tuple[int, int]) -> bool:
    stored = (image.height, image.width)
    if stored == size:
        return False
    if stored[::-1] == size and image.getexif().get(ORIENTATION_TAG) in QUARTER_TURNS:
        return True
    raise UnreadableImageError("images of another size than annotated")


def _upright(image: Image.Image) -> Image.Image:
    """Pillow's `exif_transpose` writes all tags anew, and fails at odd ones."""
    image.load()  # which turns a TIFF
    turn = TURNS.get(image.getexif().get(ORIENTATION_TAG, 1))
    return image if turn is None else image.transpose(turn)


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
    """(h, w) uint8 of numbers of more bits, which Pillow would clip."""
    numbers = np.asarray(image)
    if image.mode.startswith("I;16"):
        has_12_bits = getattr(image, "tag_v2", {}).get(BITS_TAG) == (12,)
        return _levels(numbers, 4095 if has_12_bits else 65535)
    half_a_level = 0.5 / 255
    for white in (1, 255, 65535) if image.mode == "F" else (255, 65535):
        if numbers.max() < white * (1 + half_a_level):
            if numbers.min() <= -white * half_a_level:
                break
            return _levels(numbers, white)
    raise UnreadableImageError("images whose numbers do not say what white is")


def _levels(numbers: np.ndarray, white: int) -> np.ndarray:
    levels = numbers.astype(np.float32)
    levels /= white / 255
    return levels.round(out=levels).clip(0, 255, out=levels).astype(np.uint8)
