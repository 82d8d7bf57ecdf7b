"""1, 2, 4 and 8 trainings side by side, each with the real pipeline: without and with MPS.

Each is a process, and all are started once. In each round as many of them train as the round says,
and the others wait, which holds memory of the GPU and no time. cuDNN does not search for kernels:
eight searches at once would time each other.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import torch

from bench.gpu.run import Run
from bench.gpu.running import GRACE, SPAWN
from bench.gpu.steps import WARM_UP, WAYS, stepper, ways_here
from bench.gpu.timing import synchronize
from kptrain.config import TrainConfig
from kptrain.data.pack import open_pack
from kptrain.machine.device import find_device
from kptrain.resolve import change
from kptrain.training.batches import batches

COUNTS = (1, 2, 4, 8)
SMALL_COUNTS = (1, 2)
BATCH_SIZE = 8
SECONDS = 4
"""Of a round, in measurements of other parts."""
PATIENCE = 60.0
"""Seconds after which a round that does not end is given up."""
PROMPT = GRACE - 1
"""Seconds in which the daemon must answer; less than a part has to end in."""
MANY = 2**20
"""Samples drawn; more than any round trains on."""


@dataclass(frozen=True)
class Round:
    """What one process trained in a round."""

    way: str
    count: int
    images_a_second: float
    held: int
    """Bytes of the GPU."""
    error: str


def measure(run: Run) -> None:
    ways = tuple(ways_here(run, ("eager", "graph")))
    counts = SMALL_COUNTS if run.is_small else COUNTS
    open_pack(run.config(BATCH_SIZE).data, "train")  # drawn and packed before any process is
    run.attempt("without MPS", partial(side_by_side, run, ways, counts, "without MPS"))
    with mps_daemon() as why_not:
        if why_not:
            run.row("with MPS", f"skipped: {why_not}")
        else:
            run.attempt("with MPS", partial(side_by_side, run, ways, counts, "with MPS"))


def side_by_side(run: Run, ways: tuple[str, ...], counts: tuple[int, ...], told: str) -> None:
    """All rounds of as many processes as the largest has.

    Raises: RuntimeError if one of them fails.
    """
    barrier, found = SPAWN.Barrier(max(counts)), SPAWN.Queue()
    config = run.config(BATCH_SIZE)
    common = (config, ways, counts, SECONDS * run.seconds, barrier, found)
    processes = [SPAWN.Process(target=trains, args=(i, *common)) for i in range(max(counts))]
    for process in processes:
        process.start()
    try:
        waiting: dict[tuple[str, int], list[Round]] = defaultdict(list)
        for _ in range(len(ways) * sum(counts)):
            got = found.get(timeout=PATIENCE)
            if got.error:
                raise RuntimeError(got.error)
            together = waiting[got.way, got.count]
            together.append(got)
            if len(together) == got.count:
                one_round(run, together, told)
    finally:
        for process in processes:
            process.join(5)
            process.kill()


def one_round(run: Run, rounds: list[Round], told: str) -> None:
    """The row of a round."""
    way, count = rounds[0].way, rounds[0].count
    each = [one.images_a_second for one in rounds]
    said = f"{sum(each):,.0f} images/s in all, {min(each):,.0f} to {max(each):,.0f} each"
    held = max(one.held for one in rounds)
    if run.device.type == "cuda":
        said += f", at most {held / 1e9:.2f} GB held by one, without cuDNN's search"
    what = f"{count} at once, batch {BATCH_SIZE}, {way}, {told}"
    run.row(what, said, count=count, way=way, told_with=told, images_a_second=sum(each), held=held)


def trains(
    number: int,
    config: TrainConfig,
    ways: tuple[str, ...],
    counts: tuple[int, ...],
    seconds: float,
    barrier: Barrier,
    found: "Queue[Round]",
) -> None:
    """One process: train in each round that has more than `number` processes."""
    torch.set_num_threads(1)
    try:
        for way in ways:
            steps = endless(change(config, WAYS[way], "bench.gpu"))
            for _ in range(WARM_UP):
                next(steps)
            for count in counts:
                synchronize()
                barrier.wait(PATIENCE)
                if number < count:
                    rate = rate_within(steps, seconds, config.train.batch_size)
                    found.put(Round(way, count, rate, _held(), ""))
                barrier.wait(PATIENCE)
            steps.close()
    except Exception as error:  # as out of memory; the others must not wait
        found.put(Round("", 0, 0.0, 0, f"{type(error).__name__}: {error}"))
        barrier.abort()


def endless(config: TrainConfig) -> Generator[None, None, None]:
    """Steps with the real pipeline, one each time that it is asked."""
    device = find_device(config)
    pack = open_pack(config.data, "train")
    steps = stepper(config, device, pack.most_persons, searches=False)
    order = np.random.default_rng(os.getpid()).integers(0, len(pack), MANY)
    for batch in batches(pack, order, config.train.batch_size, device):
        steps(batch)
        yield


def rate_within(steps: Iterator[None], seconds: float, size: int) -> float:
    """Images a second; the pipeline's buffers keep the host from running far ahead of a GPU."""
    started = time.perf_counter()
    images = 0
    while time.perf_counter() - started < seconds:
        next(steps)
        images += size
    synchronize()
    return images / (time.perf_counter() - started)


def _held() -> int:
    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0


@contextmanager
def mps_daemon() -> Iterator[str]:
    """NVIDIA's Multi-Process Service while the block runs; yields why it does not, else nothing."""
    if shutil.which("nvidia-cuda-mps-control") is None:
        yield "no nvidia-cuda-mps-control on this machine"
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        places = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        os.environ.update(places)
        why_not = ""
        try:
            why_not = _control(Path(folder), "-d")
            yield why_not
        finally:
            if not why_not:  # also where it did not answer, or the part was ended meanwhile
                _control(Path(folder), told="quit\n")
            for name in places:
                del os.environ[name]


def _control(folder: Path, *options: str, told: str | None = None) -> str:
    """Tell the daemon something; returns why it refuses, else nothing.

    What is said goes to a file: the daemon keeps what it inherits, so that a pipe would not end.
    Raises: subprocess.TimeoutExpired if it does not answer.
    """
    command = ["nvidia-cuda-mps-control", *options]
    stdin = {"stdin": subprocess.DEVNULL} if told is None else {"input": told}
    with (folder / "control.txt").open("w+", encoding="utf-8") as said:
        done = subprocess.run(
            command, stdout=said, stderr=said, text=True, check=False, timeout=PROMPT, **stdin
        )
        said.seek(0)
        words = " ".join(said.read().split())
    return (words or f"ended with {done.returncode}") if done.returncode else ""
