"""The settings of the optimizer and of its learning rate, and the rules between them."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from kptrain.tree import Settings, setting

Milestones = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]


class OptimSettings(Settings):
    name: Literal["adam", "adamw", "sgd"] = setting("adam")
    """The optimizer: `adam`, `adamw` (Adam with decoupled weight decay), or `sgd` with momentum."""
    lr: float = setting(1e-3, gt=0)
    """The learning rate, before the schedule changes it."""
    weight_decay: float = setting(0.0, ge=0)
    """Weight decay: an L2 penalty with `adam` and `sgd`, decoupled from the gradient with `adamw`.
    """
    decay_norms: bool = setting(True)
    """Whether weight decay also applies to the weights of normalisations and to biases."""
    momentum: float = setting(0.9, ge=0, lt=1, only_under={"optim.name": ("sgd",)})
    """SGD's momentum."""
    nesterov: bool = setting(False, only_under={"optim.name": ("sgd",)})
    """Whether SGD's momentum is Nesterov's."""
    clip_norm: float | None = setting(None, gt=0)
    """The largest norm of all gradients together; longer ones are scaled down to it. None: no
    limit."""
    backbone_lr_factor: float = setting(1.0, gt=0)
    """The backbone's learning rate, as a multiple of `optim.lr`."""


class ScheduleSettings(Settings):
    name: Literal["step", "multistep", "cosine", "constant"] = setting("step")
    """How the learning rate changes after the warm-up: `step` (StepLR), `multistep` (MultiStepLR),
    `cosine` (CosineAnnealingLR, down to `schedule.min_lr` at the end of the training) or `constant`
    (ConstantLR)."""
    step_epochs: int = setting(10, ge=1, only_under={"schedule.name": ("step",)})
    """Epochs between two reductions of the learning rate (StepLR), from the end of the warm-up."""
    milestones: Milestones = setting((), only_under={"schedule.name": ("multistep",)})
    """The numbers of finished epochs, warm-up included, after which the learning rate is reduced
    (MultiStepLR), ascending."""
    gamma: float = setting(0.5, gt=0, le=1, only_under={"schedule.name": ("step", "multistep")})
    """Factor of each reduction of the learning rate."""
    min_lr: float = setting(0.0, ge=0, only_under={"schedule.name": ("cosine",)})
    """The learning rate at the end of the cosine; the same for the backbone."""
    interval: Literal["epoch", "step"] = setting("epoch")
    """Whether the learning rate changes after an epoch or after a step: `step` makes the cosine and
    the warm-up smooth."""
    warmup_epochs: int = setting(0, ge=0, only_under={"schedule.interval": ("epoch",)})
    """Epochs of linear warm-up (LinearLR, then the schedule by SequentialLR). 0: none."""
    warmup_steps: int = setting(0, ge=0, only_under={"schedule.interval": ("step",)})
    """Steps of linear warm-up (LinearLR, then the schedule by SequentialLR). 0: none."""
    warmup_factor: float = setting(0.1, gt=0, le=1)
    """Factor of the learning rate in the first epoch or step of the warm-up; it rises linearly to
    1."""

    @field_validator("milestones")
    @classmethod
    def _ascend(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if list(milestones) != sorted(set(milestones)):
            raise ValueError("Milestones must ascend")
        return milestones


def check_optimizer(optim: OptimSettings, schedule: ScheduleSettings, epochs: int) -> None:
    """Check the rules between the settings that have an effect. Raises: ValueError."""
    if optim.name == "sgd" and optim.nesterov and optim.momentum == 0:
        raise ValueError(
            "optim.momentum must be above 0 with optim.nesterov true, but got 0; raise it, or set "
            "optim.nesterov to false"
        )
    smallest = optim.lr * min(1.0, optim.backbone_lr_factor)
    if schedule.name == "cosine" and schedule.min_lr > smallest:
        raise ValueError(
            f"schedule.min_lr must be at most the learning rate that the cosine begins with "
            f"({smallest:g} by optim.lr {optim.lr:g} and optim.backbone_lr_factor "
            f"{optim.backbone_lr_factor:g}), but got {schedule.min_lr:g}; lower it"
        )
    warmup = schedule.warmup_epochs if schedule.interval == "epoch" else 0
    if warmup >= epochs:
        raise ValueError(
            f"schedule.warmup_epochs must be below train.epochs ({epochs}), but got {warmup}; "
            f"lower it"
        )
    if schedule.name == "multistep" and (schedule.milestones or (0,))[0] <= warmup:
        raise ValueError(
            f"schedule.milestones must name one or more epochs with schedule.name multistep, above "
            f"schedule.warmup_epochs ({warmup}), but got {list(schedule.milestones)}; correct it"
        )
