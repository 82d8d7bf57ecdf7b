"""How steps are taken: what is found once for a shape, and a step as a CUDA graph."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_graph import RecordedGraph, graphs  # noqa: F401  (a fixture)
from small_trainings import assert_equal_runs, changed, differences, resume_state, run
from tiny_network import in_place_of_resnet18

from kptrain.config import TrainConfig
from kptrain.errors import SettingsError, TrainingError
from kptrain.machine.device import describe_device, find_device
from kptrain.resolve import change
from kptrain.training import fit as stream
from kptrain.training import steps as steps_module
from kptrain.training.state import predict, take_step
from kptrain.training.steps import SEARCHED, WARM_UP, searches, uses_graph

ROOT = Path(__file__).parents[2]
CPU, GPU = torch.device("cpu"), torch.device("cuda")
UNEVEN = {"data.limit_train": 20, "optim.lr": 2.0**-10, "train.cuda_graph": "auto"}
"""Six full batches and a partial one; the rate is the same in both sizes of floats."""


@pytest.mark.slow
def test_a_replayed_training_is_the_eager_one_bit_for_bit(
    config: TrainConfig,
    tmp_path: Path,
    graphs: list[RecordedGraph],  # noqa: F811  (the fixture)
) -> None:
    replayed = change(config, UNEVEN, "test")
    run(replayed, tmp_path / "replayed")
    (graph,) = graphs
    assert graph.num_replays == 3 * 6 - WARM_UP
    run(changed(replayed, "train.cuda_graph", False), tmp_path / "eager")
    assert len(graphs) == 1
    for folder in ("replayed", "eager"):  # the one setting in which they differ
        state = torch.load(tmp_path / folder / "resume.pt", weights_only=True)
        assert state["settings"].pop("train.cuda_graph") in ("auto", False)
        torch.save(state, tmp_path / folder / "resume.pt")
        best = torch.load(tmp_path / folder / "best_keypoint_model.pth", weights_only=True)
        del best["config"]["train.cuda_graph"]
        torch.save(best, tmp_path / folder / "best_keypoint_model.pth")
    assert_equal_runs(tmp_path / "replayed", tmp_path / "eager")


RECORDED: dict[str, Any] = {
    "optim.weight_decay": 2.0**-6,
    "optim.decay_norms": False,
    "optim.clip_norm": 2.0**-7,
    "optim.backbone_lr_factor": 0.5,
    "schedule.interval": "step",
    "schedule.name": "constant",
    "schedule.warmup_steps": 8,
    "schedule.warmup_factor": 0.5,
    "train.accumulate": 2,
    "train.ema_decay": 0.75,
    "model.freeze": 1,
    "model.trunk": "resnet18",
}
"""All that a step can have; rates and factors are the same in both sizes of floats."""


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_replayed_training_with_all_that_a_step_can_have_is_the_eager_one_bit_for_bit(
    config: TrainConfig,
    tmp_path: Path,
    graphs: list[RecordedGraph],  # noqa: F811  (the fixture)
    name: str,
) -> None:
    replayed = change(config, UNEVEN | RECORDED | {"optim.name": name}, "test")
    with in_place_of_resnet18():
        run(replayed, tmp_path / "replayed")
        (graph,) = graphs
        assert graph.num_replays == 3 * 6 - WARM_UP
        run(changed(replayed, "train.cuda_graph", False), tmp_path / "eager")
    one, other = (resume_state(tmp_path / folder) for folder in ("replayed", "eager"))
    assert one.pop("settings") != other.pop("settings")  # the one in which they differ
    assert differences(one, other) == []
    assert one["averaged"]


def test_a_step_in_float16_is_not_recorded_and_the_reason_said(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = changed(config, "train.cuda_graph", "auto")
    half = changed(auto, "train.precision", "float16")
    assert uses_graph(auto, GPU)
    assert not uses_graph(half, GPU)
    monkeypatch.setattr("kptrain.machine.device.find_device", lambda _: GPU)
    monkeypatch.setattr("torch.cuda.device", lambda _: nullcontext())
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "GPU")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)
    reason = "without train.cuda_graph (because of train.precision float16)"
    assert describe_device(half) == f"GPU, float16, {reason}"
    assert describe_device(auto) == "GPU, bfloat16"
    assert describe_device(changed(half, "train.cuda_graph", False)) == "GPU, float16"


def test_a_step_that_cannot_be_recorded_is_reported_with_its_setting(
    config: TrainConfig,
    tmp_path: Path,
    graphs: list[RecordedGraph],  # noqa: F811  (the fixture)
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def waits(*arguments: Any) -> torch.Tensor:
        losses = take_step(*arguments)
        losses.item()
        return losses

    monkeypatch.setattr("kptrain.training.cuda_graph.take_step", waits)
    with pytest.raises(TrainingError, match=r"^train\.cuda_graph: a step must be recordable here"):
        run(change(config, UNEVEN, "test"), tmp_path)
    assert len(graphs) == 1


def test_a_cpu_replays_nothing_and_refuses_true(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    run(changed(config, "train.cuda_graph", "auto"), tmp_path)
    assert (tmp_path / "metrics.csv").read_bytes() == (uninterrupted / "metrics.csv").read_bytes()
    with pytest.raises(SettingsError, match=r"^train\.cuda_graph: must be auto or false where"):
        find_device(changed(config, "train.cuda_graph", True))


@pytest.mark.parametrize(
    ("device", "num_steps", "expected"),
    [
        (GPU, None, True),
        (GPU, SEARCHED, True),
        (GPU, SEARCHED - 1, False),
        (CPU, None, False),
    ],
)
def test_kernels_are_searched_for_where_many_steps_use_them(
    device: torch.device, num_steps: int | None, expected: bool
) -> None:
    assert searches(device, num_steps) == expected


def test_kernels_are_searched_for_in_full_batches_of_training_alone(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, int]] = []

    def noted(real: Callable[..., Any], index: int) -> Callable[..., Any]:
        def noting(*arguments: Any) -> Any:
            size = len(arguments[index].samples)
            seen.append((torch.backends.cudnn.benchmark, size))
            return real(*arguments)

        return noting

    monkeypatch.setattr(steps_module, "searches", lambda *_: True)
    monkeypatch.setattr(steps_module, "take_step", noted(take_step, 1))
    monkeypatch.setattr(stream, "predict", noted(predict, 1))
    run(change(config, {"data.limit_train": 8, "train.epochs": 1}, "test"), tmp_path)
    assert seen == [(True, 3), (True, 3), (False, 2), (False, 3), (False, 1)]


COMPILED_TWICE = """
import gc, sys, weakref
from functools import partial
from pathlib import Path
import torch
from kptrain.config import TrainConfig
from kptrain.machine.device import release_memory
from kptrain.training.fit import fit
from kptrain.training import fit as stream

