"""The keypoints of one annotation. A fault of a joint makes that joint unlabelled, not the person.

Shapes: K joints, in COCO's order; x, y are indices of pixels, as COCO stores them.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from kptrain.annotations import reasons
from kptrain.files.values import number_of
from kptrain.keypoints import NUM_JOINTS

Joint = tuple[float, float, float]
NOT_LABELLED: Joint = (0.0, 0.0, 0.0)


def in_one_list(values: Any) -> Any:
    """Nested lists of x, y, v or x, y as one flat list; other values unchanged."""
    if not isinstance(values, list) or not values or not isinstance(values[0], list):
        return values
    is_nested = len(values[0]) in (2, 3) and all(
        isinstance(joint, list) and len(joint) == len(values[0]) for joint in values
    )
    return [number for joint in values for number in joint] if is_nested else values


def are_joints(values: Any) -> bool:
    """Whether this is a list as long as 17 x, y, v; the values are not checked."""
    return isinstance(values, list) and len(values) == 3 * NUM_JOINTS


def read_joints(
    values: Any, size: tuple[int, int], order: Sequence[int] | None = None
) -> tuple[np.ndarray, Counter[str]]:
    """(K, 3) float64 of 17 x, y, v in an image of (height, width), and how many joints had which
    fault.

    A joint up to BORDER_PX outside the image is moved to the border; one farther outside counts as
    not labelled. The x, y of an unlabelled joint are kept if they lie in the image, else 0.
    `order`: for each of COCO's joints its index among the given ones; None: the same order.
    """
    faults: Counter[str] = Counter()
    joints = _as_array(values)
    height, width = size
    is_inside = (joints >= 0) & (joints <= (width, height, 2))  # NaN is not
    if not (is_inside.all() and (joints[:, 2] % 1 == 0).all()):
        joints = np.array([_joint(x, y, v, size, faults) for x, y, v in joints.tolist()])
    return (joints if order is None else joints[list(order)]), faults


def _as_array(values: Any) -> np.ndarray:
    """(K, 3) float64; NaN for every value that is no finite number."""
    try:
        joints = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        joints = np.empty(0)
    if joints.shape != (3 * NUM_JOINTS,):
        numbers = map(number_of, values)
        joints = np.array([math.nan if number is None else number for number in numbers])
    return joints.reshape(NUM_JOINTS, 3)


def _joint(x: float, y: float, v: float, size: tuple[int, int], faults: Counter[str]) -> Joint:
    height, width = size
    is_inside = 0 <= x <= width and 0 <= y <= height
    if v == 0:
        return (x, y, v) if is_inside else NOT_LABELLED
    if v not in (1, 2):
        faults[reasons.UNKNOWN_FLAG] += 1
        return NOT_LABELLED
    if not (math.isfinite(x) and math.isfinite(y)):
        faults[reasons.NO_PLACE] += 1
        return NOT_LABELLED
    if is_inside:
        return x, y, v
    nearest = min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))
    if max(abs(x - nearest[0]), abs(y - nearest[1])) > reasons.BORDER_PX:
        faults[reasons.OUTSIDE] += 1
        return NOT_LABELLED
    faults[reasons.CLIPPED] += 1
    return *nearest, v
