"""Measures how fast trials of the keypoint training run, before a search.

As many processes as trials will run at once train at the same time on a few images of the data,
with the defaults and with the ends of each axis that changes the duration of an epoch.
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
from search.space.axes import Axes
from search.space.pace import MeasuringError, Pace, Seconds
from search.trainings.keypoint_resources import GREEDY, check_weights, with_each
from search.trainings.keypoint_sample import Packs, read_data

DATA_AXES = ("data.view", "data.image_size", "data.pack")
MOST_PROCESSES = 16
"""The most processes that measure at once: more start slowly and add little information."""
LONG = 60.0
"""Seconds of an epoch above which the longer measurement is acceptable."""
NICENESS = 15
"""Niceness of a trial's process under Ray. Source: worker_niceness in Ray's ray_config_def.h."""
CODE = f"from kptrain.needs.pace import answer; answer({NICENESS})"

Process = subprocess.Popen[str]


def measure_pace(
    axes: Axes, base: TrainConfig, where: str, processes: int, *, thorough: bool
) -> Pace:
    """Check weights and data, and measure with `processes` processes at once. Without `thorough`,
    the ends of the axes are measured only if an epoch is LONG.

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
        missing = [(settings, *one) for settings in needed for one in data.to_pack(settings)]
        looked = (time.time() - began) / len(needed)  # each trial looks up its packs, too
        image_seconds = packs.image_seconds(base.data) if missing else 0.0
        pack_bytes = sum(
            packs.byte_share(settings, name) * num_bytes for settings, name, _, num_bytes in missing
        )
    return Pace(
        epoch=span_of(defaults, ends),
        process=process,
        start=looked + median(starts),
        prepare=data.drawing + image_seconds * sum(images for *_, images, _ in missing),
        pack_bytes=round(pack_bytes),
    )


def span_of(defaults: Sequence[float], ends: dict[str, list[float]]) -> Seconds:
    """The duration of an epoch: what each process measured for the defaults, times the factors of
    the axes' ends, which are taken as independent."""
    usual = median(defaults)
    least, likely, most = min(defaults), usual, max(defaults)
    for seconds in ends.values():
        factors = [1.0, *(value / usual for value in seconds)]
        least, most = least * min(factors), most * max(factors)
        likely *= sum(factors) / len(factors)
    return Seconds(least, likely, most)


def varied(axes: Axes, base: TrainConfig, where: str) -> dict[str, list[TrainConfig]]:
    """For each axis that changes the duration of an epoch, the base with each end of the axis."""
    configs: dict[str, list[TrainConfig]] = {}
    for path in (*GREEDY, "data.view"):
        axis = axes.get(path)
        if axis is None:
            continue
        values = list(axis.marks())
        if path in GREEDY:
            values = [min(values, key=GREEDY[path]), max(values, key=GREEDY[path])]
        others = [value for value in values if value != settings_of(base)[path]]
        configs[path] = [change(base, {path: value}, where) for value in others]
    return configs


def _epochs(
    workers: Sequence[Process], config: TrainConfig, packs: Packs
) -> tuple[list[float], list[float]]:
    """Seconds of an epoch and of the start of a trial, measured by each process."""
    num_train = packs.data.num_samples(config.data, "train")
    num_val = packs.data.num_samples(config.data, "val")
    job = {
        "config": config.model_dump(mode="json"),
        "packs": [str(folder) for folder in packs.folders(config.data)],
        "num_steps": config.train.epochs * int(num_train // config.train.batch_size),
    }
    for worker in workers:
        _write(worker, job)
    answers = [_read(worker) for worker in workers]
    steps = math.ceil(num_train / config.train.batch_size)
    epochs = [steps * answer["step"] + num_val * answer["sample"] for answer in answers]
    return epochs, [answer["start"] for answer in answers]


@contextmanager
def _process() -> Iterator[Process]:
    """A process that measures; it is killed at the end of the block."""
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
        raise MeasuringError("a measuring process has ended") from None


def _read(process: Process) -> dict[str, float]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise MeasuringError(f"a measuring process has ended with exit code {process.wait()}")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise MeasuringError(answer["error"])
    return answer
