"""How busy a GPU is with steps that follow each other: of more than fill its time, some wait."""

from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch

REPETITIONS = 5
"""Of what is timed; the median counts."""
SECONDS = 0.3
"""For which steps follow each other each time, two at least."""
FASTEST_CLOCK = 3e9
"""Cycles a second that no GPU exceeds by much."""
AHEAD = 2.0
"""How many times as long as its launches take the GPU sleeps before a step."""

Step = Callable[[], object]


def busy_share(step: Step, device: torch.device) -> float:
    """The share of a step's time in which the GPU works, above 0 and at most 1, where steps follow
    each other: the time of all that one launches, over the time from one to the next. For steps
    that have been taken before, so that nothing is searched or compiled any more.
    """
    whole = median(_seconds_of_one(step, device) for _ in range(REPETITIONS))
    working = median(_seconds_on_gpu(step, device) for _ in range(REPETITIONS))
    return min(working / whole, 1.0)


def _seconds_of_one(step: Step, device: torch.device) -> float:
    """From one step to the next, launching included."""
    torch.cuda.synchronize(device)
    number, began = 0, perf_counter()
    while number < 2 or perf_counter() - began < SECONDS:
        step()
        number += 1
    torch.cuda.synchronize(device)
    return (perf_counter() - began) / number


def _seconds_on_gpu(step: Step, device: torch.device) -> float:
    """Of a step that is launched while the GPU sleeps, so that it does not wait for launches.

    Of a step with more launches than CUDA queues (some 1,024) the GPU may wait for the last ones:
    the time is then too long, by what launching them takes at most, which errs towards fewer trials
    on a GPU. A profiler would not err so, but needs CUPTI, which is not everywhere.
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
