"""One image file to RGB pixels in the frame in which it was annotated."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

LANDSCAPE_TAG = 0x0112
"""EXIF's orientation."""


class UnreadableImageError(Exception):
    """The file cannot serve; the message is a reason to count by."""


def decode_image(path: Path, size: tuple[int, int]) -> Image.Image:
    """Decode a file to 8-bit RGB of the annotated size (height, width).

    Grey, CMYK, palette and 16-bit files are converted. An EXIF rotation is applied only where
    the annotated size says that the annotator saw the image rotated; COCO's own annotations are
    in the frame of the stored pixels. The size is checked before anything is decoded.

    Raises: UnreadableImageError.
    """
    try:
        with Image.open(path) as image:
            turned = _is_turned(image, size)
            return _to_rgb(ImageOps.exif_transpose(image) if turned else image)
    except UnreadableImageError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UnreadableImageError("images that cannot be decoded") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("images too large to be real") from error


def _is_turned(image: Image.Image, size: tuple[int, int]) -> bool:
    stored = (image.height, image.width)
    if stored == size:
        return False
    if image.getexif().get(LANDSCAPE_TAG, 1) >= 5 and stored[::-1] == size:
        return True
    raise UnreadableImageError("images of another size than annotated")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits: Pillow would clip, not scale
        grey = np.asarray(image).astype(np.float32)
        return Image.fromarray((grey / 257).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
