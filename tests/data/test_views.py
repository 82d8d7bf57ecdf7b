"""Frames of an original image: coordinates and pixels that agree, and what is masked in them."""

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from kptrain.annotations.reader import CocoImage, Ignored, Person
from kptrain.data.views import Frame, ignore_mask, image_frame, person_frame

Box = tuple[float, float, float, float]
SIZE = (128, 256)
FAR = (0.0, 0.0, 1.0, 1.0)


def person(box: Box, keypoints: NDArray[np.float64] | None = None) -> Person:
    return Person(1, np.zeros((17, 3)) if keypoints is None else keypoints, box, 100.0, 0)


def ignored(outline: Any, box: Box) -> Ignored:
    return Ignored(outline, box, 100.0, True, np.zeros((17, 3)), 0)


def image(*regions: Ignored, persons: tuple[Person, ...] = (), size: Any = SIZE) -> CocoImage:
    return CocoImage(1, Path("1.jpg"), size, persons, regions)


def at(x: float, y: float) -> NDArray[np.float64]:
    """A keypoint on a pixel of the original image."""
    return np.array([[x, y, 2.0]])


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's uncompressed RLE: down the columns, zeros first."""
    flat = mask.flatten("F").tolist()
    counts = [len(list(run)) for _, run in groupby(flat)]
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def rectangle(rows: slice, columns: slice, size: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(size, dtype=bool)
    mask[rows, columns] = True
    return mask


def test_in_the_image_view_the_first_pixels_centre_lies_half_a_scaled_pixel_in() -> None:
    frame = image_frame(image(size=(100, 400)), (64, 128))
    assert frame.scale.tolist() == [0.32, 0.64]
    assert frame.keypoints_in(at(0, 0))[0] == pytest.approx([0.5 * 0.32, 0.5 * 0.64])
    assert frame.keypoints_in(at(399, 99))[0] == pytest.approx([128 - 0.16, 64 - 0.32])


@pytest.mark.parametrize("box", [(10.0, 20.0, 30.0, 90.5), (-5.0, 100.25, 300.0, 20.0)])
def test_scale_and_shift_lead_back_to_the_original(box: Box) -> None:
    frame = person_frame(person(box), (96, 64))
    original = np.random.default_rng(0).uniform(-50, 300, (17, 3))
    back = (frame.keypoints_in(original) - frame.shift) / frame.scale - 0.5
    assert back == pytest.approx(original[:, :2])


@pytest.mark.parametrize("size", [(256, 192), (96, 96), (64, 128)])
@pytest.mark.parametrize("box", [(10.0, 20.0, 30.0, 90.5), (-5.5, 100.25, 300.0, 20.0)])
def test_a_persons_crop_is_its_box_by_a_quarter_larger_at_the_inputs_aspect(
    box: Box, size: tuple[int, int]
) -> None:
    frame = person_frame(person(box), size)
    x, y, width, height = box
    assert frame.width / frame.height == pytest.approx(size[1] / size[0])
    assert min(frame.width / width, frame.height / height) == pytest.approx(1.25)
    centre = (frame.x + frame.width / 2, frame.y + frame.height / 2)
    assert centre == pytest.approx((x + width / 2, y + height / 2))
    middle = frame.keypoints_in(at(x + width / 2 - 0.5, y + height / 2 - 0.5))
    assert middle[0] == pytest.approx([size[1] / 2, size[0] / 2])
    assert frame.scale[0] == pytest.approx(frame.scale[1])


def test_a_box_is_enlarged_about_its_centre() -> None:
    frame = Frame(10.0, 20.0, 100.0, 50.0, (200, 200))  # 2 input pixels a pixel across, 4 down
    assert frame.box_in((20.0, 30.0, 40.0, 10.0), 1.0) == pytest.approx([20, 40, 100, 80])
    assert frame.box_in((20.0, 30.0, 40.0, 10.0), 1.5) == pytest.approx([0, 30, 120, 90])


@pytest.mark.parametrize("size", [(64, 48), (96, 96), (256, 192)])
@pytest.mark.parametrize(
    "box",
    [(40.0, 30.0, 50.0, 60.0), (-20.5, -10.0, 60.25, 55.0), (90.0, 60.0, 60.0, 70.3)],
    ids=["inside", "over the upper left", "over the lower right"],
)
def test_a_dot_lies_in_the_cut_where_its_keypoint_does(box: Box, size: tuple[int, int]) -> None:
    x, y, width, height = box
    frame = person_frame(person(box), size)
    for across, down in ((0.3, 0.4), (0.5, 0.5), (0.45, 0.35)):
        column, row = round(x + across * width), round(y + down * height)
        column, row = min(max(column, 2), 117), min(max(row, 2), 97)
        pixels = np.zeros((100, 120, 3), dtype=np.uint8)
        pixels[row, column] = 255
        cut = frame.cut(Image.fromarray(pixels))[:, :, 0].astype(np.float64)
        expected = frame.keypoints_in(at(column, row))[0]
        brightest = np.array(np.unravel_index(cut.argmax(), cut.shape))[::-1]
        assert np.abs(brightest + 0.5 - expected).max() < 0.6
        rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
        centre = np.array([(columns * cut).sum(), (rows * cut).sum()]) / cut.sum()
        assert np.abs(centre - expected).max() < 0.1


def test_a_cut_is_black_where_it_leaves_the_image() -> None:
    white = Image.new("RGB", (100, 80), (255, 255, 255))
    cut = Frame(-50.0, -40.0, 100.0, 80.0, (80, 100)).cut(white)
    assert cut.shape == (80, 100, 3)
    assert (cut[:40] == 0).all()
    assert (cut[:, :50] == 0).all()
    assert (cut[40:, 50:] == 255).all()
    assert (Frame(200.0, 200.0, 40.0, 40.0, (64, 64)).cut(white) == 0).all()


def test_a_whole_image_of_the_inputs_size_is_cut_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    cut = image_frame(image(), SIZE).cut(Image.fromarray(pixels))
    assert cut.dtype == np.uint8
    assert np.array_equal(cut, pixels)


def test_without_ignored_regions_nothing_is_masked() -> None:
    mask = ignore_mask(image(persons=(person((10.0, 10.0, 50.0, 50.0)),)), SIZE)
    assert mask.shape == (32, 64)
    assert mask.dtype == bool
    assert not mask.any()


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [(SIZE, slice(8, 24), slice(16, 32)), ((64, 64), slice(4, 12), slice(4, 8))],
    ids=["as it is", "stretched"],
)
def test_a_polygon_is_masked_in_the_stretched_image(
    size: tuple[int, int], rows: slice, columns: slice
) -> None:
    outline = [[64, 32, 128, 32, 128, 96, 64, 96]]
    mask = ignore_mask(image(ignored(outline, FAR)), size)
    assert np.array_equal(mask, rectangle(rows, columns, (size[0] // 4, size[1] // 4)))


def test_all_polygons_of_an_outline_are_masked() -> None:
    outline = [[0, 0, 32, 0, 32, 32, 0, 32], [128, 64, 160, 64, 160, 96, 128, 96]]
    expected = rectangle(slice(0, 8), slice(0, 8), (32, 64))
    expected |= rectangle(slice(16, 24), slice(32, 40), (32, 64))
    assert np.array_equal(ignore_mask(image(ignored(outline, FAR)), SIZE), expected)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_crowds_run_lengths_are_masked(compressed: bool) -> None:
    mask = rectangle(slice(0, 64), slice(192, 256), SIZE)
    outline = run_lengths(mask)
    if compressed:
        packed = coco_mask.frPyObjects(outline, *SIZE)
        outline = {"size": list(SIZE), "counts": packed["counts"].decode()}
    found = ignore_mask(image(ignored(outline, FAR)), SIZE)
    assert np.array_equal(found, rectangle(slice(0, 16), slice(48, 64), (32, 64)))


def test_without_an_outline_the_box_is_masked_but_for_the_boxes_of_labelled_persons() -> None:
    crowd = ignored([], (64.0, 32.0, 64.0, 64.0))
    expected = rectangle(slice(8, 24), slice(16, 32), (32, 64))
    assert np.array_equal(ignore_mask(image(crowd), SIZE), expected)
    labelled = person((96.0, 0.0, 64.0, 64.0))
    expected[8:16, 24:32] = False
    assert np.array_equal(ignore_mask(image(crowd, persons=(labelled,)), SIZE), expected)


def test_a_box_is_masked_to_the_pixel_where_a_heatmap_has_the_images_size() -> None:
    crowd = ignored([], (8.0, 4.0, 16.0, 10.0))
    labelled = person((20.0, 4.0, 4.0, 5.0))
    mask = ignore_mask(image(crowd, persons=(labelled,), size=(32, 64)), SIZE)
    expected = rectangle(slice(4, 14), slice(8, 24), (32, 64))
    expected[4:9, 20:24] = False
    assert np.array_equal(mask, expected)


def test_regions_are_masked_together() -> None:
    box = ignored([], (0.0, 0.0, 32.0, 32.0))
    crowd = ignored(run_lengths(rectangle(slice(64, 128), slice(0, 128), SIZE)), FAR)
    expected = rectangle(slice(0, 8), slice(0, 8), (32, 64))
    expected |= rectangle(slice(16, 32), slice(0, 32), (32, 64))
    assert np.array_equal(ignore_mask(image(box, crowd), SIZE), expected)


@pytest.mark.parametrize(
    "box", [(-90.0, -90.0, 120.0, 120.0), (250.0, 120.0, 40.0, 40.0), (5.0, 5.0, 0.0, 0.0)]
)
def test_a_box_that_leaves_the_image_or_is_empty_is_masked_where_it_can_be(box: Box) -> None:
    mask = ignore_mask(image(ignored([], box)), SIZE)
    x, y, width, height = (round(number / 4) for number in box)
    expected = rectangle(slice(max(y, 0), y + height), slice(max(x, 0), x + width), (32, 64))
    assert (mask != expected).sum() <= 8  # what is half covered may round to either side
    assert mask.any() == expected.any()
