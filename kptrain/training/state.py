"""The state of a training, and one step."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from kptrain.config import TrainConfig
from kptrain.machine.device import find_dtype, keep_freed_memory, set_exactness, use
from kptrain.model.loss import heatmap_loss
from kptrain.model.network import build_model
from kptrain.run.curve import EpochReport
from kptrain.training.batches import Batch, joint_weights, targets


@dataclass
class Training:
    """Everything that changes from epoch to epoch."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    curve: list[EpochReport]


def start_training(config: TrainConfig, device: torch.device, afresh: bool) -> Training:
    """The state before the first epoch; if not `afresh`, with random weights, to be restored.

    For the whole process it sets the current GPU and the exactness of cuDNN; on a CPU it makes the
    C library keep freed memory.
    Raises: WeightsError.
    """
    # A saved state holds all weights, so the file of the initial weights need not exist any more.
    weights = config.model.weights if afresh else "none"
    settings = config.model.model_copy(update={"weights": weights})
    if device.type == "cpu":
        keep_freed_memory()
    model = build_model(settings, config.train.seed)
    use(device)
    model = model.to(device).to(memory_format=torch.channels_last)  # as batches come
    set_exactness(config, device)
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=config.optim.lr,
        weight_decay=config.optim.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.StepLR(
        optimizer, config.schedule.step_epochs, config.schedule.gamma
    )
    return Training(model, optimizer, schedule, [])


def take_step(
    training: Training,
    batch: Batch,
    config: TrainConfig,
    network: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Forward, backward and Adam; returns the sum of the samples' losses, on the device.

    network: the compiled version of the training's; None: the training's.
    """
    network = training.model if network is None else network  # a compiled one has no bool()
    losses = sample_losses(predict(network, batch, config), batch, config)
    training.optimizer.zero_grad()
    losses.mean().backward()  # type: ignore[no-untyped-call]  # torch
    training.optimizer.step()
    return losses.detach().sum()


def predict(
    network: Callable[[torch.Tensor], torch.Tensor], batch: Batch, config: TrainConfig
) -> torch.Tensor:
    """(B, K, h, w) float32 heatmaps."""
    device = batch.images.device
    dtype = find_dtype(config, device)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        heatmaps = network(batch.images)
    return heatmaps.float()


def sample_losses(prediction: torch.Tensor, batch: Batch, config: TrainConfig) -> torch.Tensor:
    """(B,) the loss of each sample of heatmaps (B, K, h, w)."""
    weights = joint_weights(batch, config)
    return heatmap_loss(prediction, targets(batch, config), weights, batch.mask)
