"""What a training needs is measured by all that it does, and as it does it."""

from typing import Any

import pytest
import torch
from recorded_graph import RecordedGraph, graphs  # noqa: F401  (a fixture)

from kptrain.config import TrainConfig
from kptrain.data.pack import open_pack
from kptrain.needs import memory, pace
from kptrain.resolve import change
from kptrain.training import steps as steps_module
from kptrain.training.state import predict, take_step


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_memory_is_that_of_full_and_partial_batches_and_of_validation(
    config: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    graphs: list[RecordedGraph],  # noqa: F811  (the fixture)
    cuda_graph: bool,
) -> None:
    done: list[tuple[str, int]] = []

    def noted_step(*arguments: Any) -> torch.Tensor:
        done.append(("trained", len(arguments[1].samples)))
        return take_step(*arguments)

    def noted_predict(network: Any, batch: Any, chosen: TrainConfig) -> torch.Tensor:
        assert torch.is_inference_mode_enabled()
        assert not network.training
        done.append(("validated", len(batch.samples)))
        return predict(network, batch, chosen)

    monkeypatch.setattr(steps_module, "take_step", noted_step)
    monkeypatch.setattr(memory, "predict", noted_predict)
    monkeypatch.setattr(memory, "find_device", lambda _: torch.device("cpu"))
    chosen = change(config, {"train.cuda_graph": cuda_graph}, "test")
    assert memory.measure_memory(chosen).peak > 0
    assert done == [("trained", 3), ("trained", 3), ("trained", 2), ("validated", 3)]
    assert len(graphs) == 0  # on a CPU too few steps are taken for one


def test_of_a_batch_of_one_there_is_no_partial_one(config: TrainConfig) -> None:
    assert memory.measure_memory(change(config, {"train.batch_size": 1}, "test")).peak > 0


@pytest.mark.parametrize(
    ("said", "num_steps"),
    [
        ({"data.limit_train": 100, "train.batch_size": 8, "train.epochs": 5}, 60),
        ({"data.limit_train": 3, "train.batch_size": 8}, 0),
        ({"data.limit_train": None}, 0),
    ],
)
def test_kernels_are_searched_for_as_in_the_training_that_is_measured(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], num_steps: int
) -> None:
    asked: list[int | None] = []

    def searches(_: torch.device, number: int | None) -> bool:
        asked.append(number)
        return False

    monkeypatch.setattr(steps_module, "searches", searches)
    chosen = change(config, said, "test")
    memory.measure_memory(chosen)
    train, val = open_pack(chosen.data, "train"), open_pack(chosen.data, "val")
    pace.measure(chosen, train, val, num_steps=1234)
    assert asked == [num_steps, 1234]
