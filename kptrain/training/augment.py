"""Augmentation: each sample coloured, mirrored, turned, scaled and moved, in one warp per batch.

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
from kptrain.keypoints import MIRRORED
from kptrain.machine.device import send

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
    inside: np.ndarray
    """(S, 4) float32: x0, y0, x1, y1 of the photograph in the input, which is black around it."""
    blend: np.ndarray
    """(S, 2) float32: over how many input pixels, across and down, it blends into that black."""

    def apply(
        self,
        samples: np.ndarray,
        images: Float[Tensor, "B 3 H W"],
        joints: Float[Tensor, "B N K 2"],
        labelled: Bool[Tensor, "B N K"],
        mask: Float[Tensor, "B h w"],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Colour and warp a batch whose pixels are from 0 to 255; black comes in from outside.

        Nothing is masked where the mask comes from outside. Colours beyond 0 and 255 are cut.
        Black around a photograph stays black, and is no part of its contrast.
        """
        device = images.device
        backward = send(self.backward[samples], device)
        if mask.shape[1:] != (1, 1):  # else all is learnt
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
        mirrored = send(self.is_mirrored[samples], joints.device)[:, None, None]
        swap = send(np.array(MIRRORED), joints.device)
        return (
            torch.where(mirrored[..., None], moved[:, :, swap], moved),
            torch.where(mirrored, labelled[:, :, swap], labelled),
        )


def draw_augmentation(
    settings: AugmentSettings,
    scale: np.ndarray,
    inside: np.ndarray,
    size: tuple[int, int],
    seed: int,
    epoch: int,
) -> Augmentation | None:
    """What an epoch's samples of size (height, width) are to undergo; None if nothing is set.

    scale, inside: as `Table` has them, of all samples of the pack.
    """
    if settings == AugmentSettings():
        return None
    # Row by row, so that a sample's numbers do not depend on how many samples there are.
    uniform = np.random.default_rng([seed, epoch, 1]).random((len(scale), 8))
    between = 2 * uniform - 1
    mirrored = uniform[:, 0] < settings.flip
    angle = np.deg2rad(settings.rotation_deg) * between[:, 1]
    factor = (1 + settings.scale) ** between[:, 2]
    width_height = np.array(size[::-1], dtype=float)
    shift = settings.shift * between[:, 3:5] * width_height
    centre = width_height / 2
    linear = factor[:, None, None] * _rotation(angle, scale)
    linear[:, :, 0] *= np.where(mirrored, -1, 1)[:, None]
    forward = np.concatenate((linear, (centre + shift - linear @ centre)[:, :, None]), axis=2)
    return Augmentation(
        is_mirrored=mirrored,
        forward=forward.astype(np.float32),
        backward=_backward(forward, width_height).astype(np.float32),
        colour=(1 + settings.colour * between[:, 5:8]).astype(np.float32),
        inside=inside.astype(np.float32),
        # Between a pixel of the original and the black beside it, or of the input if larger.
        blend=np.maximum(scale, 1).astype(np.float32),
    )


def _rotation(angle: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(S, 2, 2) what is a rotation in the original: S R S^-1, where S is the stretch of (S, 2)."""
    stretch = scale[:, 0] / scale[:, 1]
    stretch[np.isclose(stretch, 1, rtol=0, atol=1e-9)] = 1  # a crop's is 1 but for rounding
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
    """How much of each pixel is of the photograph, from 0 to 1; the rest is black."""

    def along(axis: int, length: int) -> Float[Tensor, "B _"]:
        centre = torch.arange(length, device=inside.device) + 0.5
        low, high, width = inside[:, axis, None], inside[:, axis + 2, None], blend[:, axis, None]
        # Pillow blends with black at an edge that lies in the input, not at one that it cuts.
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
    """Brightness, contrast about the photograph's mean grey, saturation: one map of a pixel's three
    numbers, and what is added. A pixel that is blended with black gains its share of that."""
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
