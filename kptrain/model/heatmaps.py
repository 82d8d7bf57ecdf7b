"""Joints to heatmaps and back: sub-pixel Gaussians and a log-parabola decode, an inverse pair.

Shapes: B samples, N persons, K joints, H x W heatmap pixels. Coordinates are continuous, in
heatmap pixels: pixel i covers [i, i + 1), its centre is i + 0.5.

Source: Zhang et al., Distribution-aware coordinate representation (CVPR 2020), section 3: the
logarithm of a Gaussian is a parabola. We fit it along each axis and do not smooth first.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SMALLEST = 1e-30
"""Values are raised to this before the logarithm; a prediction may be zero or negative."""


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
    inside = _inside(boxes, height, width)
    flat = heatmaps.masked_fill(~inside[:, None], -torch.inf).flatten(2)
    peak, index = flat.max(dim=2)
    row, column = index // width, index % width
    lines = heatmaps.clamp(min=SMALLEST).log()
    rows = lines.gather(2, row[:, :, None, None].expand(num, joints, 1, width)).squeeze(2)
    columns = lines.gather(3, column[:, :, None, None].expand(num, joints, height, 1)).squeeze(3)
    return torch.stack((_vertex(rows, column), _vertex(columns, row), peak), dim=2)


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
