"""Crop and augmentation as one warp of a whole batch, on its device.

Shapes: B samples, C channels, h x w pixels of a buffer, H x W of the result.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from kptrain.augmentation.windows import Places
from kptrain.machine.device import send


def warp(
    pixels: Float[Tensor, "B C h w"], places: Places, size: tuple[int, int], *, shared: bool
) -> tuple[Tensor, Tensor | None]:
    """The results of size (H, W), bilinear and black outside of the stored pixels.

    If `shared`, also the share of the photograph in each of their pixels: (B, 1, H, W), 0 to 1.
    """
    device = pixels.device
    grid = _grid(send(places.maps, device), size)
    shares = None
    if shared:
        shares = _shares(grid, send(places.photograph, device), pixels.shape[2:])
    result = grid_sample(pixels, grid, "bilinear", "zeros", align_corners=False)
    return result, shares


def _grid(maps: Float[Tensor, "B 2 3"], size: tuple[int, int]) -> Float[Tensor, "B H W 2"]:
    """As torch's `affine_grid`, faster on a CPU: x and y are planes, each the sum of a row and a
    column."""
    height, width = size
    x = (torch.arange(width, device=maps.device) + 0.5) * (2 / width) - 1
    y = (torch.arange(height, device=maps.device) + 0.5) * (2 / height) - 1
    across, down, offset = maps[..., None, None].unbind(2)
    return (across * x + (down * y[:, None] + offset)).permute(0, 2, 3, 1)


def _shares(
    grid: Float[Tensor, "B H W 2"], photograph: Float[Tensor, "B 2 2"], buffer: torch.Size
) -> Float[Tensor, "B 1 H W"]:
    """At its edge the photograph blends with black over one pixel of the buffer."""
    half = send(np.array(buffer[::-1], np.float32) / 2, grid.device)
    low, high = photograph[:, :, None, None].unbind(1)
    begun = (grid - low).mul_(half).add_(0.5).clamp_(0, 1)
    ended = (high - grid).mul_(half).add_(0.5).clamp_(0, 1)
    return (begun * ended).prod(3)[:, None]


def warp_mask(mask: Float[Tensor, "B h w"], places: Places) -> Float[Tensor, "B h w"]:
    """The nearest pixel of a mask that covers the buffer; nothing is masked outside."""
    outside = 1 - mask[:, None]
    grid = _grid(send(places.maps, mask.device), (mask.shape[1], mask.shape[2]))
    return 1 - grid_sample(outside, grid, "nearest", "zeros", align_corners=False)[:, 0]
