"""Figure 2: whole epochs on one core against the textbook, and the input's share of ours.

The settings of the embedded set, fp32, one thread, as a trial of a search has it: training,
validation and checkpoints of each epoch count. The trainings take their epochs in turns. The
textbook runs without workers and with one beside it on the same core; the faster one counts. Drawn
images are small and decode fast; with photographs (`--data`) the textbook is as slow as with COCO.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from bench import textbook
from bench.measure import in_turns, parse_arguments, rates, ratio, record, show, spread
from kptrain.data.pack import open_pack
from kptrain.resolve import EMBEDDED_SETTINGS, resolve
from kptrain.run.curve import EpochReport
from kptrain.training.batches import batches
from kptrain.training.fit import fit


@contextmanager
def at_once() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Ours writes its files within its own turn: a thread would take the core in the peer's."""
    yield lambda job: job()


def noted(reports: Iterable[EpochReport], curve: list[EpochReport]) -> Iterator[EpochReport]:
    """Pass the reports on, and note them."""
    for report in reports:
        curve.append(report)
        yield report


def main() -> None:
    arguments = parse_arguments(__doc__, takes_data=True)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    said = {"data.root": arguments.data, "train.threads": 1, "train.device": "cpu"}
    said |= EMBEDDED_SETTINGS | {"train.epochs": arguments.repetitions + 1}
    config = resolve(said, "bench")
    pack = open_pack(config.data, "train")
    open_pack(config.data, "val")
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("kptrain.training.fit.in_background", at_once),
    ):
        peers = {f"textbook, {n} workers": n for n in (0, 1)}
        streams: dict[str, Iterator[object]] = {
            name: textbook.train(config, Path(folder) / name, n) for name, n in peers.items()
        }
        curve: list[EpochReport] = []
        with closing(fit(config, Path(folder) / "ours")) as reports:
            streams["ours"] = noted(reports, curve)
            seconds = in_turns(
                {name: partial(next, stream) for name, stream in streams.items()},
                arguments.repetitions,
                len(pack),
            )

    def gather() -> None:
        order = np.arange(len(pack))
        for _ in batches(pack, order, config.train.batch_size, torch.device("cpu")):
            pass

    gathered = in_turns({"": gather}, arguments.repetitions, len(pack))[""]
    trained = [report.images_per_second for report in curve[1:]]
    share = spread([100 * g * rate for g, rate in zip(gathered, trained, strict=True)], 2)
    best = min(peers, key=lambda name: min(seconds[name]))
    times = ratio(seconds[best], seconds["ours"])
    rows = [(f"{name}, images/s", spread(rates(s), 0)) for name, s in seconds.items()]
    show([*rows, (f"ours / {best}", times), ("input, % of our training", share)])
    record(
        arguments,
        f"whole epochs on one core, small settings: ours {spread(rates(seconds['ours']), 0)} "
        f"images/s, {best} {spread(rates(seconds[best]), 0)}: {times}; input {share} % of training",
    )


if __name__ == "__main__":
    main()
