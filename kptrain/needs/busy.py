"""How busy a GPU is during consecutive steps."""

from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch

REPETITIONS = 5
"""Repetitions of each timing; the median counts."""
SECONDS = 0.3
"""Duration of each timing; at least two steps."""
FASTEST_CLOCK = 3e9
"""Cycles per second; no GPU is much faster."""
AHEAD = 2.0
"""The GPU sleeps this many times the launching time before a step."""

Step = Callable[[], object]


def busy_share(step: Step, device: torch.device) -> float:
    """The share of a step's time in which the GPU works, above 0 and at most 1: the GPU time of one
    step divided by the interval between consecutive steps. The step must have run before, so that
    kernels are found and code is compiled.
    """
    whole = median(_seconds_of_one(step, device) for _ in range(REPETITIONS))
    working = median(_seconds_on_gpu(step, device) for _ in range(REPETITIONS))
    return min(working / whole, 1.0)


def _seconds_of_one(step: Step, device: torch.device) -> float:
    """Interval between consecutive steps, with launching."""
    torch.cuda.synchronize(device)
    number, began = 0, perf_counter()
    while number < 2 or perf_counter() - began < SECONDS:
        step()
        number += 1
    torch.cuda.synchronize(device)
    return (perf_counter() - began) / number


def _seconds_on_gpu(step: Step, device: torch.device) -> float:
    """GPU time of a step, launched while the GPU sleeps so that it never waits for launches.

    If a step has more launches than CUDA queues (about 1,024), the GPU may wait for the last ones.
    The time is then too long, at most by the launching time, which leads to fewer trials on a GPU.
    A profiler would be exact, but needs CUPTI, which is not always installed.
    """
    torch.cuda.synchronize(device)
    began = perf_counter()
    step()
    launching = perf_counter() - began
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch
    torch.cuda._sleep(int(AHEAD * launching * FASTEST_CLOCK))  # type: ignore[no-untyped-call]
    begin.record()
    step()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1000
