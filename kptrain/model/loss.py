"""The loss: a weighted mean squared error between heatmaps.

Shapes: B samples, K joints, H x W heatmap pixels.
"""

from jaxtyping import Float
from torch import Tensor


def heatmap_loss(
    prediction: Float[Tensor, "B K H W"],
    target: Float[Tensor, "B K H W"],
    joint_weight: Float[Tensor, "B K"],
    mask: Float[Tensor, "B #H #W"],
) -> Float[Tensor, " B"]:
    """Mean over joints and pixels of weight x mask x (prediction - target)^2, for each sample.

    The mean counts every joint and pixel, also those whose weight or mask is 0.
    """
    weight = joint_weight[:, :, None, None] * mask[:, None]
    return (weight * (prediction - target).square()).mean(dim=(1, 2, 3))
