"""Figure 1: samples a second from a pack into a batch, against a bare copy and Pillow.

One core, 256x256. The bare copy moves the same bytes of the same file in the order in which they
lie; Pillow decodes and resizes files, as a loader without a pack does: drawn ones, which are small,
or the photographs of `--data`. And the memory that four processes take which read the same pack
beside this one: the sum of their proportional set sizes.
"""

import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from bench.measure import in_turns, parse_arguments, rates, ratio, record, show, spread
from kptrain.annotations.reader import read_split
from kptrain.data.pack import data_folder, open_pack
from kptrain.data.pack_format import Pack
from kptrain.resolve import resolve
from kptrain.training.gathering import Slot

BATCH = 64
PROCESSES = 4
NUM_DECODED = 100


def main() -> None:
    arguments = parse_arguments(__doc__, takes_data=True)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    config = resolve({"data.root": "embedded", "data.image_size": [256, 256]}, "bench")
    pack = open_pack(config.data, "train")
    order = np.random.default_rng(0).permutation(len(pack))
    slot = Slot(pack, torch.device("cpu"))
    buffer = np.empty((BATCH, 256, 256, 3), dtype=np.uint8)
    decoded_from = data_folder(resolve({"data.root": arguments.data}, "bench").data)
    files = [image.path for image in read_split(decoded_from, "train").images]

    def ours() -> None:
        for start in range(0, len(pack), BATCH):
            slot.gather(order[start : start + BATCH])

    def bare_copy() -> None:
        for start in range(0, len(pack), BATCH):
            rows = pack.images[start : start + BATCH]
            np.copyto(buffer[: len(rows)], rows)

    def pillow() -> None:
        for path in files[:NUM_DECODED]:
            with Image.open(path) as image:
                np.asarray(image.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR))

    copied = in_turns({"ours": ours, "bare": bare_copy}, 3 * arguments.repetitions, len(pack))
    decoded = in_turns({"": pillow}, arguments.repetitions, NUM_DECODED)[""]
    share = ratio(copied["bare"], copied["ours"])
    times = median(decoded) / median(copied["ours"])
    apart, together = shared_memory(pack)
    show(
        [
            ("gather, images/s", spread(rates(copied["ours"]), 0)),
            ("bare copy, images/s", spread(rates(copied["bare"]), 0)),
            ("Pillow, images/s", spread(rates(decoded), 0)),
            ("gather / bare copy", share),
            ("gather / Pillow", f"{times:,.0f} x"),
            ("pack", f"{pack.images.nbytes / 1e6:.0f} MB"),
            (f"{PROCESSES} readers, resident", f"{apart / 1e6:.0f} MB of it in all"),
            (f"{PROCESSES} readers, proportional", f"{together / 1e6:.0f} MB of it in all"),
        ]
    )
    record(
        arguments,
        f"gather {spread(rates(copied['ours']), 0)} images/s at 256x256 on one core; {share} of a "
        f"bare copy; {times:,.0f} x Pillow; {PROCESSES} readers of {pack.images.nbytes / 1e6:.0f} "
        f"MB hold {together / 1e6:.0f} MB in all",
    )


READER = """
import sys
import numpy as np
pack = np.load(sys.argv[1], mmap_mode="r")
pack.sum()
print("read", flush=True)
input()
"""


def shared_memory(pack: Pack) -> tuple[int, int]:
    """Bytes of the pack resident in all readers: counted in each, and each its share."""
    path = pack.images.filename  # type: ignore[attr-defined]  # a memory map has one
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    for reader in readers:
        assert reader.stdout is not None
        reader.stdout.readline()
    sizes = [mapped_bytes(reader.pid, str(path)) for reader in readers]
    for reader in readers:
        reader.communicate("\n")
    return sum(resident for resident, _ in sizes), sum(own for _, own in sizes)


def mapped_bytes(pid: int, path: str) -> tuple[int, int]:
    """Resident and proportional bytes of one file in one process."""
    found = {"Rss": 0, "Pss": 0}
    inside = False
    with Path(f"/proc/{pid}/smaps").open(encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if "-" in name.split(" ")[0]:
                inside = line.rstrip().endswith(path)
            elif inside and name in found:
                found[name] += 1024 * int(value.split()[0])
    return found["Rss"], found["Pss"]


if __name__ == "__main__":
    main()
