"""Images a second of one training whose batch is on the device already: eager, recorded, compiled.

The batch has 20 persons a sample, as COCO's fullest images have, so that every way draws equally
many targets.
"""

from collections.abc import Callable, Iterable
from functools import partial
from statistics import median
from typing import Any

import torch

from bench.gpu.predicted import GFLOP_AN_IMAGE, beside
from bench.gpu.run import Run
from bench.gpu.timing import host_seconds, rate_of, seconds_each, seconds_once
from kptrain.config import TrainConfig
from kptrain.needs.memory import NUM_PERSONS, random_batch
from kptrain.training.batches import Batch
from kptrain.training.state import Training, start_training
from kptrain.training.steps import Steps

SIZES = (8, 64, 32, 128, 16)
"""Most wanted first."""
SMALL_SIZES = (8,)
PREDICTED_COMPILED = 64
"""The one to be compiled first."""
WARM_UP = 6
"""Steps before any is measured: more than are taken before a graph is recorded."""
WAYS: dict[str, dict[str, Any]] = {
    "eager": {},
    "graph": {"train.cuda_graph": True},
    "compiled": {"train.compile": True},
    "compiled, graph": {"train.compile": True, "train.cuda_graph": True},
}


def measure(run: Run) -> None:
    for way in ways_here(run, ("eager", "graph")):  # a recording that fails spoils what follows
        for size in sizes(run):
            run.attempt(f"batch {size}, {way}", partial(one_way, run, size, way))


def measure_compiled(run: Run) -> None:
    ways = ways_here(run, ("compiled", "compiled, graph"))
    for size in sorted(sizes(run), key=lambda size: size != PREDICTED_COMPILED):
        for way in ways:  # together, as the second one finds the first one's code
            run.attempt(f"batch {size}, {way}", partial(one_way, run, size, way))


def measure_unsearched(run: Run) -> None:
    """In a process of its own, as what cuDNN found for a shape is kept in one."""
    for size in sizes(run)[:2]:
        run.attempt(f"batch {size}", partial(one_way, run, size, "eager", searches=False))


def sizes(run: Run) -> tuple[int, ...]:
    return SMALL_SIZES if run.is_small else SIZES


def ways_here(run: Run, ways: Iterable[str]) -> list[str]:
    """Those that this device has; the others are said."""
    found = list(ways)
    if run.device.type != "cuda":
        graphs = [way for way in found if "train.cuda_graph" in WAYS[way]]
        for way in graphs:
            run.note(way, "skipped: a CUDA graph needs a GPU")
        found = [way for way in found if way not in graphs]
    return found


def one_way(run: Run, size: int, way: str, *, searches: bool = True) -> None:
    """One size, one way."""
    config = run.config(size, WAYS[way])
    if run.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step = partial(
        stepper(config, run.device, NUM_PERSONS, searches), random_batch(config, run.device)
    )
    name = way if searches else f"{way}, without cuDNN's search"
    write(run, size, name, step)


def stepper(
    config: TrainConfig,
    device: torch.device,
    num_persons: int,
    searches: bool = True,
    change: Callable[[Training], None] = lambda _: None,
) -> Callable[[Batch], torch.Tensor]:
    """The steps of a training with random weights, after some `change` of it."""
    training = start_training(config, device, afresh=False)
    change(training)
    training.model.train()
    return Steps(training, config, num_persons=num_persons, num_steps=None if searches else 1)


def write(run: Run, size: int, way: str, step: Callable[[], object]) -> float:
    """Measure a step and write its row; returns its images a second."""
    first = seconds_once(step)
    begun = sum(seconds_once(step) for _ in range(WARM_UP)) + first
    seconds = seconds_each(step, run.seconds)
    middle, low, high = rate_of(size, seconds)
    millis, host = 1e3 * median(seconds), 1e3 * host_seconds(step)
    told = (
        f"{middle:,.0f} ({low:,.0f} to {high:,.0f}) images/s, {millis:.2f} ms a step, "
        f"{host:.2f} ms to launch it"
    )
    if run.device.type == "cuda":
        held = torch.cuda.max_memory_reserved()
        told += f", {held / 1e9:.2f} GB held at most"
    if not run.is_small:
        told += f", {middle * GFLOP_AN_IMAGE / 1e3:.0f} TFLOP/s" + beside(way, size)
    told += f"; the first {1 + WARM_UP} steps took {begun:.1f} s, the first alone {first:.1f}"
    run.row(f"batch {size}, {way}", told, batch=size, way=way, images_a_second=middle, first=first)
    return middle
