"""What the device can do at all: no training can be faster than these allow."""

import os
from collections.abc import Callable

import torch

from bench.gpu.predicted import COPY_TB, PRODUCT_TFLOP
from bench.gpu.run import Run
from bench.gpu.timing import host_seconds, rate_of, seconds_each


def measure(run: Run) -> None:
    if run.device.type == "cuda":
        run.attempt("device", lambda: describe(run))
    run.attempt("copy", lambda: copy(run))
    run.attempt("product", lambda: product(run))
    if run.device.type == "cuda":
        run.attempt("host", lambda: host(run))
    run.attempt("launch", lambda: launch(run))


def describe(run: Run) -> None:
    free, total = torch.cuda.mem_get_info()
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]  # torch
    text = (
        f"{processors} multiprocessors, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, cuDNN "
        f"{cudnn}, {len(os.sched_getaffinity(0))} cores"
    )
    run.row("device", text, free=free, total=total)


def copy(run: Run) -> None:
    """Within the device's memory; a byte that is read and one that is written are two."""
    source = torch.randn(2**22 if run.is_small else 2**29, device=run.device)
    into = torch.empty_like(source)
    seconds = seconds_each(lambda: into.copy_(source), run.seconds)
    _rate(run, "copy", 2 * source.nbytes / 1e12, seconds, "TB/s", COPY_TB)


def product(run: Run) -> None:
    """Of two square matrices in bfloat16."""
    side = 512 if run.is_small else 8192
    matrix = torch.randn(side, side, device=run.device, dtype=torch.bfloat16)
    seconds = seconds_each(lambda: matrix @ matrix, run.seconds)
    _rate(run, "bfloat16 product", 2 * side**3 / 1e12, seconds, "TFLOP/s", PRODUCT_TFLOP)


def host(run: Run) -> None:
    """From pinned memory to the device, and back to memory that is not pinned."""
    pinned = torch.empty(2**27, dtype=torch.uint8, pin_memory=True)
    there = torch.empty_like(pinned, device=run.device)
    ways: dict[str, Callable[[], object]] = {
        "pinned host to device": lambda: there.copy_(pinned, non_blocking=True),
        "device to pinned host": lambda: pinned.copy_(there, non_blocking=True),
        "device to pageable host": there.cpu,
    }
    for name, way in ways.items():
        _rate(run, name, pinned.nbytes / 1e9, seconds_each(way, run.seconds), "GB/s")


def launch(run: Run) -> None:
    """What the host takes to launch the smallest operation."""
    one = torch.zeros(1, device=run.device)
    host_seconds(lambda: one.add_(1), 100)
    micros = 1e6 * host_seconds(lambda: one.add_(1), 2000)
    run.row("launch of an operation", f"{micros:.1f} us", us=micros)


def _rate(
    run: Run, what: str, work: float, seconds: list[float], unit: str, expected: float | None = None
) -> None:
    middle, low, high = rate_of(work, seconds)
    text = f"{middle:,.3g} ({low:,.3g} to {high:,.3g}) {unit}"
    if expected is not None and not run.is_small:
        text += f"; predicted {expected:g}"
    run.row(what, text, rate=middle, unit=unit)
