"""The affine maps of augmentation: from the input as it was cut to the input of the network.

Shapes: S samples. Coordinates are continuous input pixels: pixel i covers [i, i + 1). A map is
(S, 2, 3): `result = map[:, :, :2] @ point + map[:, :, 2]`.
"""

import numpy as np

from kptrain.augmentation.draws import ROTATION_LIMIT, Draws, spread
from kptrain.augmentation.half_body import Views
from kptrain.config import AugmentSettings


def forward_maps(
    settings: AugmentSettings,
    draws: Draws,
    scale: np.ndarray,
    size: tuple[int, int],
    views: Views | None,
) -> tuple[np.ndarray, np.ndarray]:
    """(S,) whether each sample is flipped, and the maps of all samples.

    scale: (S, 2) input pixels per original pixel; size: (height, width); views: what is looked at,
    None for the whole input.
    """
    is_flipped = draws.flip < settings.flip
    angle = np.deg2rad(settings.rotation_deg) * spread(draws.rotation, settings, ROTATION_LIMIT)
    angle = np.where(draws.is_rotated < settings.rotation_prob, angle, 0.0)
    factor = (1 + settings.scale) ** spread(draws.scale, settings)
    width_height = np.array(size[::-1], dtype=float)
    shift = settings.shift * spread(draws.shift, settings) * width_height
    middle = width_height / 2
    centre = middle if views is None else views.centre
    if views is not None:
        factor = factor / views.extent
    linear = factor[:, None, None] * _rotation(angle, scale)
    linear[:, :, 0] *= np.where(is_flipped, -1, 1)[:, None]
    moved = (linear @ np.broadcast_to(centre, shift.shape)[:, :, None])[:, :, 0]
    return is_flipped, np.concatenate((linear, (middle + shift - moved)[:, :, None]), axis=2)


def inverse(maps: np.ndarray) -> np.ndarray:
    """The inverse maps."""
    linear = np.linalg.inv(maps[:, :, :2])
    return np.concatenate((linear, -linear @ maps[:, :, 2:]), axis=2)


def _rotation(angle: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(S, 2, 2) rotations in the original image: S R S^-1, where S stretches by `scale` (S, 2)."""
    stretch = scale[:, 0] / scale[:, 1]
    stretch[np.isclose(stretch, 1, rtol=0, atol=1e-9)] = 1  # a crop's is 1 except for rounding
    cos, sin = np.cos(angle), np.sin(angle)
    rows = (np.stack((cos, -sin * stretch), axis=1), np.stack((sin / stretch, cos), axis=1))
    return np.stack(rows, axis=1)
