"""Figure 1: samples a second from the pack into a batch, against a bare copy and Pillow.

One core, 256x256. The bare copy moves the same bytes of the same file in the order in which they
lie; Pillow decodes and resizes the files, as a loader without a pack does. And the memory that four
processes take together which read the same pack: the sum of their proportional set sizes.
"""

import multiprocessing
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.measure import in_turns, parse_arguments, rates, ratio, record, show, spread
from kptrain.batches import batches
from kptrain.coco import read_split
from kptrain.pack import data_folder, open_pack
from kptrain.resolve import resolve

BATCH = 64
PROCESSES = 4


def main() -> None:
    arguments = parse_arguments(__doc__)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    torch.set_num_threads(1)
    config = resolve({"data.root": "embedded", "data.image_size": [256, 256]}, "bench")
    pack = open_pack(config.data, "train")
    order = np.random.default_rng(0).permutation(len(pack))
    buffer = np.empty((BATCH, 256, 256, 3), dtype=np.uint8)

    def ours() -> None:
        for _ in host_batches(pack, order, BATCH):
            pass

    def bare_copy() -> None:
        for start in range(0, len(pack), BATCH):
            rows = pack.images[start : start + BATCH]
            np.copyto(buffer[: len(rows)], rows)

    files = [image.path for image in read_split(data_folder(config.data), "train").images]

    def pillow() -> None:
        for path in files[:100]:
            with Image.open(path) as image:
                np.asarray(image.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR))

    copies = in_turns({"ours": ours, "bare": bare_copy}, 3 * arguments.repetitions, len(pack))
    decoded = in_turns({"pillow": pillow}, arguments.repetitions, 100)["pillow"]
    os.sched_setaffinity(0, cores)
