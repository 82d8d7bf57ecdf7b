"""Colours: brightness, contrast, saturation and hue as one affine map of a pixel's three values,
and patches that are made black.

Shapes: B samples, P patches, H x W pixels; values are from 0 to 255. What is black because there is
no photograph stays black, and has no part in the contrast.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kptrain.machine.device import send

LUMA = (0.299, 0.587, 0.114)
"""Share of red, green and blue in grey. Source: ITU-R BT.601, as Pillow's."""
TO_YIQ = np.array([LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)])
"""Red, green and blue to grey and two differences of colour, in which a hue is an angle. Source:
the YIQ of NTSC."""


def colour_matrices(factors: np.ndarray) -> np.ndarray:
    """(B, 3, 3) the linear part of the map for (B, 4) brightness, contrast, saturation, and hue as
    a share of the circle. Greys keep their hue, and all pixels their grey but for the first two."""
    brightness, contrast, saturation, hue = factors.T
    cos, sin = np.cos(2 * np.pi * hue), np.sin(2 * np.pi * hue)
    inner = np.zeros((len(factors), 3, 3))
    inner[:, 0, 0] = 1
    inner[:, 1:, 1:] = saturation[:, None, None] * np.array([[cos, -sin], [sin, cos]]).transpose(
        2, 0, 1
    )
    matrices: np.ndarray = np.linalg.inv(TO_YIQ) @ inner @ TO_YIQ
    matrices *= (brightness * contrast)[:, None, None]
    return matrices


def recoloured(
    images: Float[Tensor, "B 3 H W"], factors: np.ndarray, shares: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, "B 3 H W"]:
    """Change the colours by (B, 4) factors, clipped to 0 to 255. Contrast is about the photograph's
    mean grey. A pixel that is blended with black gets its share of the offset.

    shares: of the photograph in each pixel, from 0 to 1.
    """
    device = images.device
    luma = send(np.array(LUMA, np.float32), device)
    matrices = send(colour_matrices(factors).astype(np.float32), device)
    brightness, contrast = send(factors[:, :2].astype(np.float32), device).unbind(1)
    pixels = images.flatten(2)
    middle = brightness * (pixels.sum(2) @ luma) / shares.sum((1, 2, 3)).clamp_min(1)
    added = ((1 - contrast) * middle)[:, None, None] * shares.flatten(2)
    return torch.baddbmm(added.expand(-1, 3, -1), matrices, pixels).clamp_(0, 255).view_as(images)


def drop(images: Float[Tensor, "B 3 H W"], patches: np.ndarray) -> None:
    """Make patches black, in place. patches: (B, P, 4) x0, y0, x1, y1 in input pixels."""
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) + 0.5
    y = torch.arange(height, device=images.device) + 0.5
    for x0, y0, x1, y1 in send(patches, images.device).permute(1, 2, 0)[..., None]:
        across, down = (x >= x0) & (x < x1), (y >= y0) & (y < y1)
        images.masked_fill_((down[:, :, None] & across[:, None, :])[:, None], 0.0)
