"""The learning rate over a training, by torch's own schedulers."""

import torch
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    SequentialLR,
    StepLR,
)

from kptrain.config import TrainConfig
from kptrain.errors import SettingsError


def build_schedule(
    optimizer: torch.optim.Optimizer, config: TrainConfig, steps_per_epoch: int
) -> LRScheduler:
    """The scheduler, to be stepped after each `schedule.interval`; it sets the first rate at once.

    Raises: SettingsError if the warm-up leaves nothing of the training, or of the schedule's first
    part.
    """
    settings = config.schedule
    by_step = settings.interval == "step"
    epoch = steps_per_epoch if by_step else 1  # in the unit that is counted
    warmup = settings.warmup_steps if by_step else settings.warmup_epochs
    _check_warmup(config, warmup, epoch)
    if not warmup:
        return _after_warmup(optimizer, config, warmup, epoch)
    rise = LinearLR(optimizer, settings.warmup_factor, total_iters=warmup)
    return SequentialLR(
        optimizer, [rise, _after_warmup(optimizer, config, warmup, epoch)], [warmup]
    )


def _after_warmup(
    optimizer: torch.optim.Optimizer, config: TrainConfig, warmup: int, epoch: int
) -> LRScheduler:
    """The scheduler that counts from the end of the warm-up."""
    settings = config.schedule
    if settings.name == "step":
        return StepLR(optimizer, settings.step_epochs * epoch, settings.gamma)
    if settings.name == "multistep":
        milestones = [number * epoch - warmup for number in settings.milestones]
        return MultiStepLR(optimizer, milestones, settings.gamma)
    if settings.name == "cosine":
        return CosineAnnealingLR(optimizer, config.train.epochs * epoch - warmup, settings.min_lr)
    return ConstantLR(optimizer, factor=1.0, total_iters=0)


def _check_warmup(config: TrainConfig, warmup: int, epoch: int) -> None:
    """The rule of `check_optimizer` for steps, whose number depends on the data."""
    settings = config.schedule
    whole = config.train.epochs * epoch
    if settings.name == "multistep":
        whole = min(whole, settings.milestones[0] * epoch)
    if warmup >= whole:
        raise SettingsError(
            f"schedule.warmup_steps: must be below {whole}, the steps of the training or up to the "
            f"first of schedule.milestones, but got {warmup}; lower it"
        )
