"""The loss: pinned by values that can be computed by hand."""

import math

import pytest
import torch

from kptrain.model.heatmaps import encode
from kptrain.model.loss import heatmap_loss


@pytest.mark.parametrize("sigma_px", [1.0, 2.0, 3.0])
def test_the_all_zero_prediction_costs_pi_sigma_squared_over_the_pixels(sigma_px: float) -> None:
    # The integral of exp(-r^2 / sigma^2) over the plane is pi sigma^2; one joint of two is drawn.
    joints = torch.tensor([[[[32.3, 30.8], [10.0, 10.0]]]])
    target = encode(joints, torch.tensor([[[True, False]]]), (64, 64), sigma_px)
    ones = torch.ones(1, 2), torch.ones(1, 64, 64)
    loss = heatmap_loss(torch.zeros_like(target), target, *ones)
    assert loss.item() == pytest.approx(math.pi * sigma_px**2 / 64**2 / 2, rel=1e-4)


def test_weights_multiply_a_joints_error_and_do_not_renormalise() -> None:
    prediction, target = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    weight = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    loss = heatmap_loss(prediction, target, weight, torch.ones(2, 4, 4))
    assert loss.tolist() == [1.0, 0.0]


def test_masked_pixels_cost_nothing_and_still_count_in_the_mean() -> None:
    prediction, target = torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4)
    mask = torch.ones(1, 4, 4)
    mask[:, :, :2] = 0
    loss = heatmap_loss(prediction, target, torch.ones(1, 2), mask)
    assert loss.item() == pytest.approx(0.5)
