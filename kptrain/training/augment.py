"""Augmentation: colour, flip, rotation, scale and shift of each sample, in one warp per batch.

A sample's random numbers depend only on the seed, the epoch and the sample. Pixels, joints and mask
follow the same affine map, and heatmaps are drawn afterwards, so they are exact.

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
from kptrain.keypoints import FLIPPED
from kptrain.machine.device import send

LUMA = (0.299, 0.587, 0.114)
"""Share of red, green and blue in grey. Source: ITU-R BT.601, as Pillow's."""


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of each sample of an epoch."""

    is_flipped: np.ndarray
    """(S,) bool."""
    forward: np.ndarray
    """(S, 2, 3) float32: maps a point of the input to the result."""
    backward: np.ndarray
    """(S, 2, 3) float32: maps a point of the result to the input, both from -1 to 1 across the
    image, as torch's `affine_grid` expects."""
    colour: np.ndarray
    """(S, 3) float32: factors of brightness, contrast and saturation."""
    inside: np.ndarray
    """(S, 4) float32: x0, y0, x1, y1 of the photograph in the input, which is black around it."""
    blend: np.ndarray
    """(S, 2) float32: the input pixels, across and down, over which it blends into that black."""

    def apply(
        self,
        samples: np.ndarray,
        images: Float[Tensor, "B 3 H W"],
        joints: Float[Tensor, "B N K 2"],
        labelled: Bool[Tensor, "B N K"],
        mask: Float[Tensor, "B h w"],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Colour and warp a batch with pixels from 0 to 255; points outside the input are black.

        Outside the input nothing is masked. Colours are clipped to 0 to 255. Black around a
        photograph stays black, and does not affect its contrast.
        """
        device = images.device
        backward = send(self.backward[samples], device)
        if mask.shape[1:] != (1, 1):  # else nothing is masked
            outside = _warp(1 - mask[:, None], backward, "nearest")
            mask = 1 - outside[:, 0]
        shares = _shares(
            send(self.inside[samples], device), send(self.blend[samples], device), images.shape[2:]
        )
        images = _recoloured(images.contiguous(), send(self.colour[samples], device), shares)
        images = _warp(images, backward, "bilinear")
        images = images.contiguous(memory_format=torch.channels_last)
        return images, *self._move(samples, joints, labelled), mask

    def _move(
        self, samples: np.ndarray, joints: Float[Tensor, "B N K 2"], labelled: Bool[Tensor, "B N K"]
    ) -> tuple[Tensor, Tensor]:
        forward = send(self.forward[samples], joints.device)[:, None]
        moved = joints @ forward[..., :2].mT + forward[:, :, None, :, 2]
        flipped = send(self.is_flipped[samples], joints.device)[:, None, None]
        swap = send(np.array(FLIPPED), joints.device)
        return (
            torch.where(flipped[..., None], moved[:, :, swap], moved),
            torch.where(flipped, labelled[:, :, swap], labelled),
        )


def draw_augmentation(
    settings: AugmentSettings,
    scale: np.ndarray,
    inside: np.ndarray,
    size: tuple[int, int],
    seed: int,
    epoch: int,
) -> Augmentation | None:
    """Draw the augmentation of an epoch's samples of size (height, width); None if all is off.

    scale, inside: columns of `Table`, of all samples of the pack.
    """
    if settings == AugmentSettings():
        return None
    # A row per sample, so that its numbers do not depend on the number of samples.
    uniform = np.random.default_rng([seed, epoch, 1]).random((len(scale), 8))
    between = 2 * uniform - 1
    flipped = uniform[:, 0] < settings.flip
    angle = np.deg2rad(settings.rotation_deg) * between[:, 1]
    factor = (1 + settings.scale) ** between[:, 2]
    width_height = np.array(size[::-1], dtype=float)
    shift = settings.shift * between[:, 3:5] * width_height
    centre = width_height / 2
    linear = factor[:, None, None] * _rotation(angle, scale)
    linear[:, :, 0] *= np.where(flipped, -1, 1)[:, None]
    forward = np.concatenate((linear, (centre + shift - linear @ centre)[:, :, None]), axis=2)
    return Augmentation(
        is_flipped=flipped,
        forward=forward.astype(np.float32),
        backward=_backward(forward, width_height).astype(np.float32),
        colour=(1 + settings.colour * between[:, 5:8]).astype(np.float32),
        inside=inside.astype(np.float32),
        # One pixel of the original, or of the input if that is larger.
        blend=np.maximum(scale, 1).astype(np.float32),
    )


def _rotation(angle: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(S, 2, 2) rotations in the original image: S R S^-1, where S stretches by `scale` (S, 2)."""
    stretch = scale[:, 0] / scale[:, 1]
    stretch[np.isclose(stretch, 1, rtol=0, atol=1e-9)] = 1  # a crop's is 1 except for rounding
    cos, sin = np.cos(angle), np.sin(angle)
    rows = (np.stack((cos, -sin * stretch), axis=1), np.stack((sin / stretch, cos), axis=1))
    return np.stack(rows, axis=1)


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


def _shares(
    inside: Float[Tensor, "B 4"], blend: Float[Tensor, "B 2"], size: torch.Size
) -> Float[Tensor, "B 1 H W"]:
    """The share of the photograph in each pixel, from 0 to 1; the rest is black."""

    def along(axis: int, length: int) -> Float[Tensor, "B _"]:
        centre = torch.arange(length, device=inside.device) + 0.5
        low, high, width = inside[:, axis, None], inside[:, axis + 2, None], blend[:, axis, None]
        # Pillow blends with black at an edge inside the input, not at the border of the input.
        begun = torch.where(low > 0, (centre - low) / width + 0.5, 1.0)
        ended = torch.where(high < length, (high - centre) / width + 0.5, 1.0)
        return begun.clamp(0, 1) * ended.clamp(0, 1)

    across, down = along(0, size[1]), along(1, size[0])
    return (down[:, :, None] * across[:, None, :])[:, None]


def _recoloured(
    images: Float[Tensor, "B 3 H W"],
    factors: Float[Tensor, "B 3"],
    shares: Float[Tensor, "B 1 H W"],
) -> Float[Tensor, "B 3 H W"]:
    """Brightness, contrast about the photograph's mean grey and saturation, as one affine map of a
    pixel's three values. A pixel that is blended with black gets its share of the offset."""
    brightness, contrast, saturation = factors.unbind(1)
    luma = send(np.array(LUMA, np.float32), images.device)
    kept = saturation[:, None, None]
    mixed = kept * torch.eye(3, device=images.device) + (1 - kept) * luma
    pixels = images.flatten(2)
    middle = brightness * (pixels.sum(2) @ luma) / shares.sum((1, 2, 3)).clamp_min(1)
    added = ((1 - contrast) * middle)[:, None, None] * shares.flatten(2)
    factor = (brightness * contrast)[:, None, None] * mixed
    recoloured = torch.baddbmm(added.expand(-1, 3, -1), factor, pixels)
    return recoloured.clamp_(0, 255).view_as(images)
