"""The state of a training, and one step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import reduce
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from kptrain.config import TrainConfig
from kptrain.machine.device import find_dtype, keep_freed_memory, set_exactness, use
from kptrain.model.loss import heatmap_loss
from kptrain.model.network import build_model
from kptrain.optim.averaging import AveragedModel
from kptrain.optim.optimizers import build_optimizer, clip_gradients
from kptrain.run.curve import EpochReport
from kptrain.training.batches import Batch, joint_weights, targets


@dataclass
class Training:
    """Everything that changes from epoch to epoch."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    """Scales the loss, with `train.precision` float16; else it does nothing."""
    averaged: AveragedModel | None
    schedule: LRScheduler = field(init=False)
    """Built when the number of steps in an epoch is known."""
    curve: list[EpochReport] = field(default_factory=list)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and saved as the best."""
        return self.model if self.averaged is None else self.averaged.model


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
    optimizer = build_optimizer(model, config.optim)
    is_scaled = find_dtype(config, device) == torch.float16
    scaler = torch.amp.GradScaler(device.type, enabled=is_scaled)
    decay = config.train.ema_decay
    return Training(
        model, optimizer, scaler, None if decay is None else AveragedModel(model, decay)
    )


def take_step(
    training: Training,
    batch: Batch,
    config: TrainConfig,
    network: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Forward, backward and the optimizer; returns the sum of the samples' losses, on the device.

    network: the compiled version of the training's; None: the training's.
    """
    network = training.model if network is None else network  # a compiled one has no bool()
    training.optimizer.zero_grad()
    losses = []
    for part in _parts(batch, config):
        of_samples = sample_losses(predict(network, part, config), part, config)
        # The mean of the whole batch, so that the gradients of its parts add up to its own.
        mean: Any = training.scaler.scale(of_samples.sum() / len(batch.samples))
        mean.backward()
        losses.append(of_samples.detach().sum())
    if config.optim.clip_norm is not None:
        clip_gradients(training.optimizer, training.scaler, config.optim.clip_norm)
    training.scaler.step(training.optimizer)
    training.scaler.update()
    if training.averaged is not None:
        training.averaged.update()
    return reduce(torch.add, losses)


def _parts(batch: Batch, config: TrainConfig) -> Iterator[Batch]:
    """The parts that a batch is computed in, of sizes that differ by one at most; a partial batch
    has fewer, and none that is larger."""
    if config.train.accumulate == 1:
        yield batch
        return
    num = -(-len(batch.samples) * config.train.accumulate // config.train.batch_size)
    ends = [len(batch.samples) * number // num for number in range(num + 1)]
    for begin, end in pairwise(ends):
        yield Batch(**{f.name: getattr(batch, f.name)[begin:end] for f in fields(Batch)})


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
