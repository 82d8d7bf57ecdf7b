"""Figure 6: the full model at 256x256 on one GPU: images a second, and several trials at once.

For each batch size: steps on one batch that stays on the device, whole passes with the real
pipeline, compiled and not, and the textbook's passes. Shares are of 989 TFLOP/s (dense bf16 of an
H100 or H200) with 70.5 GFLOP an image, and of 4,950 images/s (3.35 TB/s, unfused bf16). Then 1, 2,
4 and 8 trainings side by side, without and with the MPS daemon.

Skipped, with the reason, where there is no GPU; `--small` runs it anywhere with a tiny model, to
see that it works.
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from statistics import median
from threading import BrokenBarrierError
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from bench.measure import RESULTS, add_row, ratio, show, spread
from bench.textbook import KeypointDataset, one_pass
from kptrain.batches import batches
from kptrain.config import TrainConfig
from kptrain.model import build_model
from kptrain.pack import open_pack
from kptrain.resolve import change, resolve
from kptrain.training import start_training, take_step

FULL = {
    "data.root": "embedded",
    "data.image_size": [256, 256],
    "data.limit_train": 512,
    "heatmap.sigma_px": 2.0,
    "model.trunk": "resnet50",
    "model.deconv_channels": [1024, 512, 256],
    "model.weights": "none",
}
SMALL = {"data.image_size": [64, 64], "data.limit_train": 32, "heatmap.sigma_px": 1.0}
PASS = 4096
"""Images of a pass: so many that its begin and end do not count."""
SMALL_PASS = 64
PEAK_FLOPS, FLOP_PER_IMAGE, BANDWIDTH_BOUND = 989e12, 70.5e9, 4950


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"add rows to {RESULTS.name}")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--small", action="store_true", help="a tiny model, on any device")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    arguments = parser.parse_args()
    if not torch.cuda.is_available() and not arguments.small:
        print("skipped: no CUDA device on this machine")
        return
    config = resolve({"data.root": "embedded"} | SMALL if arguments.small else FULL, "bench")
    open_pack(config.data, "train")
    sizes = (8, 16) if arguments.small else (8, 16, 32, 64, 128)
    for size in sizes:
        one_size(change(config, {"train.batch_size": size}, "bench"), arguments)
    for use_mps in (False, True):
        for at_once in (1, 2) if arguments.small else (1, 2, 4, 8):
            side_by_side(config, at_once, use_mps, arguments)


def one_size(config: TrainConfig, arguments: argparse.Namespace) -> None:
    """The rates of one batch size."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = pass_images(arguments)
    kinds: dict[str, Callable[[], Callable[[], int]]] = {
        "synthetic": lambda: synthetic_step(config, device),
        "pipeline": lambda: pipeline_pass(config, device, images),
        "textbook": lambda: textbook_pass(config, device),
    }
    if not arguments.small:  # compiling takes a minute
        kinds["synthetic, compiled"] = lambda: synthetic_step(compiled(config), device)
        kinds["pipeline, compiled"] = lambda: pipeline_pass(compiled(config), device, images)
    steps = {name: make() for name, make in kinds.items()}
    first: dict[str, float] = {}
    for name, step in steps.items():
        started = time.perf_counter()
        step()
        synchronize()
        first[name] = time.perf_counter() - started
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.repetitions):
        for name, step in steps.items():
            found[name].append(images_per_second(step, arguments.seconds))
    size = config.train.batch_size
    middle = median(found["synthetic"])
    shares = (
        f"{middle * FLOP_PER_IMAGE / PEAK_FLOPS:.1%} of peak FLOP/s, "
        f"{middle / BANDWIDTH_BOUND:.1%} of the bandwidth bound"
    )
    through = spread(
        [100 * b / a for a, b in zip(found["synthetic"], found["pipeline"], strict=True)], 1
    )
    times = ratio(found["pipeline"], found["textbook"])
    rows = [(f"batch {size}, {name}, images/s", spread(v, 0)) for name, v in found.items()]
    rows += [(f"batch {size}, {name}, first pass, s", f"{s:.1f}") for name, s in first.items()]
    show([*rows, ("pipeline, % of synthetic", through), ("pipeline / textbook", times)])
    if arguments.record:
        told = "; ".join(f"{name} {spread(values, 0)}" for name, values in found.items())
        add_row(
            f"batch {size}, images/s: {told}; pipeline {through} % of synthetic and {times} the "
            f"textbook; {shares}",
            device_name(),
        )
    del steps
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def compiled(config: TrainConfig) -> TrainConfig:
    return change(config, {"train.compile": True}, "bench")


