"""Half bodies: a crop of the upper or of the lower half of a person, so that cut-off persons are
learnt.

Source: HRNet's half_body_transform (JointsDataset.py), with the choice of the half as in mmpose's
RandomHalfBody. Ours does not enlarge beyond MOST_ENLARGED.
"""

from dataclasses import dataclass

import numpy as np

from kptrain.augmentation.draws import Draws
from kptrain.config import AugmentSettings
from kptrain.data.pack_format import Table
from kptrain.keypoints import JOINTS

UPPER = np.array([not name.endswith(("hip", "knee", "ankle")) for name in JOINTS])
UPPER_SHARE = 0.7
"""How often the upper half is taken, if both have enough keypoints."""
MARGIN = 1.5
"""The view is the box of the half's keypoints, widened to the input's aspect, times this."""
FEWEST = 3
"""Keypoints of a half that can be taken."""
MOST_ENLARGED = 4.0
"""A view is at least a crop divided by this: three keypoints may lie close together."""


@dataclass(frozen=True)
class Views:
    """What of the input is looked at, for S samples."""

    centre: np.ndarray
    """(S, 2) x, y in input pixels."""
    extent: np.ndarray
    """(S,) width and height, as a multiple of the input's."""


def draw_views(
    settings: AugmentSettings, draws: Draws, table: Table, size: tuple[int, int]
) -> Views | None:
    """The views of samples of the person view; None if all are of the whole input."""
    if not settings.half_body_prob:
        return None
    width_height = np.array(size[::-1], dtype=float)
    labelled = table.keypoints[:, :, 2] > 0
    upper, lower = labelled & UPPER, labelled & ~UPPER
    has_upper, has_lower = (half.sum(1) >= FEWEST for half in (upper, lower))
    takes_upper = np.where(has_upper & has_lower, draws.which_half < UPPER_SHARE, has_upper)
    chosen = np.where(takes_upper[:, None], upper, lower)
    is_half = (
        (draws.half_body < settings.half_body_prob)
        & (labelled.sum(1) >= settings.half_body_keypoints)
        & (has_upper | has_lower)
    )
    joints = table.joints.astype(float)
    count = np.maximum(chosen.sum(1), 1)[:, None]
    centre = np.where(chosen[:, :, None], joints, 0).sum(1) / count
    low = np.where(chosen[:, :, None], joints, np.inf).min(1)
    high = np.where(chosen[:, :, None], joints, -np.inf).max(1)
    box = np.where(is_half[:, None], high - low, 0.0)
    extent = np.maximum(MARGIN * (box / width_height).max(1), 1 / MOST_ENLARGED)
    return Views(
        np.where(is_half[:, None], centre, width_height / 2), np.where(is_half, extent, 1.0)
    )
