"""Packs of small data sets, and caches of them."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from coco_files import CocoWriter

from kptrain.config import DataSettings
from kptrain.data.pack_format import Pack

View = Literal["image", "person"]


SIZE = (64, 96)


def settings(root: Path | str, view: View = "image", **more: Any) -> DataSettings:
    return DataSettings(root=str(root), view=view, **({"image_size": SIZE} | more))


def written(writer: CocoWriter, images: int = 5, persons: int = 2) -> Path:
    """Images 1, 2, … with persons 11, 12, 21, 22, …"""
    for image in range(1, images + 1):
        writer.image("train", image)
        for person in range(1, persons + 1):
            writer.person("train", image, 10 * image + person, area=100.0 * image + person)
    return writer.write()


def spoil(root: Path, *numbers: int) -> None:
    """Cut the files of images in the middle."""
    for number in numbers:
        path = root / "train2017" / f"{number:012d}.jpg"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def folders(cache: Path) -> list[str]:
    """The packs of a cache, unfinished ones too."""
    return sorted(entry.name for entry in (cache / "packs").iterdir() if entry.is_dir())


def same(one: Pack, other: Pack) -> bool:
    tables = zip(vars(one.table).values(), vars(other.table).values(), strict=True)
    return (
        (one.fingerprint, one.summary) == (other.fingerprint, other.summary)
        and np.array_equal(one.images, other.images)
        and all(np.array_equal(a, b) for a, b in tables)
    )
