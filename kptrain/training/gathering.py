"""Gathers the stored pixels and the persons of a batch in the host's memory.

Shapes: B samples, N persons (of the sample with the most; others are padded with unlabelled
persons), K joints, h x w pixels of the buffer.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from kptrain.augmentation.windows import Places, Windows, places_of, whole_windows, windows_of
from kptrain.data.pack_format import Pack
from kptrain.machine.cores import usable_cores


@dataclass(frozen=True)
class Gathered:
    """A batch in the host's memory."""

    samples: np.ndarray
    pixels: UInt8[Tensor, "B h w 3"]
    places: Places | None
    """Where the inputs lie in the pixels; None if the pixels are the inputs."""
    joints: np.ndarray
    labelled: np.ndarray
    learnt: np.ndarray


class Slot:
    """A reusable buffer for pixels; pinned if the device is a GPU.

    The gathering thread fills it, then the caller's thread sends it to the device.
    """

    def __init__(
        self, pack: Pack, device: torch.device, backward: np.ndarray | None = None
    ) -> None:
        """backward: (S, 2, 3) maps a point of each sample's result to its input; None if they are
        the same."""
        self._pack = pack
        self._device = device
        self._backward = backward
        self._buffer = torch.empty(0, dtype=torch.uint8)
        # Blocking: otherwise the waiting thread would keep a core busy.
        is_cuda = device.type == "cuda"
        self._sent = torch.cuda.Event(blocking=True) if is_cuda else None  # type: ignore[no-untyped-call]  # torch

    def gather(self, samples: np.ndarray) -> Gathered:
        if self._sent is not None:
            self._sent.synchronize()  # the buffer may still be in use by the copy before
        pixels, places = self._rows(samples) if self._pack.shape.has_rows else self._parts(samples)
        joints, labelled = _pad_persons(self._pack, samples)
        return Gathered(samples, pixels, places, joints, labelled, ~self._pack.ignore[samples])

    def send(self, pixels: UInt8[Tensor, "B h w 3"]) -> UInt8[Tensor, "B h w 3"]:
        """Copy what was gathered to the device, without waiting for a GPU."""
        sent = pixels.to(self._device, non_blocking=True)
        if self._sent is not None:
            self._sent.record(torch.cuda.current_stream(self._device))
        return sent

    def _rows(self, samples: np.ndarray) -> tuple[Tensor, Places | None]:
        """Whole inputs."""
        pack, size = self._pack, self._pack.shape.input_size
        pixels = self._room((len(samples), *size, 3))
        # All rows exist; without `clip` numpy would use a temporary buffer.
        np.take(pack.images, pack.table.row[samples], axis=0, out=pixels.numpy(), mode="clip")
        if self._backward is None:
            return pixels, None
        windows = windows_of(pack.table, samples, size, self._backward[samples])
        windows = whole_windows(windows, pack.table, samples)
        return pixels, places_of(windows, size, size)

    def _parts(self, samples: np.ndarray) -> tuple[Tensor, Places]:
        """Of each sample the stored pixels that its result shows, with black beside them."""
        size = self._pack.shape.input_size
        backward = None if self._backward is None else self._backward[samples]
        windows = windows_of(self._pack.table, samples, size, backward)
        width, height = windows.size.max(0).tolist()
        pixels = self._room((len(samples), height, width, 3))
        self._copy(samples, windows, pixels.numpy())
        return pixels, places_of(windows, size, (height, width))

    def _copy(self, samples: np.ndarray, windows: Windows, buffer: np.ndarray) -> None:
        def copy(slot: int) -> None:
            (x, y), (width, height) = windows.corner[slot].tolist(), windows.size[slot].tolist()
            place = buffer[slot]
            place[:height, :width] = self._pack.window(int(samples[slot]), x, y, width, height)
            place[:height, width:] = 0
            place[height:] = 0

        if not self._pack.shape.is_jpeg:
            for slot in range(len(samples)):
                copy(slot)
            return
        with ThreadPoolExecutor(usable_cores()) as pool:  # Pillow releases the GIL
            list(pool.map(copy, range(len(samples))))

    def _room(self, shape: tuple[int, ...]) -> UInt8[Tensor, "B h w 3"]:
        """A part of the buffer, which is made longer if need be."""
        length = int(np.prod(shape))
        if length > len(self._buffer):
            is_cuda = self._device.type == "cuda"
            self._buffer = torch.empty(length, dtype=torch.uint8, pin_memory=is_cuda)
        return self._buffer[:length].view(shape)


def _pad_persons(pack: Pack, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    table = pack.table
    counts = table.first[samples + 1] - table.first[samples]
    slots = np.arange(counts.max())
    present = slots < counts[:, None]
    persons = np.where(present, table.first[samples][:, None] + slots, 0)
    labelled = (table.keypoints[persons, :, 2] > 0) & present[:, :, None]
    return table.joints[persons], labelled
