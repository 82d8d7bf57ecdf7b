"""The steps of a training: eager, compiled, or replayed as one CUDA graph.

Work that is done once per shape (cuDNN's search for kernels, compilation, recording) is done only
for full batches of training. Partial batches and validation are few, and do without.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from kptrain.config import TrainConfig
from kptrain.machine.device import not_recorded, num_threads
from kptrain.training.batches import Batch
from kptrain.training.cuda_graph import GraphStep
from kptrain.training.state import Training, take_step

WARM_UP = 3
"""Steps before the recording: they create the optimizer's moments, find kernels and compile."""
SEARCHED = 2000
"""Least number of steps for which cuDNN searches for the fastest kernels. A guess, not measured:
the search takes seconds, and saves about a tenth of a step of 20 to 30 ms."""
MOST_COMPILED = 64
"""Shapes and networks that torch keeps compiled in a process; beyond that it runs eagerly."""


class Steps:
    """The steps of one training. A call with a batch runs `take_step` and returns its result."""

    def __init__(
        self,
        training: Training,
        config: TrainConfig,
        *,
        num_persons: int,
        num_steps: int | None = None,
    ) -> None:
        """num_persons: the most of one sample. num_steps: steps with a full batch in the training;
        None: enough for cuDNN to search."""
        self._training = training
        self._config = config
        self._device = next(training.model.parameters()).device
        self._searches = searches(self._device, num_steps)
        self._network = _compiled(training, config) if config.train.compile else training.model
        self._num_full = 0
        self._graph = None
        if uses_graph(config, self._device):
            self._graph = GraphStep(training, config, self._network, num_persons, self._device)

    def __call__(self, batch: Batch) -> torch.Tensor:
        if len(batch.samples) < self._config.train.batch_size:
            return take_step(self._training, batch, self._config)
        losses = self._full(batch)
        self._num_full += 1
        if self._num_full == 1 and self._device.type == "cuda":
            _release_search_memory(self._device)
        return losses

    def _full(self, batch: Batch) -> torch.Tensor:
        if self._graph is None:
            return self._eagerly(batch)
        if self._num_full < WARM_UP:
            return self._graph.warm_up(partial(self._eagerly, batch))
        return self._graph(batch)

    def _eagerly(self, batch: Batch) -> torch.Tensor:
        with kernels_searched(self._searches):
            return take_step(self._training, batch, self._config, self._network)


def searches(device: torch.device, num_steps: int | None) -> bool:
    """Whether cuDNN should search for kernels, given the number of steps; None: many."""
    return device.type == "cuda" and (num_steps is None or num_steps >= SEARCHED)


def uses_graph(config: TrainConfig, device: torch.device) -> bool:
    """Whether the steps are replayed as a CUDA graph."""
    return bool(config.train.cuda_graph) and device.type == "cuda" and not not_recorded(config)


@contextmanager
def kernels_searched(searches: bool) -> Iterator[None]:
    """Let cuDNN search for the fastest kernels of new shapes within the block."""
    torch.backends.cudnn.benchmark = searches
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = False


def _compiled(training: Training, config: TrainConfig) -> Callable[..., torch.Tensor]:
    """The compiled network for batches of one shape; later networks of the kind reuse its code."""
    # Both take seconds to import.
    from torch._dynamo import config as dynamo  # noqa: PLC0415
    from torch._inductor import config as inductor  # noqa: PLC0415

    dynamo.recompile_limit = MOST_COMPILED
    inductor.compile_threads = num_threads(config.train.threads)
    network: Callable[..., torch.Tensor] = torch.compile(training.model, dynamic=False)
    return network


def _release_search_memory(device: torch.device) -> None:
    """Free the memory of kernels that only the search in the first step tried."""
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
