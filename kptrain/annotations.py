"""What is sound in COCO's annotations, record by record, and why the rest is not.

No field is taken on trust: each may be missing, of another type, NaN, or absurdly large.
"""

import math
import warnings
from typing import Any, TypeGuard

from pycocotools import mask as coco_mask

from kptrain.keypoints import NUM_JOINTS

PERSON = 1
"""The category id of a person."""

NO_KEYPOINTS = (0,) * 3 * NUM_JOINTS

MOST_PIXELS = 178_956_970
"""Of an image: Pillow decodes no larger one."""


def image_fault(record: Any) -> str | None:
    """Why an image's record cannot be read, if so."""
    if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
        return "images without an id, a file name or a size"
    size: list[Any] = [record.get("height"), record.get("width")]
    if not is_id(record.get("id")) or not all(map(_is_length, size)):
        return "images without an id, a file name or a size"
    if size[0] * size[1] > MOST_PIXELS:
        return "images too large to be real"
    return None


def annotation_fault(annotation: Any) -> str | None:
    """Why an annotation cannot be read at all, if so."""
    if not isinstance(annotation, dict) or not is_id(annotation.get("id")):
        return "annotations without an id"
    return None


def box_fault(annotation: dict[str, Any], size: tuple[int, int]) -> str | None:
    """Why nothing is known of where a person stands in an image of (height, width), if so."""
    box: Any = annotation.get("bbox")
    if not are_numbers(box, 4) or not _are_near(box[0::2], box[1::2], size):
        return "annotations with a malformed box"
    x, y, width, height = box
    if min(width, height) < 0 or not _are_near([x + width], [y + height], size):
        return "annotations with a malformed box"
    return None


def person_fault(annotation: dict[str, Any], size: tuple[int, int]) -> str | None:
    """Why nothing can be learnt of a person whose box is sound, if so."""
    keypoints = annotation.get("keypoints") or NO_KEYPOINTS
    if not are_keypoints(keypoints):
        return "annotations with malformed keypoints"
    if not is_labelled(keypoints):
        return None
    joints = zip(keypoints[0::3], keypoints[1::3], keypoints[2::3], strict=True)
    if any(v and not (0 <= x <= size[1] and 0 <= y <= size[0]) for x, y, v in joints):
        return "persons with a keypoint outside of their image"
    if min(annotation["bbox"][2:]) <= 0:
        return "persons with an empty box"
    if not are_numbers([annotation.get("area")], 1) or annotation["area"] <= 0:
        return "persons without an area"
    return None


def are_keypoints(values: Any) -> bool:
    """Whether it is 17 x, y, v."""
    return are_numbers(values, 3 * NUM_JOINTS) and set(values[2::3]) <= {0, 1, 2}


def is_labelled(keypoints: Any) -> bool:
    """Whether any of the 17 x, y, v has a v above 0."""
    return any(v > 0 for v in keypoints[2::3])


def is_outline(outline: Any, size: tuple[int, int]) -> bool:
    """Whether it is polygons or an RLE that can be drawn at (height, width)."""
    if isinstance(outline, list):
        return all(_is_polygon(polygon, size) for polygon in outline)
    if not isinstance(outline, dict) or outline.get("size") != list(size):
        return False
    runs = outline.get("counts")
    if isinstance(runs, str):
        runs = _runs(runs)
    return isinstance(runs, list) and all(map(_is_run, runs)) and sum(runs) == size[0] * size[1]


def is_id(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 2**63


def are_numbers(values: Any, count: int) -> bool:
    """Whether it is a list of so many finite numbers."""
    try:
        return isinstance(values, list | tuple) and len(values) == count and _all_finite(values)
    except (TypeError, OverflowError):  # of no numbers, of endless integers
        return False


def _all_finite(values: Any) -> bool:
    return all(map(math.isfinite, values))


def _is_length(value: Any) -> bool:
    return are_numbers([value], 1) and value >= 1 and value == int(value)


def _are_near(xs: Any, ys: Any, size: tuple[int, int]) -> bool:
    """Whether all lie in the image or not far from it: what is cut or drawn must fit into
    memory."""
    height, width = size
    return all(-width <= x <= 2 * width for x in xs) and all(-height <= y <= 2 * height for y in ys)


def _is_polygon(polygon: Any, size: tuple[int, int]) -> bool:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return False
    return are_numbers(polygon, len(polygon)) and _are_near(polygon[0::2], polygon[1::2], size)


def _is_run(count: Any) -> bool:
    return type(count) is int and 0 <= count < 2**31


def _runs(text: str) -> list[int] | None:
    """The runs of a compressed RLE; None if it is malformed, on which pycocotools may crash.

    Each run is the difference to the one before the last, from the third on; in groups of five
    bits, the lowest first, a character each: 48 plus the bits, plus 32 if more follow. Source:
    rleFrString in maskApi.c of COCO's API.
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
        # pycocotools is built on an array protocol that numpy wants renewed.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return coco_mask.decode(outline)
