"""Ideas for a step that the training has not yet: each changes a training in place.

Whether they are worth it is what `bench.gpu` measures; that they leave the losses as they are is
tested on a CPU.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from kptrain.training.state import Training

MOST_COMPILED = 64
"""A block's code is compiled once for each of its shapes; torch gives up after 8."""


def without_counts(training: Training) -> None:
    """No addition for each batch norm: only one without momentum reads its count of batches."""
    for module in training.model.modules():
        if isinstance(module, _BatchNorm) and module.momentum is not None:
            module.num_batches_tracked = None


def cast_at_once(training: Training) -> None:
    """The weights of all convolutions cast in one kernel, instead of one each by autocast."""
    training.model = CastOnce(training.model)


def blocks_compiled(training: Training) -> None:
    """Batch norm, ReLU and addition fused by compiling each residual block, and the deconvolutions:
    few and small pieces of code, where the network as a whole is one large one."""
    from torch._dynamo import config  # noqa: PLC0415  (takes seconds)

    config.recompile_limit = MOST_COMPILED
    config.fail_on_recompile_limit_hit = True  # else the rest would run eagerly, unnoticed
    model: Any = training.model.network if isinstance(training.model, CastOnce) else training.model
    stages = [part for part in model.trunk if isinstance(part, nn.Sequential)]
    for block in [*(block for stage in stages for block in stage), model.deconv]:
        block.compile(dynamic=False)


SWITCHES: dict[str, tuple[Callable[[Training], None], ...]] = {
    "as it is": (),
    "no counts": (without_counts,),
    "cast at once": (cast_at_once,),
    "no counts, cast at once": (without_counts, cast_at_once),
    "blocks compiled": (blocks_compiled,),
    "all three": (without_counts, cast_at_once, blocks_compiled),
}


class CastOnce(nn.Module):
    """A network in bfloat16 whose convolutions take copies of their float32 weights.

    What autocast makes one by one is made by one operation, and so are the gradients on their way
    back; the optimizer has the float32 weights as before. Batch norm's stay, as with autocast.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        kinds = (nn.Conv2d, nn.ConvTranspose2d)
        self._names = [
            f"{path}.{name}"
            for path, module in network.named_modules()
            if isinstance(module, kinds)
            for name, _ in module.named_parameters()
        ]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, K, h, w), the latter bfloat16."""
        weights = [self.network.get_parameter(name) for name in self._names]
        copies = _Cast.apply(*weights)
        given = dict(zip(self._names, copies, strict=True))
        with torch.autocast(images.device.type, enabled=False):
            maps: Tensor = functional_call(self.network, given, (images.bfloat16(),))
        return maps


class _Cast(torch.autograd.Function):
    """Tensors to bfloat16, and their gradients back."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG004  (autograd's)
        return _copies(tensors, torch.bfloat16)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG004  (likewise)
        return _copies(gradients, torch.float32)


def _copies(tensors: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    copies = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    torch._foreach_copy_(copies, list(tensors))
    return tuple(copies)
