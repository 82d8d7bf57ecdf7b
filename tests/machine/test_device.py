"""The device of a training, and memory that does not suffice."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from small_trainings import changed, run

from kptrain.config import TrainConfig
from kptrain.errors import OutOfMemoryError, SettingsError, TrainingError
from kptrain.machine.device import (
    describe_device,
    explained,
    find_device,
    find_dtype,
    send,
    use,
)

ROOT = Path(__file__).parents[2]


def test_too_little_memory_is_reported_with_the_settings_that_decide(
    config: TrainConfig, tmp_path: Path
) -> None:
    huge = changed(config, "model.deconv_channels", [2_000_000_000] * 3)
    with pytest.raises(TrainingError, match=r"into memory, but with train\.batch_size 3"):
        run(huge, tmp_path)


@pytest.mark.parametrize(
    "told",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be",
        "CUDA driver error: out of memory",
        "Triton Error [CUDA]: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        "GET was unable to find an engine to execute this computation",
        "FIND was unable to find an engine to execute this computation",
    ],
)
def test_a_full_gpu_is_recognised_by_the_messages_of_its_libraries(
    config: TrainConfig, told: str
) -> None:
    with (
        pytest.raises(OutOfMemoryError, match=r"must fit into memory, .* lower"),
        explained(config),
    ):
        raise RuntimeError(told)
    with pytest.raises(RuntimeError, match=r"^mat1 and mat2"), explained(config):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_a_full_gpu_is_recognised_though_the_end_of_a_recording_fails_after_it(
    config: TrainConfig,
) -> None:
    def record() -> None:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error in capture")

    with pytest.raises(OutOfMemoryError, match="must fit into memory"), explained(config):
        record()


def test_what_was_not_to_be_recorded_does_not_fail_for_a_recording(config: TrainConfig) -> None:
    with pytest.raises(RuntimeError, match=r"^the picture was captured$"), explained(config):
        raise RuntimeError("the picture was captured")


def test_a_gpu_is_selected_by_its_index_and_one_without_is_current(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    selected: list[torch.device] = []
    monkeypatch.setattr("torch.cuda.set_device", selected.append)
    for name in ("cpu", "cuda", "cuda:1"):
        use(torch.device(name))
    assert selected == [torch.device("cuda:1")]


def test_the_gpu_that_is_described_is_the_one_that_is_asked_what_it_has(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = torch.device("cuda:0")

    @contextmanager
    def selected(device: torch.device) -> Iterator[None]:
        nonlocal current
        before, current = current, device
        yield
        current = before

    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.device", selected)
    monkeypatch.setattr("torch.cuda.get_device_name", str)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: current.index == 1)
    for number, dtype in enumerate(("float32", "bfloat16")):
        chosen = changed(config, "train.device", f"cuda:{number}")
        assert describe_device(chosen) == f"cuda:{number}, {dtype}"
    assert current.index == 0


@pytest.mark.parametrize(
    ("device", "num_devices"),
    [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:128", 2), ("cuda:99999999999", 2)],
)
def test_a_device_that_is_not_there_is_refused(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, device: str, num_devices: int
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: num_devices)
    told = rf"^train.device: .* {device} does not exist \({num_devices} CUDA devices found\); use"
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
    [
        ("auto", torch.float32),
        ("float32", torch.float32),
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float16),
    ],
)
def test_on_a_cpu_activations_are_float32_unless_bfloat16_is_given(
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


PAGES = """
import resource, sys, torch
from kptrain.machine.device import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_freed_memory()
def use():
    for _ in range(20):
        tensors = [torch.ones(4_000_000) for _ in range(3)]
        del tensors
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc is not the C library here")
def test_memory_that_was_freed_is_not_asked_for_anew() -> None:
    # Left to itself, glibc gives back or keeps as its thresholds happen to have moved.
    giving = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    faults = {}
    for way in ("given back", "kept"):
        command = [sys.executable, "-c", PAGES, way]
        faults[way] = int(subprocess.check_output(command, cwd=ROOT, env=os.environ | giving))
    assert faults["kept"] < 0.1 * faults["given back"]
