"""Parts one after the other, each in a process of its own that is ended when its time is over.

So a hang or a crash of CUDA costs the part in which it happens, and a GPU is free again after each.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess

import torch

from bench.gpu.run import Run

SPAWN = multiprocessing.get_context("spawn")
GRACE = 4.0
"""Seconds of a part's time in which it may end by itself after it was told to."""


@dataclass(frozen=True)
class Part:
    """What a process of its own measures, within its time."""

    name: str
    seconds: float
    """At most, its start included."""
    measure: Callable[[Run], None]
    answers: str
    """The question, in a few words."""


def run_parts(parts: Sequence[Part], run: Run, scale: float = 1.0) -> None:
    """Run all, each in `scale` of its time; what one leaves of it, the later ones may take."""
    end = time.monotonic()
    for part in parts:
        end += scale * part.seconds
        run_part(part, replace(run, part=part.name), end - time.monotonic())


def run_part(part: Part, run: Run, seconds: float) -> None:
    """Run one, and say what became of it unless it came to its end."""
    started = time.monotonic()
    process = SPAWN.Process(target=_measure, args=(part.measure, run))
    process.start()
    try:
        process.join(max(seconds - GRACE, 0))
        is_late = process.exitcode is None
        if is_late:
            _end(process, signal.SIGTERM)
            process.join(GRACE)
    finally:  # an interrupted bench, too, leaves nothing behind
        if process.exitcode != 0:
            _end(process, signal.SIGKILL)
            process.join(GRACE)
    took = time.monotonic() - started
    if is_late:
        run.row("whole part", f"ended when its {seconds:.0f} s were over", failed=True)
    elif process.exitcode:
        run.row("whole part", f"FAILED: {_ending(process.exitcode)}", failed=True)
    run.note("whole part", f"took {took:.0f} of at most {seconds:.0f} s", took=took)


def _measure(measure: Callable[[Run], None], run: Run) -> None:
    os.setsid()  # so that all that it starts can be ended with it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was begun is ended in order
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # as trials on a CPU have
    try:
        measure(run)
    except Exception as error:  # of any kind: its row says it, and the next part runs
        run.failed("whole part", error)


def _end(process: BaseProcess, number: signal.Signals) -> None:
    """Send a signal to a process and to all that it started."""
    assert process.pid is not None
    with suppress(ProcessLookupError):  # it ended just now, or does not lead its group yet
        os.killpg(process.pid, number)
        return
    if process.exitcode is None:
        process.kill()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def gpu_name() -> str | None:
    """The name of the GPU, asked for in a process that ends, as asking holds memory of it."""
    with SPAWN.Pool(1) as pool:
        return pool.apply(_gpu_name)


def _gpu_name() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
