"""Packs of the person view, raw and as JPEG: their bytes, and how fast batches are gathered.

Person view at 256x192, the photographs of `--data`, one core. `gathered` is what the thread ahead
of the step does: copy or decode, and the persons. `warped` is what comes after it on a CPU: crop
and augmentation of the whole batch, with the settings of Xiao et al. 2018, and the normalisation.
"""

import os
from functools import partial

import numpy as np
import torch

from bench.measure import in_turns, parse_arguments, rates, ratio, record, show, spread
from kptrain.config import TrainConfig
from kptrain.data.pack import open_pack
from kptrain.data.pack_format import Pack
from kptrain.machine.device import keep_freed_memory
from kptrain.resolve import resolve
from kptrain.training.augment import draw_augmentation
from kptrain.training.batches import batches
from kptrain.training.gathering import Slot

BATCH = 32
CPU = torch.device("cpu")
FIELD = {
    "augment.flip": 0.5,
    "augment.rotation_deg": 40.0,
    "augment.rotation_prob": 0.6,
    "augment.scale": 0.3,
    "augment.distribution": "normal",
}


def config_of(root: str, kind: str) -> TrainConfig:
    said = {"data.root": root, "data.view": "person", "data.image_size": [256, 192]}
    return resolve(said | {"data.pack": kind} | FIELD, "bench")


def gather(pack: Pack, backward: np.ndarray) -> None:
    slot, order = Slot(pack, CPU, backward), np.random.default_rng(0).permutation(len(pack))
    for start in range(0, len(pack), BATCH):
        slot.gather(order[start : start + BATCH])


def warp(pack: Pack, config: TrainConfig) -> None:
    size = config.data.image_size
    augmentation = draw_augmentation(config.augment, pack.table, size, 0, 1)
    for _ in batches(pack, np.arange(len(pack)), BATCH, CPU, augmentation):
        pass


def main() -> None:
    arguments = parse_arguments(__doc__, takes_data=True)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    keep_freed_memory()  # as a training does
    configs = {kind: config_of(arguments.data, kind) for kind in ("raw", "jpeg")}
    packs = {kind: open_pack(config.data, "train") for kind, config in configs.items()}
    augmentation = draw_augmentation(
        configs["raw"].augment, packs["raw"].table, (256, 192), seed=0, epoch=1
    )
    assert augmentation is not None
    jobs = {kind: partial(gather, pack, augmentation.backward) for kind, pack in packs.items()} | {
        f"{kind}, warped": partial(warp, packs[kind], configs[kind]) for kind in packs
    }
    count = len(packs["raw"])
    seconds = in_turns(jobs, arguments.repetitions, count)
    each = {kind: pack.images.nbytes / count / 1e3 for kind, pack in packs.items()}
    share = each["jpeg"] / each["raw"]
    rows = [(f"{kind}, kB a sample", f"{size:.1f}") for kind, size in each.items()]
    rows += [(f"{name}, samples/s", spread(rates(s), 0)) for name, s in seconds.items()]
    show(
        [
            *rows,
            ("jpeg / raw, bytes", f"{share:.3f}"),
            ("jpeg / raw, time", ratio(seconds["jpeg"], seconds["raw"])),
        ]
    )
    record(
        arguments,
        f"person view at 256x192, one core: raw {each['raw']:.0f} kB a sample, gathered at "
        f"{spread(rates(seconds['raw']), 0)} samples/s; JPEG {each['jpeg']:.0f} kB ({share:.3f}), "
        f"{spread(rates(seconds['jpeg']), 0)} samples/s; with the warp "
        f"{spread(rates(seconds['raw, warped']), 0)} and "
        f"{spread(rates(seconds['jpeg, warped']), 0)} samples/s",
    )


if __name__ == "__main__":
    main()
