"""The device that a training runs on, and its memory."""

import ctypes
import gc
import resource
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch

from kptrain.config import TrainConfig
from kptrain.errors import OutOfMemoryError, SettingsError, TrainingError
from kptrain.machine.cores import usable_cores

OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "Triton Error [CUDA]: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "unable to find an engine",
)
"""Texts of errors that mean a full GPU where torch does not raise its own exception for that: a
library without room for its handle is not initialised, and cuDNN finds no engine whose workspace
fits."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Source: malloc.h of glibc."""


def find_device(config: TrainConfig) -> torch.device:
    """The device that `train.device` names.

    Raises: SettingsError if it does not exist, or `train.cuda_graph` is true on a CPU.
    """
    device = named_device(config.train.device, "train.device")
    if config.train.cuda_graph is True and device.type != "cuda":
        raise SettingsError(
            f"train.cuda_graph: must be auto or false where training is not on a GPU, but got true "
            f"with {device}; set it to auto"
        )
    return device


def named_device(name: str, where: str) -> torch.device:
    """The device of a name: `auto` (CUDA where there is a GPU), `cpu`, `cuda` or `cuda:N`.

    Raises: SettingsError naming `where` it was given.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, colon, number = name.partition(":")
    if name == "cpu":
        return torch.device("cpu")
    if kind != "cuda" or bool(colon) != number.isdecimal():
        raise SettingsError(f"{where}: must be auto, cpu, cuda or cuda:N, but got {name!r}")
    index = int(number or 0)  # torch.device would read cuda:128 as cuda:-128
    if index >= torch.cuda.device_count():
        raise SettingsError(
            f"{where}: must be a device of this machine, but {name} does not exist "
            f"({torch.cuda.device_count()} CUDA devices found); use auto or cpu"
        )
    return torch.device("cuda", index)


def use(device: torch.device) -> None:
    """Have a GPU be the one that is meant where none is named, in this thread. Else what is pinned
    or waited for would take memory of the first one. A device without an index is that one already.
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def find_dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    """The dtype of the activations that `train.precision` asks for."""
    if config.train.precision != "auto":
        return DTYPES[config.train.precision]
    is_fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if is_fast else torch.float32


def not_recorded(config: TrainConfig) -> str:
    """The setting with which steps are not recorded as a CUDA graph; empty if there is none."""
    return "train.precision float16" if config.train.precision == "float16" else ""


def set_exactness(config: TrainConfig, device: torch.device) -> None:
    """Forbid cuDNN, for the whole process, to compute float32 as TF32."""
    with warnings.catch_warnings():
        # Torch 2.9 warns of this name, 2.11 does not. With the newer name, torch's own code that
        # reads this one raises an error (up to 2.15).
        warnings.filterwarnings("ignore", "Please use the new API settings", UserWarning)
        torch.backends.cudnn.allow_tf32 = find_dtype(config, device) != torch.float32


def describe_device(config: TrainConfig) -> str:
    """The device and dtype in words, as far as they matter to who compares two trainings."""
    device = find_device(config)
    is_cuda = device.type == "cuda"
    with torch.cuda.device(device) if is_cuda else nullcontext():  # torch asks the current one
        dtype = str(find_dtype(config, device)).removeprefix("torch.")
    if is_cuda:
        name = f"{torch.cuda.get_device_name(device)}, {dtype}"
        reason = not_recorded(config) if config.train.cuda_graph else ""
        return f"{name}, without train.cuda_graph (because of {reason})" if reason else name
    return f"cpu, {num_threads(config.train.threads)} threads, {dtype}"


def num_threads(given: int | None = None) -> int:
    """Threads for torch. None: its default, which ignores quotas, but at most the usable cores."""
    return given or min(torch.get_num_threads(), usable_cores())


def send(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy a small array to the device without waiting for the GPU's queue."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # torch keeps the pinned copy until it is read
    return tensor.to(device, non_blocking=True)


def peak_memory(device: torch.device) -> int:
    """Peak bytes: reserved by torch on a GPU since its statistics were reset; on a CPU, of the
    process so far.

    Reserved, not allocated, bytes: a trial's share of a GPU limits these, and they include the
    memory that a CUDA graph keeps.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would include the parent's memory at the fork
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def keep_freed_memory() -> None:
    """Make glibc keep freed memory, for the whole process; does nothing with another C library.

    Otherwise every step requests the memory of large tensors from the system again, which takes
    about 5 % of an epoch on a CPU. Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, num_bytes in ((M_MMAP_THRESHOLD, 2**25), (M_TRIM_THRESHOLD, 2**31 - 1)):
            mallopt(name, num_bytes)


def release_memory() -> None:
    """Free the memory of a training that has ended, for the next one.

    Compiled code stays, for the next network of the same kind.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def explained(config: TrainConfig) -> Iterator[None]:
    """Translate torch's errors into errors that name the settings responsible.

    Raises: OutOfMemoryError if the memory does not suffice; TrainingError if the network cannot be
    compiled, or a step cannot be recorded as a CUDA graph.
    """
    try:
        yield
    except RuntimeError as error:
        reason = _first_line(error)
        if _is_out_of_memory(error):
            raise OutOfMemoryError(
                f"the training must fit into memory, but with train.batch_size "
                f"{config.train.batch_size}, data.image_size {list(config.data.image_size)} and "
                f"model.trunk {config.model.trunk} does not ({reason}); lower one of them, "
                f"or raise train.accumulate ({config.train.accumulate})"
            ) from None
        # As CUDA and torch call the recording of a graph.
        if config.train.cuda_graph and "captur" in str(error):
            raise TrainingError(
                f"train.cuda_graph: a step must be recordable here, but is not ({reason}); set "
                f"train.cuda_graph to false"
            ) from None
        if config.train.compile and type(error).__module__.startswith("torch._"):
            raise TrainingError(
                f"train.compile: the network must be compilable here, but is not ({reason}); "
                f"install a C++ compiler, or set train.compile to false"
            ) from None
        raise


@contextmanager
def enough_memory(device: torch.device) -> Iterator[None]:
    """Raises: OutOfMemoryError if a device's memory does not suffice to predict on it."""
    try:
        yield
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"--device: must have memory for a batch, but {device} has not ({_first_line(error)}); "
            f"wait until it is free, or give --device cpu"
        ) from None


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Also if a full GPU is the cause of another error, as during the recording of a graph."""
    if error is None:
        return False
    has_text = isinstance(error, RuntimeError) and any(w in str(error) for w in OUT_OF_MEMORY)
    is_one = has_text or isinstance(error, torch.OutOfMemoryError)
    return is_one or _is_out_of_memory(error.__context__)


def _first_line(error: RuntimeError) -> str:
    return " ".join(str(error).partition("\n")[0].split()[:40])
