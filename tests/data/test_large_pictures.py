"""Crops of large pictures: no more memory than an input needs, and every pixel in its place."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from kptrain.data.views import PERSON_MARGIN, Frame, box_frame

RAMP = 255
"""Brightest pixel of a ramp, at its right or lower end."""


def ramp(width: int, height: int, axis: int) -> Image.Image:
    """A picture that grows brighter to the right (axis 1) or downwards (axis 0), from 0."""
    length = (height, width)[axis]
    line = ((np.arange(length) + 0.5) * RAMP / length).round().astype(np.uint8)
    shape: Any = (-1, 1) if axis == 0 else (1, -1)
    grey = np.broadcast_to(line.reshape(shape), (height, width))
    return Image.fromarray(np.ascontiguousarray(grey)).convert("RGB")


def assert_shows(cut: np.ndarray, frame: Frame, image: Image.Image, axis: int) -> None:
    """The ramp is where the frame puts it, and black is around it."""
    places = (np.arange(frame.size[axis]) + 0.5 - frame.shift[1 - axis]) / frame.scale[1 - axis]
    expected = places * RAMP / image.size[1 - axis]
    x0, y0, x1, y1 = frame.inside((image.height, image.width)).round().astype(int)
    inside = cut[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2, 0].astype(float)
    across = inside.mean(axis=1 - axis)
    first, last = ((y0, y1), (x0, x1))[axis]
    # A column of the input covers several grey levels of a short ramp.
    assert np.abs(across - expected[first + 2 : last - 2]).max() < 1.5
    outside = cut.astype(int)
    outside[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = 0
    assert outside.max() == 0


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", [(256, 192), (64, 64)])
def test_a_person_as_large_as_a_panorama_is_cut_with_every_pixel_in_its_place(
    axis: int, size: tuple[int, int]
) -> None:
    image = ramp(2500, 11000, axis)
    frame = box_frame((0.0, 0.0, 2500.0, 11000.0), size, PERSON_MARGIN)
    assert frame.width * frame.height > 178_956_970 * 0.7  # Pillow would warn, or refuse
    assert_shows(frame.cut(image), frame, image, axis)


def test_a_long_box_over_the_edge_of_a_large_picture_is_black_outside_of_it() -> None:
    image = ramp(9000, 2000, 1)
    frame = box_frame((-3000.5, 20.0, 12000.0, 1850.0), (96, 128), PERSON_MARGIN)
    assert_shows(frame.cut(image), frame, image, 1)
    beyond = box_frame((9000.0, 0.0, 9000.0, 2000.0), (96, 128), 1.0)
    assert (beyond.cut(image) == 0).all()
    assert beyond.inside((2000, 9000)).tolist() == [0, 0, 0, 0]


def test_a_long_picture_keeps_its_rows() -> None:
    image = ramp(40_000, 32, 0)
    frame = Frame(0.0, 0.0, 40_000.0, 32.0, (64, 64))
    column = frame.cut(image)[:, 20, 0].astype(int)
    assert len(set(column.tolist())) >= 32
    assert (np.diff(column) >= 0).all()


def test_what_is_not_long_is_cut_by_pillow_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    frame = box_frame((400.25, -20.5, 210.0, 377.0), (256, 192), PERSON_MARGIN)
    left, top = int(np.floor(frame.x)), int(np.floor(frame.y))
    right, bottom = int(np.ceil(frame.x + frame.width)), int(np.ceil(frame.y + frame.height))
    whole = image.crop((left, top, right, bottom))
    box = (frame.x - left, frame.y - top, frame.x - left + frame.width)
    expected = whole.resize((192, 256), Image.Resampling.BILINEAR, (*box, box[1] + frame.height))
    assert np.array_equal(frame.cut(image), np.asarray(expected))


def test_the_place_of_the_photograph_in_the_input_is_recorded() -> None:
    frame = Frame(-50.0, 20.0, 200.0, 100.0, (200, 400))  # 2 input pixels a pixel
    assert frame.inside((480, 640)).tolist() == [100, 0, 400, 200]
    assert frame.inside((60, 100)).tolist() == [100, 0, 300, 80]
    assert Frame(0.0, 0.0, 640.0, 480.0, (64, 64)).inside((480, 640)).tolist() == [0, 0, 64, 64]
