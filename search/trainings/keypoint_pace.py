"""How fast trials of the training that comes with this package are: measured before a search.

As many processes as trials that run at once train at the same time on a few images of the data,
with the trials' own settings: the defaults, and the ends of each axis that decides how long an
epoch is.
"""

import json
import math
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from kptrain.config import TrainConfig
from kptrain.resolve import change, settings_of
from search.machine import programs
from search.space.axes import Choice
from search.space.pace import MeasuringError, Pace, Seconds
from search.space.training import Axes
from search.trainings.keypoint_resources import GREEDY, check_weights, with_each
from search.trainings.keypoint_sample import Packs, read_data

DATA_AXES = ("data.view", "data.image_size")
MOST_PROCESSES = 16
"""That measure at once: more would take long to start, and tell little more."""
LONG = 60.0
"""Seconds of an epoch from which on nobody minds some more of measuring."""
NICENESS = 15
"""Of a trial's process under Ray. Source: worker_niceness in Ray's ray_config_def.h."""
CODE = f"from kptrain.needs.pace import answer; answer({NICENESS})"

Process = subprocess.Popen[str]


def measure_pace(
    axes: Axes, base: TrainConfig, where: str, processes: int, *, thorough: bool
) -> Pace:
    """Check weights and data, and measure with so many processes at once; not `thorough`, what the
    axes change only where an epoch is LONG.

    Raises: WeightsError; DataError if the data cannot be read; MeasuringError.
    """
    check_weights(axes, base, where)
    with TemporaryDirectory(prefix="kptrain-pace-") as name, ExitStack() as stack:
        began = time.time()
        workers = [stack.enter_context(_process()) for _ in range(min(processes, MOST_PROCESSES))]
        data = read_data(base, Path(name))
        packs = Packs(data, Path(name))
        packs.folders(base.data)  # while the processes start
        process = min(_read(worker)["at"] for worker in workers) - began
        defaults, starts = _epochs(workers, base, packs)
        ends = {
            path: [median(_epochs(workers, config, packs)[0]) for config in configs]
            for path, configs in varied(axes, base, where).items()
            if thorough or median(defaults) > LONG
        }
        began = time.time()
        needed = dict.fromkeys(config.data for config in with_each(axes, base, where, DATA_AXES))
        missing = [one for settings in needed for one in data.to_pack(settings)]
        looked = (time.time() - began) / len(needed)  # as each trial looks for its packs
        image_seconds = packs.image_seconds(base.data) if missing else 0.0
    return Pace(
        epoch=span_of(defaults, ends),
        process=process,
        start=looked + median(starts),
        prepare=data.drawing + image_seconds * sum(images for images, _ in missing),
        pack_bytes=sum(num_bytes for _, num_bytes in missing),
    )


def span_of(defaults: Sequence[float], ends: dict[str, list[float]]) -> Seconds:
    """Of an epoch: by what each process measured of the defaults, and by how much the ends of each
    axis differ from that, as if each axis did so by itself."""
    usual = median(defaults)
    least, likely, most = min(defaults), usual, max(defaults)
    for seconds in ends.values():
        factors = [1.0, *(value / usual for value in seconds)]
        least, most = least * min(factors), most * max(factors)
        likely *= sum(factors) / len(factors)
    return Seconds(least, likely, most)


def varied(axes: Axes, base: TrainConfig, where: str) -> dict[str, list[TrainConfig]]:
    """The base with either end of each axis that decides how long an epoch takes, by its path."""
    found: dict[str, list[TrainConfig]] = {}
    for path in (*GREEDY, "data.view"):
        axis = axes.get(path)
        if axis is None:
            continue
        values = list(axis.values if isinstance(axis, Choice) else axis.ends())
        if path in GREEDY:
            values = [min(values, key=GREEDY[path]), max(values, key=GREEDY[path])]
        others = [value for value in values if value != settings_of(base)[path]]
        found[path] = [change(base, {path: value}, where) for value in others]
    return found


def _epochs(
    workers: Sequence[Process], config: TrainConfig, packs: Packs
) -> tuple[list[float], list[float]]:
    """Seconds of an epoch, and of the start of a trial, as each process measures them."""
    num_train = packs.data.num_samples(config.data, "train")
    num_val = packs.data.num_samples(config.data, "val")
    job = {
        "config": config.model_dump(mode="json"),
        "packs": [str(folder) for folder in packs.folders(config.data)],
        "num_steps": config.train.epochs * int(num_train // config.train.batch_size),
    }
    for worker in workers:
        _write(worker, job)
    found = [_read(worker) for worker in workers]
    steps = math.ceil(num_train / config.train.batch_size)
    epochs = [steps * one["step"] + num_val * one["sample"] for one in found]
    return epochs, [one["start"] for one in found]


@contextmanager
def _process() -> Iterator[Process]:
    """One that measures; it finds the modules where this one does, and is ended at the end."""
    process = subprocess.Popen(  # noqa: S603  (our own code)
        programs.command(CODE),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=programs.environment(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _write(process: Process, job: dict[str, Any]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        raise MeasuringError("a process that measured has ended") from None


def _read(process: Process) -> dict[str, float]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise MeasuringError(f"a process that measured has ended with {process.wait()}")
    told: dict[str, Any] = json.loads(line)
    if "error" in told:
        raise MeasuringError(told["error"])
    return told
