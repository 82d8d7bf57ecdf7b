"""Finds the labelled persons of a pack in heatmaps.

Shapes: B samples, m of their persons, K joints, h x w heatmap pixels. There is one detection for
each labelled person, searched in its annotated box.
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from kptrain.config import OUTPUT_STRIDE
from kptrain.data.pack_format import Pack, Table
from kptrain.machine.device import send
from kptrain.model.heatmaps import Decoder, decode


def persons_of(samples: np.ndarray, table: Table) -> tuple[np.ndarray, np.ndarray]:
    """(m,) rows of the samples' persons, and (m,) the index of each person's sample."""
    counts = table.first[samples + 1] - table.first[samples]
    inside = np.repeat(np.arange(len(samples)), counts)
    before = np.cumsum(counts) - counts
    return table.first[samples][inside] + np.arange(len(inside)) - before[inside], inside


def find_peaks(
    heatmaps: Float[Tensor, "B K h w"],
    samples: np.ndarray,
    table: Table,
    decoder: Decoder = decode,
) -> Float[Tensor, "m K 3"]:
    """Find every person of some samples: x, y in heatmap pixels and score, on the device."""
    persons, inside = persons_of(samples, table)
    boxes = send(table.peak_box[persons] / OUTPUT_STRIDE, heatmaps.device)
    return decoder(heatmaps[send(inside, heatmaps.device)], boxes)


def in_original(peaks: Float[Tensor, "m K 3"], samples: np.ndarray, table: Table) -> np.ndarray:
    """(m, K, 3) float64: peaks of some samples, with x and y in the original image."""
    _, inside = persons_of(samples, table)
    found = peaks.cpu().numpy().astype(np.float64)
    scale, shift = table.scale[samples][inside], table.shift[samples][inside]
    found[:, :, :2] = (found[:, :, :2] * OUTPUT_STRIDE - shift[:, None]) / scale[:, None] - 0.5
    return found


def detect(
    heatmaps: Float[Tensor, "B K h w"],
    pack: Pack,
    samples: np.ndarray,
    decoder: Decoder = decode,
) -> tuple[np.ndarray, np.ndarray]:
    """Find every labelled person of some samples in their heatmaps.

    Returns (m,) the persons' rows in the pack, and (m, K, 3) x, y in the original image and
    keypoint score.
    """
    peaks = find_peaks(heatmaps, samples, pack.table, decoder)
    return persons_of(samples, pack.table)[0], in_original(peaks, samples, pack.table)
