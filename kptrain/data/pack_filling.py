"""Fills the pixels of a pack: decodes every image of a split, once, on all cores."""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kptrain.data.decode import UnreadableImageError, decode_image
from kptrain.data.pack_writers import Writer
from kptrain.data.samples import Sample
from kptrain.machine.cores import usable_cores
from kptrain.machine.progress import track

PART = 1024
"""Image files between two records of the progress."""

Prepared = dict[int, Any] | str
"""What the writer made of each row of one image, or why there is nothing."""


def fill(samples: list[Sample], writer: Writer, title: str, progress: bool) -> None:
    """Fill the rows that the writer does not have yet; record the progress and the rows that could
    not be filled."""
    by_image: dict[int, list[int]] = {}
    for row, sample in enumerate(samples):
        by_image.setdefault(sample.image.id, []).append(row)
    state = writer.progress
    left = list(by_image.values())[state.num_images :]

    def prepare(rows: list[int]) -> tuple[list[int], Prepared]:
        image = samples[rows[0]].image
        try:
            pixels = decode_image(image.path, image.size)
        except UnreadableImageError as error:
            return rows, str(error)
        return rows, {row: writer.prepare(row, samples[row].part.cut(pixels)) for row in rows}

    def parts() -> Iterator[None]:
        # Pillow releases the GIL.
        with ThreadPoolExecutor(usable_cores()) as pool:
            for start in range(0, len(left), PART):
                part = left[start : start + PART]
                for rows, prepared in pool.map(prepare, part):
                    if isinstance(prepared, str):
                        state.failures |= dict.fromkeys(rows, prepared)
                    else:
                        writer.keep(prepared)
                    yield
                writer.flush()
                state.num_images += len(part)
                state.save()

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # unsound files are counted
        for _ in track(parts(), title, len(left), shown=progress):
            pass
