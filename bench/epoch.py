"""Figure 2: whole epochs on one core against the textbook, and the input's share of ours.

The settings of the embedded set, fp32, one thread, as a trial of a search has it: training,
validation and checkpoints of each epoch count. The trainings take their epochs in turns. The
textbook runs without workers and with one beside it on the same core; the faster one counts. Drawn
images are small and decode fast; with photographs (`--data`) the textbook is as slow as with COCO.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from bench import textbook
from bench.measure import in_turns, parse_arguments, rates, ratio, record, show, spread
from kptrain.batches import batches
from kptrain.fit import fit
from kptrain.pack import open_pack
from kptrain.resolve import EMBEDDED_SETTINGS, resolve


def main() -> None:
    arguments = parse_arguments(__doc__, takes_data=True)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    said = {"data.root": arguments.data, "train.threads": 1, "train.device": "cpu"}
    said |= EMBEDDED_SETTINGS | {"train.epochs": arguments.repetitions + 1}
    config = resolve(said, "bench")
    pack = open_pack(config.data, "train")
    open_pack(config.data, "val")
    with tempfile.TemporaryDirectory() as folder:
        peers = {f"textbook, {n} workers": n for n in (0, 1)}
        streams: dict[str, Iterator[object]] = {
            name: textbook.train(config, Path(folder) / name, n) for name, n in peers.items()
        }
        with closing(fit(config, Path(folder) / "ours")) as reports:
            streams["ours"] = reports
            seconds = in_turns(
                {name: lambda s=stream: next(s) for name, stream in streams.items()},  # type: ignore[misc]
                arguments.repetitions,
                len(pack),
            )

    def gather() -> None:
        order = np.arange(len(pack))
        for _ in batches(pack, order, config.train.batch_size, torch.device("cpu")):
            pass

    gathered = in_turns({"": gather}, arguments.repetitions, len(pack))[""]
    share = spread([100 * g / e for g, e in zip(gathered, seconds["ours"], strict=True)], 2)
    best = min(peers, key=lambda name: min(seconds[name]))
    times = ratio(seconds[best], seconds["ours"])
    rows = [(f"{name}, images/s", spread(rates(s), 0)) for name, s in seconds.items()]
    show([*rows, (f"ours / {best}", times), ("input, % of our epoch", share)])
    record(
        arguments,
        f"whole epochs on one core, small settings: ours {spread(rates(seconds['ours']), 0)} "
        f"images/s, {best} {spread(rates(seconds[best]), 0)}: {times}; input {share} % of an epoch",
    )


if __name__ == "__main__":
    main()
