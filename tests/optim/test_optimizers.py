"""The optimizer's steps and groups, against torch's own without any of ours."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from kptrain.optim.optimizers import build_optimizer, clip_gradients, parameter_groups, weights_of
from kptrain.optim_settings import OptimSettings

NORMS = ["trunk.1.weight", "trunk.1.bias", "head.bias"]
"""The weights of `network` that have one dimension."""


def network() -> nn.Module:
    """A backbone with a normalisation, and a head with a bias."""
    torch.manual_seed(0)
    model = nn.Module()
    model.trunk = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    model.head = nn.Conv2d(4, 2, 1)
    return model


def settings(**given: Any) -> OptimSettings:
    return OptimSettings.model_validate({"lr": 0.01, "weight_decay": 0.1} | given)


def by_name(model: nn.Module, given: OptimSettings) -> dict[str, tuple[float, float]]:
    """The learning rate and weight decay of each weight."""
    names = {id(weights): name for name, weights in model.named_parameters()}
    return {
        names[id(weights)]: (group["lr"], group["weight_decay"])
        for group in parameter_groups(model, given)
        for weights in group["params"]
    }


def test_a_network_without_differences_is_one_group_in_its_own_order() -> None:
    model = network()
    (group,) = parameter_groups(model, settings())
    assert all(a is b for a, b in zip(group["params"], model.parameters(), strict=True))


def test_norms_and_biases_can_be_left_out_of_weight_decay() -> None:
    model = network()
    found = by_name(model, settings(decay_norms=False))
    names = dict(model.named_parameters())
    assert found == {name: (0.01, 0.0 if name in NORMS else 0.1) for name in names}


def test_the_backbone_has_a_rate_of_its_own_and_the_first_group_the_whole_one() -> None:
    model = network()
    given = settings(backbone_lr_factor=0.5, decay_norms=False)
    found = by_name(model, given)
    assert {name: lr for name, (lr, _) in found.items()} == {
        name: 0.005 if name.startswith("trunk.") else 0.01 for name, _ in model.named_parameters()
    }
    groups = parameter_groups(model, given)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [
        (0.01, 0.1),
        (0.01, 0.0),
        (0.005, 0.1),
        (0.005, 0.0),
    ]


def test_frozen_weights_have_no_optimizer() -> None:
    model = network()
    model.get_submodule("trunk").requires_grad_(False)
    assert by_name(model, settings()).keys() == {"head.weight", "head.bias"}


PLAIN: dict[str, tuple[dict[str, Any], Callable[..., torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": ({}, torch.optim.Adam, {}),
    "adamw": ({}, torch.optim.AdamW, {}),
    "sgd": ({}, torch.optim.SGD, {"momentum": 0.9}),
    "sgd without momentum": ({"momentum": 0.0}, torch.optim.SGD, {}),
    "sgd by Nesterov": (
        {"momentum": 0.8, "nesterov": True},
        torch.optim.SGD,
        {"momentum": 0.8, "nesterov": True},
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_five_steps_are_those_of_torch_s_plain_optimizer_with_two_decays_and_two_rates(
    name: str,
) -> None:
    given, plain, options = PLAIN[name]
    ours, theirs = network(), network()
    first = settings(
        name=name.partition(" ")[0], decay_norms=False, backbone_lr_factor=0.1, **given
    )
    groups: list[dict[str, Any]] = [
        {
            "params": [weights],
            "lr": 0.001 if key.startswith("trunk.") else 0.01,
            "weight_decay": 0.0 if key in NORMS else 0.1,
        }
        for key, weights in theirs.named_parameters()
    ]
    optimizers = [build_optimizer(ours, first), plain(groups, lr=0.01, foreach=False, **options)]
    draw = torch.Generator().manual_seed(1)
    for _ in range(5):
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.grad = torch.randn(one.shape, generator=draw)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    before = network()
    for one, other, old in zip(
        ours.parameters(), theirs.parameters(), before.parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
        assert not torch.equal(one, old)


def scaler(enabled: bool) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", enabled=enabled)


@pytest.mark.parametrize("is_scaled", [False, True])
@pytest.mark.parametrize(("norm", "is_longer"), [(0.5, True), (1e3, False)])
def test_gradients_are_clipped_to_the_norm_that_they_have_together(
    norm: float, is_longer: bool, is_scaled: bool
) -> None:
    model = network()
    optimizer = build_optimizer(model, settings(decay_norms=False, backbone_lr_factor=0.1))
    scales = scaler(is_scaled)
    loss = sum((weights.square().sum() for weights in model.parameters()), torch.zeros(()))
    gradients = [2 * weights.detach() for weights in model.parameters()]
    scaled: Any = scales.scale(loss)
    scaled.backward()
    clip_gradients(optimizer, scales, norm)
    length = sum(float(gradient.square().sum()) for gradient in gradients) ** 0.5
    assert (length > norm) == is_longer
    for weights, gradient in zip(model.parameters(), gradients, strict=True):
        expected = gradient * min(1.0, norm / length)
        torch.testing.assert_close(weights.grad, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_first_step_that_overflows_is_skipped_and_leaves_the_next_as_a_first_one(
    name: str,
) -> None:
    skipping, plain = network(), network()
    for model, gradients in ((skipping, [float("inf"), 1.0]), (plain, [1.0])):
        optimizer, scales = build_optimizer(model, settings(name=name)), scaler(True)
        for gradient in gradients:
            scales.scale(torch.zeros(()))
            for weights in weights_of(optimizer):
                weights.grad = torch.full_like(weights, gradient * scales.get_scale())
            scales.step(optimizer)
            scales.update()
    for one, other in zip(skipping.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
