"""When `train.compile` pays on this machine: the seconds it costs once, and what a step gains."""

import argparse
import os
import tempfile
import time
from functools import partial

import numpy as np
import torch

from bench.measure import in_turns, parse_arguments, ratio, record, show, spread
from kptrain.data.pack import open_pack
from kptrain.machine.device import find_device
from kptrain.resolve import change, resolve
from kptrain.training.batches import batches
from kptrain.training.state import start_training
from kptrain.training.steps import Steps

STEPS = 20


def main() -> None:
    arguments = parse_arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder:  # else what was compiled before is found again
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    plain = resolve({"data.root": "embedded", "train.threads": 1}, "bench")
    torch.set_num_threads(1)
    device = find_device(plain)
    pack = open_pack(plain.data, "train")
    batch = next(batches(pack, np.arange(len(pack)), plain.train.batch_size, device))
    ways = {"plain": plain, "compiled": change(plain, {"train.compile": True}, "bench")}
    steps: dict[str, Steps] = {}
    for way, config in ways.items():
        training = start_training(config, device, afresh=True)
        training.model.train()
        steps[way] = Steps(training, config, num_persons=pack.most_persons)
    first: dict[str, float] = {}
    losses: dict[str, float] = {}
    for way, step in steps.items():
        started = time.perf_counter()
        losses[way] = float(step(batch))
        first[way] = time.perf_counter() - started

    def take(way: str) -> None:
        for _ in range(STEPS):
            loss = steps[way](batch)
        float(loss)

    seconds = in_turns(
        {way: partial(take, way) for way in ways},
        arguments.repetitions,
        STEPS,
    )
    gained = min(seconds["plain"]) - min(seconds["compiled"])
    num_steps = (first["compiled"] - first["plain"]) / gained if gained > 0 else float("inf")
    epochs = num_steps / (len(pack) / plain.train.batch_size)
    times = ratio(seconds["plain"], seconds["compiled"])
    difference = abs(losses["compiled"] / losses["plain"] - 1)
    show(
        [
            ("plain, ms a step", spread([1e3 * s for s in seconds["plain"]], 2)),
            ("compiled, ms a step", spread([1e3 * s for s in seconds["compiled"]], 2)),
            ("plain / compiled", times),
            ("compiling, s", f"{first['compiled']:.0f}"),
            ("pays after", f"{num_steps:,.0f} steps, {epochs:,.0f} epochs of the embedded set"),
            ("the first loss differs by", f"{difference:.1g} of itself"),
        ]
    )
    record(
        arguments,
        f"a compiled step of the embedded set is {times} as fast; compiling takes "
        f"{first['compiled']:.0f} s, so it pays after {num_steps:,.0f} steps "
        f"({epochs:,.0f} epochs)",
    )


if __name__ == "__main__":
    main()
