"""Joints to heatmaps and back: sub-pixel Gaussians and a log-parabola decode, an inverse pair.

Shapes: B samples, N persons, K joints, H x W heatmap pixels. Coordinates are continuous, in
heatmap pixels: pixel i covers [i, i + 1), its centre is i + 0.5.

Source: Zhang et al., Distribution-aware coordinate representation (DARK, CVPR 2020), section 3: the
logarithm of a Gaussian is a parabola. `decode` fits it along each axis and does not smooth first;
`decode_dark` does as they do.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

from kptrain.config import TrainConfig

SMALLEST = 1e-30
"""Values are raised to this before the logarithm; a prediction may be zero or negative."""


Decoder = Callable[[Tensor, Tensor], Tensor]
"""From (M, K, H, W) heatmaps and (M, 4) boxes to (M, K, 3) x, y and score, as `decode`."""


def decoder_of(config: TrainConfig) -> Decoder:
    """What `heatmap.decode` names."""
    if config.heatmap.decode == "parabola":
        return decode
    return partial(decode_dark, sigma_px=config.sigma_px)


def encode(
    joints: Float[Tensor, "B N K 2"],
    labelled: Bool[Tensor, "B N K"],
    size: tuple[int, int],
    sigma_px: float,
) -> Float[Tensor, "B K H W"]:
    """Draw each labelled joint as a Gaussian with a peak of 1; overlaps take the maximum."""
    height, width = size
    x = torch.arange(width, device=joints.device) + 0.5
    y = torch.arange(height, device=joints.device) + 0.5
    scale = -0.5 / sigma_px**2
    across = torch.exp(scale * (x - joints[..., 0:1]).square()) * labelled[..., None]
    down = torch.exp(scale * (y - joints[..., 1:2]).square())
    maps = joints.new_zeros(joints.shape[0], joints.shape[2], height, width)
    # One person at a time, because N maps would not fit; in place, because allocation is slow.
    one = torch.empty_like(maps)
    for person in range(joints.shape[1]):
        torch.mul(down[:, person, :, :, None], across[:, person, :, None, :], out=one)
        torch.maximum(maps, one, out=maps)
    return maps


def decode(
    heatmaps: Float[Tensor, "M K H W"], boxes: Float[Tensor, "M 4"]
) -> Float[Tensor, "M K 3"]:
    """Find the peak of each heatmap inside a box x0, y0, x1, y1: x, y and its value (the score)."""
    num, joints, height, width = heatmaps.shape
    peak, row, column = _highest(heatmaps, boxes)
    lines = heatmaps.clamp(min=SMALLEST).log()
    rows = lines.gather(2, row[:, :, None, None].expand(num, joints, 1, width)).squeeze(2)
    columns = lines.gather(3, column[:, :, None, None].expand(num, joints, height, 1)).squeeze(3)
    return torch.stack((_vertex(rows, column), _vertex(columns, row), peak), dim=2)


def decode_dark(
    heatmaps: Float[Tensor, "M K H W"], boxes: Float[Tensor, "M 4"], sigma_px: float
) -> Float[Tensor, "M K 3"]:
    """As `decode`, after smoothing by a Gaussian of the targets' sigma, by one step of Newton's
    method in both directions at once.

    A step is at most one pixel, and only where the logarithm is concave. Beyond the map it is as at
    its border, where DARK's is 0: that would push joints at the border inwards.
    """
    num, joints, height, width = heatmaps.shape
    peak, row, column = _highest(heatmaps, boxes)
    row, column = row.clamp(1, height - 2), column.clamp(1, width - 2)
    smooth = _smoothed(heatmaps.clamp(min=0), sigma_px).clamp(min=SMALLEST).log()
    near = torch.arange(-1, 2, device=heatmaps.device)
    index = (row[..., None] + near)[..., None] * width + (column[..., None] + near)[..., None, :]
    nine = smooth.flatten(2).gather(2, index.flatten(2)).view(num, joints, 3, 3)
    (a, b, c), (d, e, f), (g, h, i) = (line.unbind(2) for line in nine.unbind(2))
    dx, dy = (f - d) / 2, (h - b) / 2
    dxx, dyy, dxy = d - 2 * e + f, b - 2 * e + h, (a - c - g + i) / 4
    determinant = dxx * dyy - dxy * dxy
    is_concave = (dxx < 0) & (determinant > 0)
    safe = torch.where(is_concave, determinant, 1.0)
    right, down = (dxy * dy - dyy * dx) / safe, (dxy * dx - dxx * dy) / safe
    right, down = (torch.where(is_concave, step, 0.0).clamp(-1, 1) for step in (right, down))
    return torch.stack((column + 0.5 + right, row + 0.5 + down, peak), dim=2)


def _smoothed(maps: Float[Tensor, "M K H W"], sigma_px: float) -> Float[Tensor, "M K H W"]:
    """Smooth along both axes; the kernel ends at three standard deviations."""
    radius = math.ceil(3 * sigma_px)
    along = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-0.5 * (along / sigma_px) ** 2)
    kernel = kernel / kernel.sum()
    one = maps.flatten(0, 1)[:, None]
    one = conv2d(pad(one, (radius, radius, 0, 0), "replicate"), kernel.view(1, 1, 1, -1))
    one = conv2d(pad(one, (0, 0, radius, radius), "replicate"), kernel.view(1, 1, -1, 1))
    return one.view_as(maps)


def _highest(
    heatmaps: Float[Tensor, "M K H W"], boxes: Float[Tensor, "M 4"]
) -> tuple[Tensor, Tensor, Tensor]:
    """The highest value of each heatmap inside its box, with its row and column, all (M, K)."""
    height, width = heatmaps.shape[2:]
    inside = _inside(boxes, height, width)
    peak, index = heatmaps.masked_fill(~inside[:, None], -torch.inf).flatten(2).max(dim=2)
    return peak, index // width, index % width


def _inside(boxes: Float[Tensor, "M 4"], height: int, width: int) -> Bool[Tensor, "M H W"]:
    """The pixels that a box touches, at least one."""
    x = torch.arange(width, device=boxes.device)
    y = torch.arange(height, device=boxes.device)
    x0, y0, x1, y1 = boxes[:, :, None].unbind(1)
    x0, y0 = x0.floor().clamp(0, width - 1), y0.floor().clamp(0, height - 1)
    x1, y1 = torch.maximum(x1, x0 + 1), torch.maximum(y1, y0 + 1)
    return ((y >= y0) & (y < y1))[:, :, None] & ((x >= x0) & (x < x1))[:, None, :]


def _vertex(line: Float[Tensor, "M K L"], peak: Tensor) -> Float[Tensor, "M K"]:
    """The vertex of the parabola through three log values, in continuous pixels.

    The three are the peak and its neighbours, or the three outermost if the peak is at the border.
    If they are not concave, the peak's centre is returned; the vertex is at most one pixel from the
    peak.
    """
    middle = peak.clamp(1, line.shape[2] - 2)
    three = line.gather(2, middle[:, :, None] + torch.arange(-1, 2, device=line.device))
    left, centre, right = three.unbind(2)
    curvature = left - 2 * centre + right
    shift = torch.where(curvature < 0, 0.5 * (left - right) / curvature, torch.zeros_like(left))
    offset = torch.where(curvature < 0, shift + middle - peak, torch.zeros_like(left))
    return peak + 0.5 + offset.clamp(-1, 1)
