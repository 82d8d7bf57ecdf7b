"""The optimizer of a training: its groups of weights, and the clipping of their gradients."""

from typing import Any

import torch
from torch import nn

from kptrain.optim_settings import OptimSettings

BACKBONE = "trunk."
"""What the names of the backbone's weights begin with."""


def build_optimizer(model: nn.Module, settings: OptimSettings) -> torch.optim.Optimizer:
    """The optimizer of all weights that are not frozen; the first group has the rate `optim.lr`."""
    groups = parameter_groups(model, settings)
    if settings.name == "adam":
        return torch.optim.Adam(groups, settings.lr, fused=True)
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, settings.lr, fused=True)
    sgd = torch.optim.SGD(
        groups, settings.lr, settings.momentum, nesterov=settings.nesterov, fused=True
    )
    if settings.momentum:
        # Torch (2.15) begins with memory that is not set, and leaves it so if the first step is
        # skipped because its gradients overflow. From zeros the first step is the same.
        for weights in weights_of(sgd):
            sgd.state[weights]["momentum_buffer"] = torch.zeros_like(weights)
    return sgd


def parameter_groups(model: nn.Module, settings: OptimSettings) -> list[dict[str, Any]]:
    """The weights grouped by learning rate and weight decay, in the network's order; a network
    without differences is one group. Biases and the weights of normalisations have one dimension.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weights in model.named_parameters():
        if weights.requires_grad:
            factor = settings.backbone_lr_factor if name.startswith(BACKBONE) else 1.0
            is_decayed = settings.decay_norms or weights.ndim > 1
            key = (factor, settings.weight_decay if is_decayed else 0.0)
            groups.setdefault(key, []).append(weights)
    whole_rate_first = sorted(groups.items(), key=lambda item: item[0][0] != 1.0)
    return [
        {"params": weights, "lr": settings.lr * factor, "weight_decay": decay}
        for (factor, decay), weights in whole_rate_first
    ]


def weights_of(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """All weights that the optimizer changes."""
    return [weights for group in optimizer.param_groups for weights in group["params"]]


def clip_gradients(
    optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, norm: float
) -> None:
    """Scale all gradients down to a norm that they have together at most; waits for no GPU."""
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(weights_of(optimizer), norm)
