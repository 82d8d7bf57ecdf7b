"""Builds a pack: decodes every image of a split, once.

A pack is written under a temporary name, under a lock, and renamed when it is complete. An
unfinished one records its progress, so that the next process resumes there.
"""

import shutil
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kptrain.annotations.reader import CocoImage, Split, describe
from kptrain.annotations.reasons import ADVICE, OTHER_SIZE
from kptrain.annotations.skipped import Skipped
from kptrain.config import DataSettings
from kptrain.data.pack_filling import fill
from kptrain.data.pack_format import Shape, Written, write_pack
from kptrain.data.pack_table import masks_of, table_of
from kptrain.data.pack_writers import PROGRESS, begin_jpeg, begin_raw
from kptrain.data.samples import Sample, has_surroundings, is_jpeg, limit_of, samples_of
from kptrain.errors import DataError
from kptrain.files.values import printable
from kptrain.machine.disk import flush


def build_pack(split: Split, settings: DataSettings, folder: Path, progress: bool) -> None:
    """Write the pack of a split. The caller holds a lock on its name.

    Raises: DataError if no image can be decoded, or with `data.strict`, if one cannot; OSError.
    """
    samples = samples_of(split, settings)
    num_samples = len(samples)
    samples = samples[: limit_of(settings, split.name)]
    temporary = folder.with_suffix(".tmp")
    shape = Shape(
        input_size=settings.image_size,
        has_surroundings=has_surroundings(settings, split.name),
        is_jpeg=is_jpeg(settings, split.name),
    )
    filled = _fill(samples, shape, temporary, f"Packing {split.name}", progress)
    skipped = split.skipped
    _count_failures(filled.failures, samples, skipped)
    skipped.count(f"samples beyond data.limit_{split.name}", num_samples - len(samples))
    kept = [row for row in range(len(samples)) if row not in filled.failures]
    if not kept:
        shutil.rmtree(temporary)
        ((cause, _),) = Counter(filled.failures.values()).most_common(1)
        fault = skipped.with_example(cause, skipped.counts[cause])
        raise DataError(
            f"{split.images[0].path.parent}: must hold images that can be decoded, but of "
            f"{len({sample.image.id for sample in samples})} tried none can: {fault}; "
            f"{ADVICE.get(cause, 'convert them')} (in all: {skipped})"
        )
    chosen = [samples[row] for row in kept]
    num_persons = sum(len(sample.persons) for sample in chosen)
    num_images = len({sample.image.id for sample in chosen})
    summary = describe(split.name, num_images, num_persons, skipped)
    table = table_of(chosen, kept, filled.starts[kept], filled.num_bytes[kept], settings)
    masks = masks_of(chosen, settings, f"Masks of {split.name}", progress)
    names = split.category_id, _written(split, chosen)
    write_pack(temporary, masks, table, summary, skipped.fault, *names, shape, progress)
    temporary.replace(folder)
    flush(folder.parent)
    (folder / PROGRESS).unlink()


@dataclass(frozen=True)
class _Filled:
    """The pixels on the disk."""

    failures: dict[int, str]
    """Rows that could not be filled, with the reason."""
    starts: np.ndarray
    """(S,) where each row's bytes begin."""
    num_bytes: np.ndarray
    """(S,) how many there are."""


def _fill(
    samples: list[Sample], shape: Shape, temporary: Path, title: str, progress: bool
) -> _Filled:
    """Write the pixels of all samples. Raises: DataError if the disk is too small; OSError."""
    if shape.is_jpeg:
        jpegs = begin_jpeg(temporary)
        fill(samples, jpegs, title, progress)
        return _Filled(jpegs.progress.failures, *jpegs.close(len(samples)))
    lengths = np.array([sample.part.num_bytes for sample in samples])
    ends = np.cumsum(lengths)
    rows = (len(samples), *shape.input_size, 3)
    pixels = begin_raw(
        temporary, rows if shape.has_rows else (int(ends[-1]),), np.concatenate(([0], ends))
    )
    fill(samples, pixels, title, progress)
    return _Filled(pixels.progress.failures, ends - lengths, lengths)


def _written(split: Split, samples: list[Sample]) -> Written:
    """How the file spells the ids, and its order of joints."""
    images = [sample.image for sample in samples]
    others = {one.id: _stored(one.written_id) for one in images if one.written_id != one.id}
    category = _stored(split.written_category_id)
    return Written(category_id=category, image_ids=others, joint_order=split.joint_order)


def _stored(written_id: Any) -> Any:
    return printable(written_id) if isinstance(written_id, str) else written_id


def _count_failures(failures: dict[int, str], samples: list[Sample], skipped: Skipped) -> None:
    """Count an image once, whatever the number of its samples."""
    rows = {samples[row].image.id: row for row in sorted(failures)}
    for row in rows.values():
        image, reason = samples[row].image, failures[row]
        which = image.path.name
        if reason == OTHER_SIZE and reason not in skipped.first:
            which += f", {_sizes(image)}"
        skipped.add(reason, which, image.path.parent)


def _sizes(image: CocoImage) -> str:
    """The annotated size and, if it can be read, the stored one."""
    height, width = image.size
    annotated = f"annotated as {width} x {height} (width x height)"
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(image.path) as stored:
            return f"{annotated}, but is {stored.width} x {stored.height}"
    except OSError:
        return annotated