networks = []

def backend(graph, inputs):
    print("compiled", *(len(value) for value in inputs if value.shape[1:] == (3, 64, 64)))
    return graph.forward

def started(*arguments, **options):
    training = real(*arguments, **options)
    networks.append(weakref.ref(training.model))
    return training

real, stream.start_training = stream.start_training, started
torch.compile = partial(torch.compile, backend=backend)
for number, config in enumerate(sys.argv[2:]):
    list(fit(TrainConfig.model_validate_json(config), Path(sys.argv[1]) / str(number)))
    release_memory()
    assert networks[number]() is None, "what was compiled holds the network"
"""


@pytest.mark.slow  # imports torch's compiler, in a process in which nothing checks types
def test_only_full_batches_are_compiled_once_for_all_networks_of_a_kind_which_are_let_go(
    config: TrainConfig, tmp_path: Path
) -> None:
    said = {"data.limit_train": 8, "train.epochs": 2, "train.compile": True}
    configs = [change(config, said | {"train.seed": seed}, "test") for seed in (0, 1)]
    done = subprocess.run(
        [sys.executable, "-c", COMPILED_TWICE, tmp_path, *(c.model_dump_json() for c in configs)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "compiled 3\n"


@pytest.mark.gpu
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"augment.flip": 0.5},
        *(RECORDED | {"optim.name": name} for name in ("adam", "adamw", "sgd")),
    ],
)
def test_on_a_gpu_a_replayed_training_is_nearly_the_eager_one(
    config: TrainConfig, tmp_path: Path, given: dict[str, Any]
) -> None:
    said = UNEVEN | {"train.device": "cuda", "train.precision": "float32"} | given
    replayed, eager = (
        run(change(config, said | {"train.cuda_graph": graph}, "test"), tmp_path / str(graph))
        for graph in (True, False)
    )
    for one, other in zip(replayed, eager, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-2)
        assert one.lr == other.lr


@pytest.mark.gpu
def test_on_a_gpu_a_replayed_training_resumes_from_its_state(
    config: TrainConfig, tmp_path: Path
) -> None:
    said = UNEVEN | {"train.device": "cuda", "train.precision": "float32", "train.cuda_graph": True}
    replayed = change(config, said, "test")
    whole = run(replayed, tmp_path / "whole")
    run(replayed, tmp_path / "parts", until=1)
    (second, third) = run(replayed, tmp_path / "parts", resume=True)
    assert second.train_loss == pytest.approx(whole[1].train_loss, rel=1e-3)
    assert third.train_loss == pytest.approx(whole[2].train_loss, rel=1e-3)
