"""The random numbers of an epoch's samples.

A sample's numbers depend only on the seed, the epoch and the sample, so neither the number of
samples nor the batch matters. Each setting has numbers of its own, so no other setting matters.
"""

from dataclasses import dataclass

import numpy as np
import torch

from kptrain.config import MOST_PATCHES, AugmentSettings

ROTATION_LIMIT = 2.0
"""Normal rotations are clipped at this many standard deviations, scale and shift at one. Source:
JointsDataset.py of Xiao et al. 2018."""


@dataclass(frozen=True)
class Draws:
    """Uniform numbers from 0 to 1 of S samples, by what they decide."""

    flip: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    """(S, 2); the others are (S,) unless said."""
    colour: np.ndarray
    """(S, 3): brightness, contrast, saturation."""
    is_rotated: np.ndarray
    half_body: np.ndarray
    which_half: np.ndarray
    hue: np.ndarray

    @classmethod
    def of(cls, num_samples: int, seed: int, epoch: int) -> "Draws":
        """A row per sample, so that its numbers do not depend on the number of samples."""
        first, second = (uniform(num_samples, seed, epoch, *one) for one in ((1, 8), (2, 4)))
        return cls(
            *(first[:, 0], first[:, 1], first[:, 2], first[:, 3:5], first[:, 5:8]),
            *(second[:, 0], second[:, 1], second[:, 2], second[:, 3]),
        )


def uniform(num_samples: int, seed: int, epoch: int, stream: int, count: int) -> np.ndarray:
    """(S, count) numbers from 0 to 1; streams of other numbers are independent."""
    return np.random.default_rng([seed, epoch, stream]).random((num_samples, count))


def spread(numbers: np.ndarray, settings: AugmentSettings, limit: float = 1.0) -> np.ndarray:
    """Uniform numbers from 0 to 1 as factors of what a setting says: uniform from -1 to 1, or
    normal, clipped at `limit`."""
    if settings.distribution == "uniform":
        return 2 * numbers - 1
    normal: np.ndarray = torch.special.ndtri(torch.from_numpy(numbers.copy())).numpy()
    return normal.clip(-limit, limit)


def draw_patches(
    settings: AugmentSettings, num_samples: int, size: tuple[int, int], seed: int, epoch: int
) -> np.ndarray | None:
    """(S, P, 4) float32: x0, y0, x1, y1 in input pixels of what is dropped, empty where nothing is;
    None if nothing is dropped at all."""
    if not settings.dropout_prob:
        return None
    most = settings.dropout_patches
    chance = uniform(num_samples, seed, epoch, 3, 2)
    numbers = uniform(num_samples, seed, epoch, 4, 4 * MOST_PATCHES)
    numbers = numbers.reshape(num_samples, MOST_PATCHES, 4)[:, :most]
    count = np.where(chance[:, 0] < settings.dropout_prob, 1 + np.floor(chance[:, 1] * most), 0)
    width_height = np.array(size[::-1], dtype=float)
    side = settings.dropout_size * (1 + numbers[:, :, 2:]) / 2 * width_height
    corner = numbers[:, :, :2] * (width_height - side)
    patches = np.concatenate((corner, corner + side), axis=2)
    is_dropped = np.arange(most) < count[:, None]
    return (patches * is_dropped[:, :, None]).astype(np.float32)
