"""One step: in parts, clipped, with a scaled loss; against a plain loop."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_network import in_place_of_resnet18

from kptrain.config import TrainConfig
from kptrain.needs.memory import random_batch
from kptrain.resolve import change
from kptrain.training import state
from kptrain.training.batches import Batch
from kptrain.training.state import Training, predict, sample_losses, start_training, take_step

CPU = torch.device("cpu")


def started(config: TrainConfig, **given: Any) -> tuple[TrainConfig, Training]:
    """SGD with a rate of 1: what a step changes is the gradient."""
    base = {"optim.name": "sgd", "optim.momentum": 0.0, "optim.lr": 1.0, "train.batch_size": 10}
    chosen = change(config, base | {"model.trunk": "resnet18"} | given, "test")
    with in_place_of_resnet18():
        return chosen, start_training(chosen, CPU, afresh=True)


def batch_of(config: TrainConfig, size: int) -> Batch:
    torch.manual_seed(0)
    sized = change(config, {"train.accumulate": 1, "train.batch_size": size}, "test")
    return random_batch(sized, CPU)


def step_of(training: Training, config: TrainConfig, batch: Batch) -> tuple[float, torch.Tensor]:
    """The loss of a step, and what it changed in all weights."""
    before = torch.cat([weights.detach().flatten() for weights in training.model.parameters()])
    loss = float(take_step(training, batch, config))
    after = torch.cat([weights.detach().flatten() for weights in training.model.parameters()])
    return loss, before - after


def plain_gradient(training: Training, config: TrainConfig, batch: Batch) -> torch.Tensor:
    """Of the mean loss of the whole batch."""
    losses = sample_losses(predict(training.model, batch, config), batch, config)
    weights = list(training.model.parameters())
    return torch.cat([g.flatten() for g in torch.autograd.grad(losses.mean(), weights)])


@pytest.mark.parametrize("accumulate", [1, 2, 3, 10])
@pytest.mark.parametrize("size", [10, 7, 1])
def test_a_step_in_parts_has_the_gradient_of_the_whole_batch(
    config: TrainConfig, accumulate: int, size: int
) -> None:
    chosen, training = started(config, **{"train.accumulate": accumulate})
    training.model.eval()  # batch normalisation by fixed statistics: it is what parts would change
    batch = batch_of(chosen, size)
    expected = plain_gradient(training, chosen, batch)
    losses = sample_losses(predict(training.model, batch, chosen), batch, chosen)
    loss, gradient = step_of(training, chosen, batch)
    assert loss == pytest.approx(float(losses.detach().sum()), rel=1e-5)
    assert gradient.norm() > 0
    assert (gradient - expected).norm() < 1e-4 * expected.norm()


def test_only_batch_normalisation_makes_parts_another_training(config: TrainConfig) -> None:
    gradients = []
    for accumulate in (1, 2):
        chosen, training = started(config, **{"train.accumulate": accumulate})
        training.model.train()
        gradients.append(step_of(training, chosen, batch_of(chosen, 10))[1])
    assert (gradients[0] - gradients[1]).norm() > 0.01 * gradients[0].norm()


@pytest.mark.parametrize(
    ("accumulate", "size", "sizes"),
    [
        (1, 10, [10]),
        (2, 10, [5, 5]),
        (3, 10, [3, 3, 4]),
        (4, 10, [2, 3, 2, 3]),
        (10, 10, [1] * 10),
        (2, 7, [3, 4]),
        (2, 5, [5]),
        (2, 1, [1]),
        (5, 3, [1, 2]),
    ],
)
def test_a_batch_is_divided_evenly_and_a_partial_one_into_parts_no_larger(
    config: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    accumulate: int,
    size: int,
    sizes: list[int],
) -> None:
    chosen, training = started(config, **{"train.accumulate": accumulate})
    seen: list[Batch] = []

    def noted(network: Callable[..., Any], part: Batch, given: TrainConfig) -> torch.Tensor:
        seen.append(part)
        return predict(network, part, given)

    monkeypatch.setattr(state, "predict", noted)
    batch = batch_of(chosen, size)
    take_step(training, batch, chosen)
    assert [len(part.samples) for part in seen] == sizes
    assert torch.equal(torch.cat([part.images for part in seen]), batch.images)
    assert torch.equal(torch.cat([part.joints for part in seen]), batch.joints)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_clipped_step_has_the_direction_of_the_gradient_and_the_length_given(
    config: TrainConfig, accumulate: int
) -> None:
    chosen, training = started(config, **{"optim.clip_norm": 1e-4, "train.accumulate": accumulate})
    training.model.eval()
    batch = batch_of(chosen, 10)
    expected = plain_gradient(training, chosen, batch)
    assert expected.norm() > 2e-4
    gradient = step_of(training, chosen, batch)[1]
    # In float32 a change of a weight is known to some 1e-7 of the weight.
    torch.testing.assert_close(gradient, 1e-4 * expected / expected.norm(), rtol=0, atol=2e-7)


def test_a_step_in_float16_is_the_step_in_float32_up_to_rounding(config: TrainConfig) -> None:
    gradients = []
    for precision in ("float32", "float16"):
        chosen, training = started(config, **{"train.precision": precision})
        assert training.scaler.is_enabled() == (precision == "float16")
        training.model.eval()
        gradients.append(step_of(training, chosen, batch_of(chosen, 3))[1])
    assert (gradients[0] - gradients[1]).norm() < 0.02 * gradients[0].norm()


def test_a_step_in_float16_whose_gradients_overflow_is_skipped_and_the_scale_halved(
    config: TrainConfig,
) -> None:
    chosen, training = started(config, **{"train.precision": "float16"})
    training.scaler.load_state_dict(training.scaler.state_dict() | {"scale": 1e38})
    change_of_weights = step_of(training, chosen, batch_of(chosen, 3))[1]
    assert float(change_of_weights.abs().max()) == 0
    assert training.scaler.get_scale() == pytest.approx(5e37)
