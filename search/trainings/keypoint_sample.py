"""Some of the data of a search, packed: on it is measured how fast packing and training are."""

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kptrain.annotations.reader import Split, read_split
from kptrain.annotations.skipped import Skipped
from kptrain.config import DataSettings, TrainConfig
from kptrain.data.decode import UnreadableImageError, decode_image
from kptrain.data.pack import cache_dir, data_folder, is_packed
from kptrain.data.pack_builder import build_pack, limit_of
from kptrain.errors import DataError
from kptrain.files.layout import SplitName
from kptrain.resolve import EMBEDDED
from kptrain.synthetic.data_set import NUM_TRAIN, NUM_VAL, is_drawn, write_embedded
from search.space.pace import MeasuringError

FEW: dict[SplitName, int] = {"train": 32, "val": 8}
"""Images of each split on which is measured."""
ENOUGH = 0.5
"""Seconds of packing, from which on it tells how long an image takes."""


@dataclass(frozen=True)
class Data:
    """The data of a search, and how long it takes until they can be trained on."""

    splits: dict[SplitName, Split]
    """Whole, or of a set that is not drawn yet, a part."""
    parts: dict[SplitName, float]
    """How many times as many there are as in `splits`."""
    drawing: float
    """Seconds until they are drawn; 0 where they are there."""

    def num_samples(self, settings: DataSettings, name: SplitName) -> float:
        """Of an epoch."""
        split = self.splits[name]
        number = len(split.images) if settings.view == "image" else split.num_persons
        return min(number * self.parts[name], limit_of(settings, name) or math.inf)

    def to_pack(self, settings: DataSettings) -> Iterator[tuple[float, int]]:
        """Of each split not known to be packed: how many images, and the bytes of their pack."""
        for name, split in self.splits.items():
            if not self.drawing and is_packed(settings, name):
                continue
            samples = self.num_samples(settings, name)
            each = 1.0 if settings.view == "image" else len(split.images) / split.num_persons
            height, width = settings.image_size
            yield samples * each, round(samples * height * width * 3)


def read_data(base: TrainConfig, folder: Path) -> Data:
    """Read both splits; of a set that is still to be drawn, draw a part into a folder.

    Raises: DataError.
    """
    root, parts, drawing = base.data.root, {"train": 1.0, "val": 1.0}, 0.0
    if root == EMBEDDED and not is_drawn(cache_dir()):
        drawn, began = folder / "drawn", time.perf_counter()
        write_embedded(drawn, FEW["train"], FEW["val"])
        each = (time.perf_counter() - began) / sum(FEW.values())
        drawing = each * (NUM_TRAIN + NUM_VAL)
        parts = {"train": NUM_TRAIN / FEW["train"], "val": NUM_VAL / FEW["val"]}
    else:
        drawn = data_folder(base.data)
    splits = {name: read_split(drawn, name, base.data.strict) for name in FEW}
    return Data(splits, {name: parts[name] for name in FEW}, drawing)


class Packs:
    """Some images of both splits, packed as settings want it; each pack is made once."""

    def __init__(self, data: Data, folder: Path) -> None:
        self.data = data
        self._folder = folder
        self._made: dict[tuple[Any, ...], list[Path]] = {}

    def folders(self, settings: DataSettings) -> list[Path]:
        """Of the train and the val split. Raises: MeasuringError if no image can be decoded."""
        key = (settings.view, settings.image_size)
        if key not in self._made:
            folders = {name: self._folder / f"{name}-{len(self._made)}" for name in FEW}
            for name, folder in folders.items():
                self._pack(name, settings, folder, FEW[name])
            self._made[key] = list(folders.values())
        return self._made[key]

    def image_seconds(self, settings: DataSettings) -> float:
        """To decode and pack an image, on all cores. Raises: MeasuringError as above.

        A few and many are packed by turns, each time more of them, until that took ENOUGH.
        """
        told = packed = 0
        more = spent = 0.0
        number = FEW["train"]
        while spent < ENOUGH:
            with TemporaryDirectory(dir=self._folder) as name:
                few, short = self._pack("train", settings, Path(name) / "few", FEW["val"])
                many, long = self._pack("train", settings, Path(name) / "many", number)
            told, more = told + many - few, more + long - short
            packed, spent = packed + many + few, spent + long + short
            number *= 4
        # Less what a pack takes however small it is, if that can be told.
        return more / told if told and more > 0 else spent / packed

    def _pack(
        self, name: SplitName, settings: DataSettings, folder: Path, number: int
    ) -> tuple[int, float]:
        """So many images, if there are; how many, and how many seconds it took."""
        split = self.data.splits[name]
        images = split.images[:: max(len(split.images) // number, 1)][:number]
        with suppress(UnreadableImageError, DataError):  # the first loads Pillow's decoder
            decode_image(images[0].path, images[0].size)
        some = replace(split, images=images, skipped=Skipped(False))
        whole = settings.model_copy(update={"limit_train": None, "limit_val": None})
        began = time.perf_counter()
        try:
            build_pack(some, whole, folder, progress=False)
        except DataError as error:
            raise MeasuringError(str(error)) from None
        return len(images), time.perf_counter() - began
