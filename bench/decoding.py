"""Packing: a JPEG decoded and stretched by torchvision, and as ours by Pillow, on one core.

And how exact the first is: in how many of the images the decoded pixels differ at all, and by how
many of 255 levels the stretched ones do. torchvision 0.29 announces that its decoder will be
removed, so that packs are made by Pillow; this is what that costs.
"""

import os
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2.functional import resize

from bench.measure import in_turns, parse_arguments, rates, ratio, record, show, spread
from kptrain.annotations.reader import read_split
from kptrain.data.decode import decode_image
from kptrain.data.pack import data_folder
from kptrain.resolve import resolve

SIZE = (256, 256)
MOST = 200


def by_torchvision(path: Path) -> torch.Tensor:
    """(3, h, w) uint8."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        stored = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
        pixels: torch.Tensor = decode_jpeg(stored, mode=ImageReadMode.RGB)
        return pixels


def main() -> None:
    arguments = parse_arguments(__doc__, takes_data=True)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    config = resolve({"data.root": arguments.data}, "bench")
    images = read_split(data_folder(config.data), "train").images[:MOST]
    sizes = [(image.path, image.size) for image in images]

    def pillow(path: Path, size: tuple[int, int]) -> np.ndarray:
        whole = decode_image(path, size)
        return np.asarray(whole.resize(SIZE[::-1], Image.Resampling.BILINEAR))

    def torchvision(path: Path) -> np.ndarray:
        small = resize(by_torchvision(path), list(SIZE), antialias=True)
        stretched: np.ndarray = small.permute(1, 2, 0).numpy()
        return stretched

    differ = sum(
        not np.array_equal(by_torchvision(path).permute(1, 2, 0), np.asarray(decode_image(path, s)))
        for path, s in sizes
    )
    levels = max(int(np.abs(torchvision(p).astype(int) - pillow(p, s)).max()) for p, s in sizes)
    seconds = in_turns(
        {
            "torchvision": lambda: [torchvision(path) for path, _ in sizes],
            "Pillow": lambda: [pillow(path, size) for path, size in sizes],
        },
        arguments.repetitions,
        len(sizes),
    )
    times = ratio(seconds["Pillow"], seconds["torchvision"])
    rows = [(f"{name}, images/s", spread(rates(s), 0)) for name, s in seconds.items()]
    show(
        [
            *rows,
            ("Pillow / torchvision", times),
            ("images whose decoded pixels differ", f"{differ} of {len(sizes)}"),
            ("stretched, largest difference", f"{levels} of 255 levels"),
        ]
    )
    record(
        arguments,
        f"decoded and stretched to 256x256: {times} as fast as with Pillow; {differ} of "
        f"{len(sizes)} images decode differently, stretched ones differ by at most {levels} level",
    )


if __name__ == "__main__":
    main()
