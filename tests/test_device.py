"""The device of a training, and memory that does not suffice."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import changed, run

from kptrain.config import TrainConfig
from kptrain.device import explained, find_device, find_dtype, release_memory, send
from kptrain.errors import OutOfMemoryError, SettingsError, TrainingError


def test_memory_that_does_not_suffice_is_said_with_the_settings_that_decide(
    config: TrainConfig, tmp_path: Path
) -> None:
    huge = changed(config, "model.deconv_channels", [2_000_000_000] * 3)
    with pytest.raises(TrainingError, match=r"into memory, but with train\.batch_size 3"):
        run(huge, tmp_path)


@pytest.mark.parametrize(
    "told",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_a_full_gpu_is_known_by_what_its_libraries_say(config: TrainConfig, told: str) -> None:
    with (
        pytest.raises(OutOfMemoryError, match=r"must fit into memory, .* lower"),
        explained(config),
    ):
        raise RuntimeError(told)
    with pytest.raises(RuntimeError, match=r"^mat1 and mat2"), explained(config):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.slow  # imports torch's compiler
def test_releasing_memory_forgets_what_was_compiled() -> None:
    compiled = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(len(inputs))
        return graph.forward

    twice = torch.compile(lambda x: 2 * x, backend=backend)
    for _ in range(2):
        twice(torch.ones(3))
    assert len(compiled) == 1
    release_memory()
    twice(torch.ones(3))
    assert len(compiled) == 2


@pytest.mark.parametrize(
    ("device", "num_devices"),
    [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:128", 2), ("cuda:99999999999", 2)],
)
def test_a_device_that_is_not_there_is_refused(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, device: str, num_devices: int
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: num_devices)
    told = rf"^train.device: .* {device} is not there \({num_devices} CUDA devices found\); use"
    with pytest.raises(SettingsError, match=told):
        find_device(changed(config, "train.device", device))


@pytest.mark.parametrize(
    ("device", "num_devices", "found"),
    [("auto", 0, "cpu"), ("cpu", 2, "cpu"), ("auto", 2, "cuda:0"), ("cuda:1", 2, "cuda:1")],
)
def test_a_device_that_is_there_is_found(
    config: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    num_devices: int,
    found: str,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: num_devices)
    monkeypatch.setattr("torch.cuda.is_available", lambda: num_devices > 0)
    assert find_device(changed(config, "train.device", device)) == torch.device(found)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_on_a_cpu_activations_are_float32_unless_said_otherwise(
    config: TrainConfig, precision: str, dtype: torch.dtype
) -> None:
    chosen = changed(config, "train.precision", precision)
    assert find_dtype(chosen, torch.device("cpu")) == dtype


@pytest.mark.parametrize(("has_bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_on_a_gpu_auto_is_bfloat16_where_the_gpu_has_it(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, has_bf16: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: has_bf16)
    assert find_dtype(config, torch.device("cuda")) == dtype


@pytest.mark.gpu
def test_what_is_sent_to_a_gpu_arrives_though_the_array_is_overwritten_at_once() -> None:
    for number in range(200):
        array = np.full(100_000, number)
        sent = send(array, torch.device("cuda"))
        array[:] = -1
        assert bool((sent == number).all())
