"""The averaged network: an exponential moving average over the steps of a training.

Averaged are the weights and the statistics of batch normalisation, as in timm, Ultralytics and
mmpose's recipes; counts are copied. It begins with the initial weights.
"""

import copy
from itertools import chain

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class AveragedModel:
    """A copy of a network that follows it.

    Torch's class of this name reads its count of updates from the device in each step, so a GPU
    would be waited for; its arithmetic is used.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """decay: the share of the average that stays in an update, from 0 to 1. The memory of
        `model` must stay the same, as it does when a state is loaded."""
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._lerp = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch
        averaged = list(chain(self.model.parameters(), self.model.buffers()))
        followed = [tensor.detach() for tensor in chain(model.parameters(), model.buffers())]
        pairs = list(zip(averaged, followed, strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Follow the network; called after each step."""
        ours, theirs = zip(*self._floats, strict=True)
        self._lerp(list(ours), list(theirs), 0)
        if self._counts:
            ours, theirs = zip(*self._counts, strict=True)
            torch._foreach_copy_(list(ours), list(theirs))
