"""CUDA's graphs, played on a CPU: the operations of a block are noted instead of carried out, and
each replay carries them out on the same tensors with the same numbers.

So what a recorded step wrongly takes from Python (a number, a new tensor) is as frozen as on a GPU,
and what CUDA does not allow meanwhile is refused: to wait for a value, or to send an array.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

REFUSED = "CUDA error: operation not permitted when stream is capturing"


class RecordedGraph:
    """In place of `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.num_replays = 0

    def replay(self) -> None:
        self.num_replays += 1
        with torch.no_grad():
            for operation, arguments, options, result in self.operations:
                again = operation(*arguments, **options)
                if not operation._schema.is_mutable:
                    for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                        if isinstance(old, torch.Tensor):
                            old.copy_(new)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch
    def __init__(self, graph: RecordedGraph) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch
        self._graph = graph
        self._before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        if operation is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError(REFUSED)
        # Of all arguments: batch normalisation does not say that it changes some.
        for leaf in tree_leaves((arguments, options)):
            if isinstance(leaf, torch.Tensor) and id(leaf) not in self._before:
                self._before[id(leaf)] = (leaf, leaf.clone())
        result = operation(*arguments, **(options or {}))
        if not operation.is_view:
            self._graph.operations.append((operation, arguments, options or {}, result))
        return result

    def undo(self) -> None:
        """As if nothing had run."""
        with torch.no_grad():
            for tensor, before in reversed(self._before.values()):
                if not torch.equal(tensor, before):
                    tensor.copy_(before)


@contextmanager
def _graph(graph: RecordedGraph, **_: Any) -> Iterator[None]:
    recorder = _Recorder(graph)
    with recorder, patch("kptrain.training.batches.send", side_effect=RuntimeError(REFUSED)):
        yield
    recorder.undo()


class _Stream:
    device = torch.device("cpu")

    def __init__(self, *_: Any) -> None:
        pass

    def wait_stream(self, other: "_Stream") -> None:
        pass


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[RecordedGraph]:
    """Have `train.cuda_graph` record and replay on the CPU; the graphs that were made."""
    made: list[RecordedGraph] = []

    def new() -> RecordedGraph:
        made.append(RecordedGraph())
        return made[-1]

    monkeypatch.setattr("torch.cuda.CUDAGraph", new)
    monkeypatch.setattr("torch.cuda.graph", _graph)
    monkeypatch.setattr("torch.cuda.Stream", _Stream)
    monkeypatch.setattr("torch.cuda.stream", lambda _: nullcontext())
    monkeypatch.setattr("torch.cuda.current_stream", _Stream)
    monkeypatch.setattr(
        "kptrain.training.steps.uses_graph", lambda config, _: config.train.cuda_graph
    )
    return made
