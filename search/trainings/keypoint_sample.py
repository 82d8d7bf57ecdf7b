"""A sample of a search's data, packed, to measure the speed of packing and training."""

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
from kptrain.data.pack_builder import build_pack
from kptrain.data.pack_format import read_pack
from kptrain.data.samples import limit_of, samples_of
from kptrain.errors import DataError
from kptrain.files.layout import SplitName
from kptrain.resolve import EMBEDDED
from kptrain.synthetic.data_set import NUM_TRAIN, NUM_VAL, embedded_exists, write_embedded
from search.space.pace import MeasuringError

FEW: dict[SplitName, int] = {"train": 32, "val": 8}
"""Images of each split in the sample."""
SPREAD = 1000
"""Images of a split by which the size of its pack is estimated."""
ENOUGH = 0.5
"""Seconds of packing that give a reliable time per image."""


@dataclass(frozen=True)
class Data:
    """The data of a search, and the time until they exist."""

    splits: dict[SplitName, Split]
    """The complete splits; only a part of a synthetic set that is not generated yet."""
    parts: dict[SplitName, float]
    """For each split, the ratio of its full size to the size in `splits`."""
    drawing: float
    """Seconds until the synthetic set is generated; 0 if the data exist."""

    def num_samples(self, settings: DataSettings, name: SplitName) -> float:
        """The number of samples of an epoch."""
        split = self.splits[name]
        number = len(split.images) if settings.view == "image" else split.num_persons
        return min(number * self.parts[name], limit_of(settings, name) or math.inf)

    def to_pack(self, settings: DataSettings) -> Iterator[tuple[SplitName, float, float]]:
        """For each split without a pack: images to decode, and the bytes of raw pixels."""
        for name, split in self.splits.items():
            if not self.drawing and is_packed(settings, name):
                continue
            samples = self.num_samples(settings, name)
            each = 1.0 if settings.view == "image" else len(split.images) / split.num_persons
            some = replace(split, images=split.images[:: max(len(split.images) // SPREAD, 1)])
            sizes = [sample.part.num_bytes for sample in samples_of(some, settings)]
            yield name, samples * each, samples * sum(sizes) / len(sizes)


def read_data(base: TrainConfig, folder: Path) -> Data:
    """Read both splits; of a synthetic set that does not exist yet, generate a part in a folder.

    Raises: DataError.
    """
    root, parts, drawing = base.data.root, {"train": 1.0, "val": 1.0}, 0.0
    if root == EMBEDDED and not embedded_exists(cache_dir()):
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
    """Packs of some images of both splits, built once for each view and image size."""

    def __init__(self, data: Data, folder: Path) -> None:
        self.data = data
        self._folder = folder
        self._built: dict[tuple[Any, ...], list[Path]] = {}

    def folders(self, settings: DataSettings) -> list[Path]:
        """The packs of both splits. Raises: MeasuringError if no image can be decoded."""
        key = (settings.view, settings.image_size, settings.pack)
        if key not in self._built:
            folders = {name: self._folder / f"{name}-{len(self._built)}" for name in FEW}
            for name, folder in folders.items():
                self._pack(name, settings, folder, FEW[name])
            self._built[key] = list(folders.values())
        return self._built[key]

    def byte_share(self, settings: DataSettings, name: SplitName) -> float:
        """The bytes of a pack, as a share of the bytes of raw pixels. Raises: MeasuringError as
        `folders`."""
        pack, _ = read_pack(self.folders(settings)[list(FEW).index(name)], "")
        return float(pack.images.nbytes / (3 * pack.table.stored.prod(axis=1).sum()))

    def image_seconds(self, settings: DataSettings) -> float:
        """Seconds to decode and pack one image, on all cores. Raises: MeasuringError as `folders`.

        Packs a few and many images in turn, more each time, until that took ENOUGH. The difference
        excludes the fixed cost of a pack.
        """
        num_more = num_packed = 0
        more = spent = 0.0
        number = FEW["train"]
        while spent < ENOUGH:
            with TemporaryDirectory(dir=self._folder) as name:
                few, short = self._pack("train", settings, Path(name) / "few", FEW["val"])
                many, long = self._pack("train", settings, Path(name) / "many", number)
            num_more, more = num_more + many - few, more + long - short
            num_packed, spent = num_packed + many + few, spent + long + short
            number *= 4
        return more / num_more if num_more and more > 0 else spent / num_packed

    def _pack(
        self, name: SplitName, settings: DataSettings, folder: Path, number: int
    ) -> tuple[int, float]:
        """Pack at most `number` images; returns how many, and the seconds."""
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