def synthetic_step(config: TrainConfig, device: torch.device) -> Callable[[], int]:
    """A step on one batch that is on the device already."""
    training = start_training(config, device, afresh=True)
    training.model.train()
    pack = open_pack(config.data, "train")
    size = config.train.batch_size
    batch = next(batches(pack, np.arange(len(pack)), size, device))

    def step() -> int:
        take_step(training, batch, config)
        return size

    return step


def pass_images(arguments: argparse.Namespace) -> int:
    return SMALL_PASS if arguments.small else PASS


def pipeline_pass(config: TrainConfig, device: torch.device, images: int) -> Callable[[], int]:
    """A pass over the pack, from the memory map to the step."""
    training = start_training(config, device, afresh=True)
    training.model.train()
    pack = open_pack(config.data, "train")
    generator = np.random.default_rng(0)
    size = config.train.batch_size
    whole = max(images // size, 1) * size

    def step() -> int:
        order = generator.integers(0, len(pack), whole)
        for batch in batches(pack, order, config.train.batch_size, device):
            take_step(training, batch, config)
        return whole

    return step


def textbook_pass(config: TrainConfig, device: torch.device) -> Callable[[], int]:
    """A pass of the textbook, with a worker on each core."""
    data = KeypointDataset(config, "train")
    model = build_model(config.model, 0).to(device).train()
    optimizer = torch.optim.Adam(model.parameters())
    workers = len(os.sched_getaffinity(0))
    loader = DataLoader(
        data, config.train.batch_size, shuffle=True, num_workers=workers, persistent_workers=True
    )

    def step() -> int:
        one_pass(model, loader, str(device), optimizer)
        return len(data)

    return step


def images_per_second(step: Callable[[], int], seconds: float) -> float:
    synchronize()
    started = time.perf_counter()
    count = 0
    while time.perf_counter() - started < seconds:
        count += step()
        if count % 512 == 0:
            synchronize()  # else the host runs far ahead
    synchronize()
    return count / (time.perf_counter() - started)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def side_by_side(
    config: TrainConfig, at_once: int, use_mps: bool, arguments: argparse.Namespace
) -> None:
    """The sum of images/s of so many trainings on one GPU, and the memory of each."""
    with mps_daemon(use_mps) as why_not:
        if why_not:
            print(f"{at_once} at once with MPS: skipped, {why_not}")
            return
        try:
            seconds, images = arguments.seconds * arguments.repetitions, pass_images(arguments)
            rates, memory = together(config, at_once, seconds, images)
        except RuntimeError as error:
            print(error)
            return
    way = "with MPS" if use_mps else "without MPS"
    told = f"{sum(rates):,.0f} images/s in all, {max(memory) / 1e9:.2f} GB the largest"
    show([(f"{at_once} at once, batch {config.train.batch_size}, {way}", told)])
    if arguments.record:
        size = config.train.batch_size
        add_row(f"{at_once} trainings at once, batch {size}, {way}: {told}", device_name())


def together(
    config: TrainConfig, at_once: int, seconds: float, images: int
) -> tuple[list[float], list[int]]:
    spawn = multiprocessing.get_context("spawn")
    barrier, found = spawn.Barrier(at_once), spawn.Queue()
    processes = [
        spawn.Process(target=one_of_many, args=(config, seconds, images, barrier, found))
        for _ in range(at_once)
    ]
    for process in processes:
        process.start()
    told = [found.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    failed = [error for _, _, error in told if error]
    if failed:
        raise RuntimeError(f"{at_once} at once: {failed[0]}")
    return [rate for rate, _, _ in told], [memory for _, memory, _ in told]


def one_of_many(
    config: TrainConfig, seconds: float, images: int, barrier: Barrier, found: Any
) -> None:
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        step = pipeline_pass(config, device, images)
        step()
        barrier.wait()
        rate = images_per_second(step, seconds)
    except (
        RuntimeError,
        BrokenBarrierError,
    ) as error:  # as out of memory; the others must not wait
        barrier.abort()
        found.put((0.0, 0, f"{type(error).__name__}: {error}"[:200]))
        return
    held = torch.cuda.max_memory_reserved() if device.type == "cuda" else 0
    found.put((rate, held, ""))


@contextmanager
def mps_daemon(wanted: bool) -> Iterator[str]:
    """Yield why the daemon does not run; empty if it does or is not wanted."""
    if not wanted or shutil.which("nvidia-cuda-mps-control") is None:
        yield "no nvidia-cuda-mps-control here" if wanted else ""
        return
    with tempfile.TemporaryDirectory() as folder:
        places = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        os.environ.update(places)
        started = subprocess.run(
            ["nvidia-cuda-mps-control", "-d"], capture_output=True, text=True, check=False
        )
        try:
            yield started.stderr.strip() if started.returncode else ""
        finally:
            if not started.returncode:
                subprocess.run(["nvidia-cuda-mps-control"], input="quit\n", text=True, check=False)
            for name in places:
                del os.environ[name]


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    main()
