"""Whole passes over the same number of images: on one batch, through our pipeline, the textbook's.

All of one way take turns. A pass is so long that its begin and end do not count.
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler

from bench.gpu.run import Run
from bench.gpu.steps import WAYS, stepper, ways_here
from bench.gpu.timing import REPETITIONS, seconds_once, synchronize
from bench.measure import rates, ratio, spread
from bench.textbook import KeypointDataset, one_pass
from kptrain.config import TrainConfig
from kptrain.data.pack import open_pack
from kptrain.machine.cores import usable_cores
from kptrain.model.network import build_model
from kptrain.resolve import change
from kptrain.training.batches import batches

SIZES = (8, 64)
LEAST_IMAGES, LEAST_STEPS = 512, 16
"""Of a pass."""
SMALL_STEPS = 4


def measure(run: Run) -> None:
    sizes = (8,) if run.is_small else SIZES
    textbooks: dict[int, list[float]] = {}
    for way in ways_here(run, ("eager", "graph")):  # a recording that fails spoils what follows
        for size in sizes:
            run.attempt(f"batch {size}, {way}", partial(one_way, run, size, way, textbooks))


def one_way(run: Run, size: int, way: str, textbooks: dict[int, list[float]]) -> None:
    """The passes of one size and way; with the first way, the textbook's take turns with them, and
    are kept for the other."""
    images = SMALL_STEPS * size if run.is_small else max(LEAST_IMAGES, LEAST_STEPS * size)
    config = change(run.config(size), WAYS[way], "bench.gpu")
    passes = {
        f"one batch, {way}": synthetic(config, run.device, images),
        f"pipeline, {way}": pipeline(config, run.device, images),
    }
    if size not in textbooks:
        passes["textbook"] = textbook(run.config(size), run.device, images)
    whole = {
        name: one
        for name, one in passes.items()
        if run.attempt(f"batch {size}, {name}", one, frees=False)
    }
    seconds: dict[str, list[float]] = {name: [] for name in whole}
    for _, (name, one) in product(range(REPETITIONS), whole.items()):
        seconds[name].append(seconds_once(one) / images)
    for name, found in seconds.items():
        text = f"{spread(rates(found), 0)} images/s in passes of {images}"
        run.row(f"batch {size}, {name}", text, batch=size, way=name, seconds=found)
    if "textbook" in seconds:
        textbooks[size] = seconds["textbook"]
    write_shares(run, size, way, seconds, textbooks.get(size))


def write_shares(
    run: Run,
    size: int,
    way: str,
    seconds: dict[str, list[float]],
    of_textbook: list[float] | None,
) -> None:
    """What the pipeline has of one batch's images/s and of the textbook's, where these ran."""
    ours = seconds.get(f"pipeline, {way}")
    alone = seconds.get(f"one batch, {way}")
    if ours and alone:
        share = spread([100 * one / through for one, through in zip(alone, ours, strict=True)], 1)
        run.row(f"batch {size}, {way}, pipeline", f"{share} % of one batch's images/s")
    if ours and of_textbook:
        text = f"{ratio(of_textbook, ours)} the textbook's images/s"
        run.row(f"batch {size}, {way}, pipeline", text)


def synthetic(config: TrainConfig, device: torch.device, images: int) -> Callable[[], None]:
    """Steps on the pack's first batch, which stays on the device."""
    pack = open_pack(config.data, "train")
    steps = stepper(config, device, pack.most_persons)
    batch = next(batches(pack, np.arange(len(pack)), config.train.batch_size, device))

    def one_pass() -> None:
        for _ in range(images // config.train.batch_size):
            steps(batch)
        synchronize()

    return one_pass


def pipeline(config: TrainConfig, device: torch.device, images: int) -> Callable[[], None]:
    """From the memory map to the step, samples drawn with replacement."""
    pack = open_pack(config.data, "train")
    steps = stepper(config, device, pack.most_persons)
    draw = np.random.default_rng(0)

    def one_pass() -> None:
        order = draw.integers(0, len(pack), images)
        for batch in batches(pack, order, config.train.batch_size, device):
            steps(batch)
        synchronize()

    return one_pass


def textbook(config: TrainConfig, device: torch.device, images: int) -> Callable[[], None]:
    """As many images with its DataLoader, which has a worker on each core; drawn alike."""
    data = KeypointDataset(config, "train")
    model = build_model(config.model, 0).to(device).train()
    optimizer = torch.optim.Adam(model.parameters())
    loader = DataLoader(
        data,
        config.train.batch_size,
        sampler=RandomSampler(data, replacement=True, num_samples=images),
        num_workers=usable_cores(),
        persistent_workers=True,
    )

    def whole_pass() -> None:
        one_pass(model, loader, str(device), optimizer)
        synchronize()

    return whole_pass
