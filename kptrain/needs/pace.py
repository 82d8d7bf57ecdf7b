"""Measures how fast a training is on this device: a few real steps and a validation.

`answer` is the main function of a measuring process. Several such processes run at once, as trials
do.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kptrain.config import TrainConfig
from kptrain.data.pack_format import Pack, read_pack
from kptrain.machine.device import explained, find_device, num_threads, release_memory
from kptrain.training.augment import draw_augmentation
from kptrain.training.batches import batches, epoch_order
from kptrain.training.fit import validate
from kptrain.training.state import Training, start_training
from kptrain.training.steps import WARM_UP, Steps, uses_graph

SECONDS = 0.3
"""Duration of a timing; at least one step."""
LONG = 1.0
"""If the first step takes longer than this many seconds, it is timed: warm-up matters little."""
LONGEST = 5.0
"""Seconds that one step may take; if a batch would take longer, fewer samples are timed."""
STEPS = 16
"""Steps in one pass over the samples."""


@dataclass(frozen=True)
class Measured:
    """Seconds on this device."""

    start: float
    """Until steps have their usual pace: loading weights, finding kernels, compiling, recording."""
    step: float
    """A later step with a full batch."""
    sample: float
    """One sample of validation."""


def measure(config: TrainConfig, train: Pack, val: Pack, num_steps: int) -> Measured:
    """Train some steps on samples of `train`, over and over, and validate on `val` once or twice.

    num_steps: with a full batch, of the whole training that is meant, by which cuDNN searches.

    Sets for the whole process what `fit` does. Raises: SettingsError, WeightsError,
    OutOfMemoryError, TrainingError.
    """
    torch.set_num_threads(num_threads(config.train.threads))
    device = find_device(config)
    try:
        with explained(config):
            began = time.perf_counter()
            training = start_training(config, device, afresh=True)
            training.model.train()
            steps = Steps(training, config, num_persons=train.most_persons, num_steps=num_steps)
            first = _time_of(1, steps, config, train, device)
            start = time.perf_counter() - began
            # Finding kernels takes a large part of a short step, and a small part of a long one.
            is_long = first > LONG and device.type == "cpu"
            one = first if is_long else _time_of(1, steps, config, train, device)
            size = min(config.train.batch_size, max(int(LONGEST / one), 1))
            num_slow = 0 if is_long else WARM_UP + 1 if uses_graph(config, device) else 1
            slow = [_time_of(size, steps, config, train, device) for _ in range(num_slow)]
            step = _time_of(size, steps, config, train, device, SECONDS)
            start += max(sum(slow) - num_slow * step, 0.0)
            sample = _validation_time(training, config, val, device) / len(val)
    finally:
        release_memory()
    return Measured(start, step * config.train.batch_size / size, sample)


def _time_of(
    size: int,
    steps: Steps,
    config: TrainConfig,
    pack: Pack,
    device: torch.device,
    seconds: float = 0.0,
) -> float:
    """Seconds of a step of `size` samples: the mean over `seconds`, at least one step."""
    running = _running(size, steps, config, pack, device)
    _wait_for(device)
    number, began = 0, time.perf_counter()
    while number == 0 or time.perf_counter() - began < seconds:
        next(running)
        number += 1
    _wait_for(device)
    return (time.perf_counter() - began) / number


def _running(
    size: int, steps: Steps, config: TrainConfig, pack: Pack, device: torch.device
) -> Iterator[None]:
    """Run steps as epochs do, without end."""
    for epoch in count(1):
        seed, shape, table = config.train.seed, config.data.image_size, pack.table
        order = np.resize(epoch_order(len(pack), seed, epoch), STEPS * size)
        augmentation = draw_augmentation(
            config.augment, table.scale, table.inside, shape, seed, epoch
        )
        for batch in batches(pack, order, size, device, augmentation):
            steps(batch)
            yield


def _validation_time(
    training: Training, config: TrainConfig, pack: Pack, device: torch.device
) -> float:
    """Seconds for the whole pack; if short, of a second pass: the first one finds kernels."""
    for _ in range(2):
        began = time.perf_counter()
        validate(training.evaluated, config, pack, device)
        seconds = time.perf_counter() - began
        if seconds > SECONDS:
            break
    return seconds


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def answer(niceness: int) -> None:
    """Say in a line when everything is imported, then be as nice as trials are, and answer each
    line that asks for a measuring: `config` (all settings), `packs` (the folders of both) and
    `num_steps` (of the training that is meant), by what was measured or `error`.

    Ends with its standard input.
    """
    _say({"at": time.time()})
    os.nice(niceness - os.nice(0))
    for line in sys.stdin:
        try:
            with redirect_stdout(sys.stderr):
                job = json.loads(line)
                config = TrainConfig.model_validate_json(json.dumps(job["config"]))
                train, val = (read_pack(Path(folder), "")[0] for folder in job["packs"])
                measured = measure(config, train, val, job["num_steps"])
            _say(asdict(measured))
        except Exception as error:  # the calling process reports it
            _say({"error": " ".join(str(error).split())[:200] or type(error).__name__})


def _say(content: dict[str, Any]) -> None:
    print(json.dumps(content), flush=True)
