"""Checks of COCO's boxes and outlines.

No field is trusted: each may be missing, of another type, NaN, or absurdly large.
"""

import warnings
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from kptrain.files.values import numbers_of

Box = tuple[float, float, float, float]

PERSON = 1
"""The category id of a person in COCO's own files."""


def read_box(values: Any, size: tuple[int, int]) -> Box | None:
    """x, y, width, height of a box that overlaps an image of (height, width) and does not reach far
    beyond it; else None. A box of no width or height need not overlap the image."""
    box = numbers_of(values, 4)
    if box is None or not _are_near(box[0::2], box[1::2], size):
        return None
    x, y, width, height = box
    if min(width, height) < 0 or not _are_near([x + width], [y + height], size):
        return None
    if _is_outside(x, width, size[1]) or _is_outside(y, height, size[0]):
        return None
    return x, y, width, height


def _is_outside(start: float, length: float, end: int) -> bool:
    """Whether no part of the interval lies between 0 and `end`."""
    return length > 0 and min(start + length, end) <= max(start, 0)


def box_of_joints(keypoints: np.ndarray) -> Box | None:
    """The box around the labelled joints of (K, 3) x, y, v; None if they are not at two places."""
    labelled = keypoints[keypoints[:, 2] > 0, :2]
    if not len(labelled) or (labelled == labelled[0]).all():
        return None
    left, top = labelled.min(axis=0).tolist()
    width, height = (np.ptp(labelled, axis=0) + 1).tolist()
    return left, top, width, height


def fits_joints(box: Box, keypoints: np.ndarray) -> bool:
    """Whether a box of at least 1 x 1 px, enlarged threefold, holds a labelled joint.

    A few persons of COCO have their only joint a little outside their box.
    """
    left, top, width, height = box
    return min(width, height) >= 1 and any(
        v > 0 and -width <= x - left <= 2 * width and -height <= y - top <= 2 * height
        for x, y, v in keypoints.tolist()
    )


def box_of_outline(outline: Any, size: tuple[int, int]) -> Box | None:
    """The box around COCO's polygons or RLE; None if they cannot be drawn or are empty."""
    if not outline or not is_outline(outline, size):
        return None
    rows, columns = np.nonzero(draw_outline(outline, size))
    if not len(rows):
        return None
    left, top = float(columns.min()), float(rows.min())
    return left, top, float(columns.max()) + 1 - left, float(rows.max()) + 1 - top


def is_outline(outline: Any, size: tuple[int, int]) -> bool:
    """Whether these are polygons or an RLE that can be drawn at (height, width)."""
    if isinstance(outline, list):
        return all(_is_polygon(polygon, size) for polygon in outline)
    if not isinstance(outline, dict) or outline.get("size") != list(size):
        return False
    runs = outline.get("counts")
    if isinstance(runs, str):
        runs = _runs(runs)
    if not isinstance(runs, list) or any(type(n) is not int or not 0 <= n < 2**31 for n in runs):
        return False
    return sum(runs) == size[0] * size[1]


def _are_near(xs: Any, ys: Any, size: tuple[int, int]) -> bool:
    """Whether all points lie in the image or at most its size beyond it: crops and masks must fit
    into memory."""
    height, width = size
    return all(-width <= x <= 2 * width for x in xs) and all(-height <= y <= 2 * height for y in ys)


def _is_polygon(polygon: Any, size: tuple[int, int]) -> bool:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return False
    if any(isinstance(number, str) for number in polygon):
        return False
    numbers = numbers_of(polygon, len(polygon))
    return numbers is not None and _are_near(numbers[0::2], numbers[1::2], size)


def _runs(text: str) -> list[int] | None:
    """The runs of a compressed RLE; None if it is malformed: pycocotools may crash on that.

    From the fourth on, a run is stored as its difference to the run two before it. A number is
    stored five bits a character, the lowest first: 48 plus the bits, plus 32 if more follow.
    Source: rleFrString in maskApi.c of COCO's API.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    return None if shift else runs


def draw_outline(outline: Any, size: tuple[int, int]) -> Any:
    """(h, w) uint8 of COCO's polygons or RLE: 1 inside, 0 outside."""
    if isinstance(outline, list):
        outline = coco_mask.merge(coco_mask.frPyObjects(outline, *size))
    elif isinstance(outline["counts"], list):
        outline = coco_mask.frPyObjects(outline, *size)
    with warnings.catch_warnings():
        # pycocotools uses an array protocol that numpy has deprecated.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return coco_mask.decode(outline)
