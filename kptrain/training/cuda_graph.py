"""A whole training step as one CUDA graph: about 670 launches become one.

With small batches the host launches kernels more slowly than the GPU runs them. A graph repeats a
step with the addresses and numbers of its recording, so everything that changes between steps is
kept in permanent tensors: the batch, padded to a fixed number of persons, and the learning rates.

Source: PyTorch's notes on CUDA semantics, section on CUDA graphs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch

from kptrain.config import TrainConfig
from kptrain.training.batches import Batch
from kptrain.training.state import Training, take_step

T = TypeVar("T")

RECORDED = ("lr", "capturable")
"""What is different in a group of weights while a step is recorded."""


class GraphStep:
    """The step of a full batch: recorded the first time, then replayed."""

    def __init__(
        self,
        training: Training,
        config: TrainConfig,
        network: Callable[..., torch.Tensor],
        num_persons: int,
        device: torch.device,
    ) -> None:
        """network: the training's, or its compiled version; num_persons: the most of any sample.

        Steps must have run before the first call, with `warm_up`.
        """
        self._training = training
        self._config = config
        self._network = network
        self._num_persons = num_persons
        groups = training.optimizer.param_groups
        self._rates = [torch.zeros((), device=device) for _ in groups]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch

    def __call__(self, batch: Batch) -> torch.Tensor:
        groups = self._training.optimizer.param_groups
        for rate, group in zip(self._rates, groups, strict=True):
            rate.fill_(group["lr"])
        if self._graph is None:
            self._graph = self._record(batch)
        else:
            _fill(self._batch, batch)
        self._graph.replay()
        return self._losses.clone()

    def warm_up(self, job: Callable[[], T]) -> T:
        """Run a job on the stream on which the step will be recorded."""
        here = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            result = job()
        here.wait_stream(self._stream)
        return result

    def _record(self, batch: Batch) -> Any:
        """Record the step without running it. Other threads may wait for the GPU meanwhile."""
        self._batch = _padded(batch, self._num_persons)
        graph = torch.cuda.CUDAGraph()
        with (
            _capturable(self._training.optimizer, self._rates),
            torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            self._losses = take_step(self._training, self._batch, self._config, self._network)
        return graph


@contextmanager
def _capturable(optimizer: torch.optim.Optimizer, rates: list[torch.Tensor]) -> Iterator[None]:
    """Make the optimizer read the learning rate of each group from a tensor; the schedule needs
    numbers."""
    groups = optimizer.param_groups
    before = [{name: group[name] for name in RECORDED if name in group} for group in groups]
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
        if "capturable" in group:  # SGD is so as it is
            group["capturable"] = True
    try:
        yield
    finally:
        for group, values in zip(groups, before, strict=True):
            group.update(values)


def _padded(batch: Batch, num_persons: int) -> Batch:
    """A copy that is padded to `num_persons` with unlabelled persons."""
    num, present, joints, two = batch.joints.shape
    absent = num_persons - present
    return replace(
        batch,
        images=batch.images.clone(memory_format=torch.preserve_format),
        joints=torch.cat((batch.joints, batch.joints.new_zeros(num, absent, joints, two)), 1),
        labelled=torch.cat((batch.labelled, batch.labelled.new_zeros(num, absent, joints)), 1),
        mask=batch.mask.clone(),
    )


def _fill(buffers: Batch, batch: Batch) -> None:
    """Copy a batch into permanent tensors."""
    buffers.labelled.zero_()
    for field in fields(Batch):
        tensor = getattr(batch, field.name)
        if isinstance(tensor, torch.Tensor):
            place = getattr(buffers, field.name)
            is_of_persons = field.name in ("joints", "labelled")
            (place[:, : tensor.shape[1]] if is_of_persons else place).copy_(tensor)
