"""The 17 keypoints of COCO: names, flip pairs, skeleton, the falloff of OKS, and the ten numbers.

Source: COCO keypoint task, https://cocodataset.org/#keypoints-2017 (names, skeleton) and
https://cocodataset.org/#keypoints-eval (falloff: `k = 2 * sigma`; the ten numbers).
"""

from collections.abc import Mapping
from types import MappingProxyType

SIDES = ("left", "right")
PAIRS: Mapping[str, float] = MappingProxyType(
    {
        "eye": 0.025,
        "ear": 0.035,
        "shoulder": 0.079,
        "elbow": 0.072,
        "wrist": 0.062,
        "hip": 0.107,
        "knee": 0.087,
        "ankle": 0.089,
    }
)
"""The joints that exist on both sides, with their falloff as in OKS_SIGMAS."""

JOINTS: tuple[str, ...] = ("nose", *(f"{side}_{part}" for part in PAIRS for side in SIDES))
NUM_JOINTS = len(JOINTS)

FLIPPED: tuple[int, ...] = (
    0,
    *(JOINTS.index(f"{side}_{part}") for part in PAIRS for side in reversed(SIDES)),
)
"""For each joint its counterpart in a horizontally flipped image."""

SKELETON: tuple[tuple[int, int], ...] = (
    *((15, 13), (13, 11), (16, 14), (14, 12)),  # legs
    *((11, 12), (5, 11), (6, 12), (5, 6)),  # torso
    *((5, 7), (6, 8), (7, 9), (8, 10)),  # arms
    *((1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),  # head
)
"""Limbs as pairs of joint indices, from 0."""

OKS_SIGMAS: tuple[float, ...] = (0.026, *(sigma for sigma in PAIRS.values() for _ in SIDES))
"""Per-joint standard deviation of human annotators, relative to the square root of the area."""

COCO_NUMBERS: Mapping[str, str] = MappingProxyType(
    {
        "val_ap": "AP",
        "val_ap50": "AP .50",
        "val_ap75": "AP .75",
        "val_ap_m": "AP medium",
        "val_ap_l": "AP large",
        "val_ar": "AR",
        "val_ar50": "AR .50",
        "val_ar75": "AR .75",
        "val_ar_m": "AR medium",
        "val_ar_l": "AR large",
    }
)
"""COCO's name of each number by its name in a report, in COCO's order: average precision over OKS
from .50 to .95, at .50, at .75, of medium and of large persons; average recall likewise."""

GIVEN_BOXES = "ground-truth boxes"
"""Shown beside the ten numbers: each person is searched in its annotated box, so the numbers
measure keypoints, not person detection."""


def metric_label(name: str) -> str:
    """The name of a metric as it is shown, with the note on boxes for COCO's numbers."""
    return f"{name} ({GIVEN_BOXES})" if name in COCO_NUMBERS else name
