"""Which stored pixels a batch needs, and where its inputs lie in them.

Shapes: B samples. Frames: input, as it was cut; stored, as in `kptrain.data.parts`; result, the
input of the network; and the buffer into which the stored pixels of a batch are gathered, each
sample's in its upper left corner, with black beside them. All coordinates are continuous pixels.
"""

from dataclasses import dataclass

import numpy as np

from kptrain.data.pack_format import Table

SLACK = 1e-3
"""Pixels by which rounding may move a coordinate."""


@dataclass(frozen=True)
class Windows:
    """The stored pixels that the samples of a batch need."""

    corner: np.ndarray
    """(B, 2) int64: x, y of the first pixel."""
    size: np.ndarray
    """(B, 2) int64: width and height, at least 1."""
    maps: np.ndarray
    """(B, 2, 3) float64: maps a point of the result to the stored pixels."""
    photograph: np.ndarray
    """(B, 4) float64: x0, y0, x1, y1 of the photograph in stored pixels."""


@dataclass(frozen=True)
class Places:
    """Where inputs lie in a buffer, in torch's coordinates: from -1 to 1 across the buffer."""

    maps: np.ndarray
    """(B, 2, 3) float32: maps a point of the result, from -1 to 1 too, as `affine_grid` expects."""
    photograph: np.ndarray
    """(B, 2, 2) float32: the least and the greatest x and y of the photograph."""


def windows_of(
    table: Table, samples: np.ndarray, size: tuple[int, int], backward: np.ndarray | None
) -> Windows:
    """The windows of some samples; size: (height, width) of the result; backward: (B, 2, 3) maps a
    point of the result to the input, None if they are the same."""
    if backward is None:
        backward = np.broadcast_to(np.eye(2, 3), (len(samples), 2, 3))
    zoom, origin = table.zoom[samples], table.origin[samples]
    maps = backward * zoom[:, :, None]
    maps[:, :, 2] += origin
    height, width = size
    centres = np.array([[x, y, 1.0] for x in (0.5, width - 0.5) for y in (0.5, height - 0.5)])
    corners = maps @ centres.T  # (B, 2, 4)
    stored = table.stored[samples][:, ::-1]
    # A bilinear sample is of the two pixels whose centres are around it.
    low = np.floor(corners.min(2) - 0.5 - SLACK).clip(0, stored - 1)
    high = (np.floor(corners.max(2) - 0.5 + SLACK) + 2).clip(low + 1, stored)
    edges = table.inside[samples].astype(float).reshape(-1, 2, 2)
    photograph = edges * zoom[:, None] + origin[:, None]
    return Windows(
        low.astype(np.int64), (high - low).astype(np.int64), maps, photograph.reshape(-1, 4)
    )


def whole_windows(windows: Windows, table: Table, samples: np.ndarray) -> Windows:
    """The same with all that is stored for each sample."""
    size = table.stored[samples][:, ::-1].astype(np.int64)
    return Windows(np.zeros_like(size), size, windows.maps, windows.photograph)


def places_of(windows: Windows, size: tuple[int, int], buffer: tuple[int, int]) -> Places:
    """The places of results of `size` in a buffer, both (height, width)."""
    across = np.array(buffer[::-1], dtype=float)
    moved = -windows.corner  # from stored pixels to the buffer's
    half = np.array(size[::-1]) / 2
    # A point of the result is half * (p + 1), with p from -1 to 1.
    linear = windows.maps[:, :, :2] * half
    offset = windows.maps[:, :, :2] @ half + windows.maps[:, :, 2] + moved
    scaled = np.concatenate((linear, offset[:, :, None]), axis=2) * (2 / across)[:, None]
    scaled[:, :, 2] -= 1
    photograph = (windows.photograph.reshape(-1, 2, 2) + moved[:, None]) * 2 / across - 1
    return Places(scaled.astype(np.float32), photograph.astype(np.float32))
