"""Trials an hour on CPUs: one trial on each core, against one at a time on all of them.

Trainings of the embedded set side by side in processes of their own, without Ray; the rate is that
of all together, once every process has trained an epoch.
"""

import multiprocessing
import os
import tempfile
import time
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path

from bench.measure import parse_arguments, ratio, record, show, spread
from kptrain.data.pack import open_pack
from kptrain.resolve import resolve
from kptrain.training.fit import fit

EPOCHS = 3


def train(threads: int, run_dir: str, barrier: Barrier) -> None:
    """One epoch to warm up, then all processes at once."""
    said = {"data.root": "embedded", "train.threads": threads, "train.device": "cpu"}
    config = resolve(said | {"train.epochs": EPOCHS + 1}, "bench")
    with closing(fit(config, Path(run_dir))) as reports:
        next(reports)
        barrier.wait()
        for _ in reports:
            pass
    barrier.wait()


def seconds_each(at_once: int, threads: int) -> float:
    """Seconds for an epoch of one training, if so many run at once, divided by their number."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(at_once + 1)
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            spawn.Process(target=train, args=(threads, f"{folder}/{n}", barrier))
            for n in range(at_once)
        ]
        for process in processes:
            process.start()
        barrier.wait()
        started = time.perf_counter()
        barrier.wait()
        seconds = time.perf_counter() - started
        for process in processes:
            process.join()
    return seconds / EPOCHS / at_once


def main() -> None:
    arguments = parse_arguments(__doc__)
    cores = len(os.sched_getaffinity(0))
    config = resolve({"data.root": "embedded"}, "bench")
    for name in ("train", "val"):
        open_pack(config.data, name)
    ways = {f"{cores} x 1 thread": (cores, 1), f"1 x {cores} threads": (1, cores)}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(arguments.repetitions):
        for way, (at_once, threads) in ways.items():
            seconds[way].append(seconds_each(at_once, threads))
    many, one = seconds
    times = ratio(seconds[one], seconds[many])
    rows = [
        (f"{way}, epochs an hour", spread([3600 / s for s in t], 0)) for way, t in seconds.items()
    ]
    show([*rows, (f"{many} / {one}", times)])
    record(arguments, f"epochs an hour of all trials together, {many} / {one}: {times}")


if __name__ == "__main__":
    main()
