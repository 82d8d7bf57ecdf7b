"""Augmentation: each sample mirrored, turned, scaled, moved and coloured, in one warp per batch.

What is drawn for a sample depends on the seed, the epoch and the sample alone. Pixels, joints and
mask follow the same affine map, so the heatmaps, which are made afterwards, are exact.

Shapes: S samples of an epoch, B of a batch, N persons, K joints, H x W input pixels. Coordinates
are continuous input pixels: pixel i covers [i, i + 1).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from kptrain.config import AugmentSettings
from kptrain.device import send
from kptrain.keypoints import MIRRORED

LUMA = (0.299, 0.587, 0.114)
"""Share of red, green and blue in grey. Source: ITU-R BT.601, as Pillow's."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to each sample of an epoch."""

    is_mirrored: np.ndarray
    """(S,) bool."""
    forward: np.ndarray
    """(S, 2, 3) float32: where a point of the input goes to."""
    backward: np.ndarray
    """(S, 2, 3) float32: where a point of the result comes from; both from -1 to 1 across the
    image, as torch's `affine_grid` has them."""
    colour: np.ndarray
    """(S, 3) float32: factors of brightness, contrast and saturation."""

    def apply(
        self,
        samples: np.ndarray,
        images: Float[Tensor, "B 3 H W"],
        joints: Float[Tensor, "B N K 2"],
        labelled: Bool[Tensor, "B N K"],
        mask: Float[Tensor, "B h w"],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Warp a batch whose pixels are from 0 to 255; black comes in from outside.

        Nothing is masked where the mask comes from outside. Colours beyond 0 and 255 are cut.
        """
        device = images.device
        backward = send(self.backward[samples], device)
        if mask.shape[1:] != (1, 1):  # else all is learnt
            outside = _warp(1 - mask[:, None], backward, "nearest")
            mask = 1 - outside[:, 0]
        images = _warp(images, backward, "bilinear")
        images = _recoloured(images, send(self.colour[samples], device))
        images = images.contiguous(memory_format=torch.channels_last)
        return images, *self._move(samples, joints, labelled), mask

    def _move(
        self, samples: np.ndarray, joints: Float[Tensor, "B N K 2"], labelled: Bool[Tensor, "B N K"]
    ) -> tuple[Tensor, Tensor]:
        forward = send(self.forward[samples], joints.device)[:, None]
        moved = joints @ forward[..., :2].mT + forward[:, :, None, :, 2]
        mirrored = send(self.is_mirrored[samples], joints.device)[:, None, None]
        swap = send(np.array(MIRRORED), joints.device)
        return (
            torch.where(mirrored[..., None], moved[:, :, swap], moved),
            torch.where(mirrored, labelled[:, :, swap], labelled),
        )


def draw_augmentation(
    settings: AugmentSettings, num_samples: int, size: tuple[int, int], seed: int, epoch: int
) -> Augmentation | None:
    """What an epoch's samples of size (height, width) are to undergo; None if nothing is set."""
    if settings == AugmentSettings():
        return None
    # Row by row, so that a sample's numbers do not depend on how many samples there are.
    uniform = np.random.default_rng([seed, epoch, 1]).random((num_samples, 8))
    between = 2 * uniform - 1
    mirrored = uniform[:, 0] < settings.flip
    angle = np.deg2rad(settings.rotation_deg) * between[:, 1]
    scale = (1 + settings.scale) ** between[:, 2]
    width_height = np.array(size[::-1], dtype=float)
    shift = settings.shift * between[:, 3:5] * width_height
    centre = width_height / 2
    linear = scale[:, None, None] * _rotation(angle)
    linear[:, :, 0] *= np.where(mirrored, -1, 1)[:, None]
    forward = np.concatenate((linear, (centre + shift - linear @ centre)[:, :, None]), axis=2)
    return Augmentation(
        is_mirrored=mirrored,
        forward=forward.astype(np.float32),
        backward=_backward(forward, width_height).astype(np.float32),
        colour=(1 + settings.colour * between[:, 5:8]).astype(np.float32),
    )


def _rotation(angle: np.ndarray) -> np.ndarray:
    """(S, 2, 2)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack((np.stack((cos, -sin), axis=1), np.stack((sin, cos), axis=1)), axis=1)


def _backward(forward: np.ndarray, width_height: np.ndarray) -> np.ndarray:
    """The inverse of (S, 2, 3) maps, in coordinates from -1 to 1."""
    linear = np.linalg.inv(forward[:, :, :2])
    half = width_height / 2
    offset = (linear @ (half - forward[:, :, 2])[:, :, None])[:, :, 0] - half
    scaled = linear * half / half[:, None]
    return np.concatenate((scaled, (offset / half)[:, :, None]), axis=2)


def _warp(images: Float[Tensor, "B C H W"], backward: Float[Tensor, "B 2 3"], mode: str) -> Tensor:
    grid = affine_grid(backward, list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


def _recoloured(
    images: Float[Tensor, "B 3 H W"], factors: Float[Tensor, "B 3"]
) -> Float[Tensor, "B 3 H W"]:
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(1)
    luma = send(np.array(LUMA, np.float32).reshape(3, 1, 1), images.device)
    images = images * brightness
    mean_grey = (images * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    images = mean_grey + contrast * (images - mean_grey)
    grey = (images * luma).sum(1, keepdim=True)
    return (grey + saturation * (images - grey)).clamp(0, 255)
