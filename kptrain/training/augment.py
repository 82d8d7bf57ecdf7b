"""The augmentation of an epoch: flip, rotation, scale, shift, half bodies, colours and patches.

What a sample undergoes depends only on the seed, the epoch and the sample. Pixels, joints and mask
follow the same affine map, and heatmaps are drawn afterwards, so they are exact.

Shapes: S samples of an epoch, B of a batch, N persons, K joints, H x W input pixels. Coordinates
are continuous input pixels: pixel i covers [i, i + 1).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kptrain.augmentation.colour import drop, recoloured
from kptrain.augmentation.draws import Draws, draw_patches
from kptrain.augmentation.half_body import draw_views
from kptrain.augmentation.maps import forward_maps, inverse
from kptrain.config import AugmentSettings
from kptrain.data.pack_format import Table
from kptrain.keypoints import FLIPPED
from kptrain.machine.device import send


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of each sample of an epoch."""

    is_flipped: np.ndarray
    """(S,) bool."""
    forward: np.ndarray
    """(S, 2, 3) float32: maps a point of the input, as it was cut, to the result."""
    backward: np.ndarray
    """(S, 2, 3) float64: maps a point of the result to the input."""
    colour: np.ndarray | None
    """(S, 4) float32: factors of brightness, contrast and saturation, and the change of the hue as
    a share of the circle; None if no colour changes."""
    patches: np.ndarray | None
    """(S, P, 4) float32: x0, y0, x1, y1 of the black patches in the result; None if there are none.
    """

    def paint(
        self,
        samples: np.ndarray,
        images: Float[Tensor, "B 3 H W"],
        shares: Float[Tensor, "B 1 H W"] | None,
    ) -> Float[Tensor, "B 3 H W"]:
        """Change the colours of warped images with values from 0 to 255, and drop patches.

        shares: of the photograph in each pixel; only needed for colours.
        """
        if self.colour is not None and shares is not None:
            images = recoloured(images.contiguous(), self.colour[samples], shares)
        if self.patches is not None:
            drop(images, self.patches[samples])
        return images

    def move(
        self, samples: np.ndarray, joints: Float[Tensor, "B N K 2"], labelled: Bool[Tensor, "B N K"]
    ) -> tuple[Tensor, Tensor]:
        """The joints in the result; left and right are exchanged where a sample is flipped."""
        forward = send(self.forward[samples], joints.device)[:, None]
        moved = joints @ forward[..., :2].mT + forward[:, :, None, :, 2]
        flipped = send(self.is_flipped[samples], joints.device)[:, None, None]
        swap = send(np.array(FLIPPED), joints.device)
        return (
            torch.where(flipped[..., None], moved[:, :, swap], moved),
            torch.where(flipped, labelled[:, :, swap], labelled),
        )


def draw_augmentation(
    settings: AugmentSettings, table: Table, size: tuple[int, int], seed: int, epoch: int
) -> Augmentation | None:
    """Draw the augmentation of an epoch's samples of size (height, width); None if all is off.

    table: of all samples of the pack.
    """
    if not settings.is_on:
        return None
    num_samples = len(table.scale)
    draws = Draws.of(num_samples, seed, epoch)
    views = draw_views(settings, draws, table, size)
    is_flipped, forward = forward_maps(settings, draws, table.scale, size, views)
    colour = None
    if settings.colour or settings.hue:
        factors = 1 + settings.colour * (2 * draws.colour - 1)
        hue = settings.hue * (2 * draws.hue - 1)
        colour = np.column_stack((factors, hue)).astype(np.float32)
    return Augmentation(
        is_flipped=is_flipped,
        forward=forward.astype(np.float32),
        backward=inverse(forward),
        colour=colour,
        patches=draw_patches(settings, num_samples, size, seed, epoch),
    )
