"""Seconds from idle to idle, of a GPU or of a CPU."""

import gc
import time
from collections.abc import Callable
from statistics import median

import torch

REPETITIONS = 3


def synchronize() -> None:
    """Wait until the GPU, if there is one, has done all that it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def release() -> None:
    """Give back what was held by what is not used any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def seconds_each(step: Callable[[], object], least: float) -> list[float]:
    """Seconds of one step, measured three times for at least so many seconds each."""
    seconds_once(step)
    number = max(int(least / seconds_once(step)), 3)
    return [_several(step, number) / number for _ in range(REPETITIONS)]


def seconds_once(step: Callable[[], object]) -> float:
    """Seconds of a single step; of the first, with all that has to be found or built for it."""
    return _several(step, 1)


def _several(step: Callable[[], object], number: int) -> float:
    synchronize()
    started = time.perf_counter()
    for _ in range(number):
        step()
    synchronize()
    return time.perf_counter() - started


def host_seconds(step: Callable[[], object], number: int = 10) -> float:
    """Seconds that the host takes to launch a step, the median of several. The GPU is idle before
    each: CUDA queues some 1,024 launches, and beyond those the host waits for the GPU."""
    seconds = median(_launching(step) for _ in range(number))
    synchronize()
    return seconds


def _launching(step: Callable[[], object]) -> float:
    synchronize()
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def rate_of(work: float, seconds: list[float]) -> tuple[float, float, float]:
    """Of some work in these times: its median, least and greatest a second."""
    return work / median(seconds), work / max(seconds), work / min(seconds)
