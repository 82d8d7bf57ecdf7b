"""Which part of a photograph a pack stores for a sample, and at which resolution.

In validation, and in the image view, that is the network's input. For training in the person view
it is the crop with its surroundings, because augmentation warps the photograph: what a view of
`PERSON_REACH` times the crop's diagonal can see, as far as the photograph goes. It has the
resolution of the input, or of the photograph where that is coarser, so that nothing is enlarged on
the disk.

Beside the frames of `kptrain.data.views` there is a third, stored: continuous pixels of the stored
part. A map from the input to it is zoom and origin: `stored = input * zoom + origin`.
"""

from dataclasses import dataclass
from math import hypot

import numpy as np
from PIL import Image

from kptrain.config import PERSON_REACH
from kptrain.data.views import Frame


@dataclass(frozen=True)
class Part:
    """What is stored for a sample."""

    frame: Frame
    """The rectangle of the original image, and its size in stored pixels."""
    zoom: np.ndarray
    """(2,) stored pixels per input pixel, along x and y; at most 1."""
    origin: np.ndarray
    """(2,) the input's corner in stored pixels."""

    @property
    def num_bytes(self) -> int:
        height, width = self.frame.size
        return 3 * height * width

    def cut(self, image: Image.Image) -> np.ndarray:
        """The stored pixels, (h, w, 3) uint8; black outside the image."""
        return self.frame.cut(image)


def input_alone(frame: Frame) -> Part:
    """The input itself."""
    return Part(frame, np.ones(2), np.zeros(2))


def with_surroundings(frame: Frame, image_size: tuple[int, int]) -> Part:
    """A crop with its surroundings in an image of (height, width).

    Its pixels lie on the grid of the input, or on that of the image if that is coarser, so the crop
    alone is taken out of it without any interpolation, or with that of a plain resize.
    """
    density = np.minimum(frame.scale, 1)  # stored pixels per original pixel
    zoom = density / frame.scale
    offset = np.where(frame.scale < 1, frame.shift, 0)  # grid = original * density + offset
    input_at = offset - frame.shift * zoom  # the input's corner on the grid
    size = np.array(frame.size[::-1])
    radius = PERSON_REACH / 2 * hypot(*size)
    reached = np.stack((size / 2 - radius, size / 2 + radius)) * zoom + input_at
    # Reduced pixels blend with the black around the image, up to a pixel and a half beyond it, and
    # Pillow's filter must see half a pixel more.
    blend = np.where(frame.scale < 1, 2.0, 0.0)
    whole = np.array(image_size[::-1]) * density
    low = np.floor(np.maximum(reached[0], offset - blend))
    high = np.ceil(np.minimum(reached[1], offset + whole + blend))
    high = np.maximum(high, low + 1)  # a crop far outside the image: one black pixel
    corner, (width, height) = (low - offset) / density, (high - low)
    original = (high - low) / density
    place = (float(corner[0]), float(corner[1]), float(original[0]), float(original[1]))
    return Part(Frame(*place, size=(int(height), int(width))), zoom, input_at - low)
