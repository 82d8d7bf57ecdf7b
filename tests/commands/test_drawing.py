"""The picture of examples: what is drawn, where, and in which column.

Places are continuous (x, y) in the input image's pixels unless a name says cell or page.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from kptrain.commands import drawing as draw
from kptrain.commands.drawing import Example, draw_examples, draw_persons
from kptrain.keypoints import JOINTS

GREY = 100
TRUE, PREDICTED, HEATMAPS = 0, 1, 2
Pixels = NDArray[np.int64]  # [H, W, 3]
Joints = Mapping[str, tuple[float, float, float]]


def example(
    size: tuple[int, int] = (48, 64),
    true: Joints | None = None,
    predicted: Joints | None = None,
    peaks: Mapping[tuple[int, int, int], float] | None = None,
) -> Example:
    """A grey image with one person; joints not named are unlabelled or faint and far outside."""
    height, width = size
    heatmaps = np.zeros((17, height // 4, width // 4), dtype=np.float32)
    for place, value in (peaks or {}).items():
        heatmaps[place] = value
    return Example(
        image=np.full((height, width, 3), GREY, dtype=np.uint8),
        true=person(true or {}),
        predicted=person(predicted or {}),
        heatmaps=heatmaps,
    )


def person(joints: Joints) -> NDArray[np.float32]:
    values = np.full((1, 17, 3), -1000, dtype=np.float32)
    values[..., 2] = 0
    for name, value in joints.items():
        values[0, JOINTS.index(name)] = value
    return values


def drawn(folder: Path, *examples: Example) -> Pixels:
    draw_examples(examples, folder / "examples.png")
    with Image.open(folder / "examples.png") as page:
        return np.asarray(page).astype(int)


def cell_of(page: Pixels, column: int, size: tuple[int, int] = (192, 256)) -> Pixels:
    """Cut one cell of `size` (height, width) out of the first row."""
    left = draw.GAP_PX + column * (size[1] + draw.GAP_PX)
    return page[draw.HEADER_PX : draw.HEADER_PX + size[0], left : left + size[1]]


def changed(cell: Pixels) -> NDArray[np.float64]:
    """Return [K, 2]: the centres (x, y) of pixels that are not the plain image's, in the cell."""
    rows, columns = np.nonzero(np.abs(cell - GREY).max(axis=-1) > 0)
    return np.stack([columns, rows], axis=-1).astype(np.float64) + 0.5


@pytest.mark.parametrize(
    ("size", "cell_size"),
    [((48, 64), (192, 256)), ((64, 48), (256, 192)), ((100, 100), (200, 200)), ((256,) * 2,) * 2],
)
def test_small_images_are_enlarged_by_a_whole_factor(
    tmp_path: Path, size: tuple[int, int], cell_size: tuple[int, int]
) -> None:
    page = drawn(tmp_path, example(size))
    height = draw.HEADER_PX + cell_size[0] + draw.CAPTION_PX
    assert page.shape == (height, 3 * cell_size[1] + 4 * draw.GAP_PX, 3)


def test_every_example_has_a_row_and_columns_fit_the_widest(tmp_path: Path) -> None:
    page = drawn(tmp_path, example((48, 64)), example((256, 320)))
    height = draw.HEADER_PX + 192 + 256 + 2 * draw.CAPTION_PX
    assert page.shape == (height, 3 * 320 + 4 * draw.GAP_PX, 3)


@pytest.mark.parametrize("xy", [(20.5, 30.5), (32.0, 24.0), (50.25, 10.0)])
def test_a_joint_is_drawn_at_its_place_and_nowhere_else(
    tmp_path: Path, xy: tuple[float, float]
) -> None:
    cell = cell_of(drawn(tmp_path, example(true={"left_hip": (*xy, 2)})), TRUE)
    marked, expected = changed(cell), 4 * np.array(xy)
    assert np.abs(marked.mean(axis=0) - expected).max() < 0.3
    assert np.linalg.norm(marked - expected, axis=1).max() < 5


def test_true_and_predicted_stand_in_their_own_columns(tmp_path: Path) -> None:
    page = drawn(tmp_path, example(true={"nose": (10, 10, 1)}, predicted={"nose": (50, 40, 0.9)}))
    assert np.abs(changed(cell_of(page, TRUE)).mean(axis=0) - [40, 40]).max() < 0.5
    assert np.abs(changed(cell_of(page, PREDICTED)).mean(axis=0) - [200, 160]).max() < 0.5
    assert len(changed(cell_of(page, HEATMAPS))) == 192 * 256, "no dark backdrop"


def test_an_unlabelled_joint_is_not_drawn(tmp_path: Path) -> None:
    page = drawn(tmp_path, example(true={"nose": (30, 20, 0)}))
    assert len(changed(cell_of(page, TRUE))) == 0


def test_a_faint_joint_is_hollow_and_a_firm_one_is_filled(tmp_path: Path) -> None:
    joints = {"nose": (10.0, 10.0, 0.09), "left_wrist": (50.0, 40.0, 0.11)}
    cell = cell_of(drawn(tmp_path, example(predicted=joints)), PREDICTED)
    assert (cell[40, 40] == GREY).all()
    assert np.abs(changed(cell[:80, :80]).mean(axis=0) - 40).max() < 0.5
    assert np.abs(cell[160, 200] - draw.COLOURS["left"]).max() <= 2


def test_left_right_and_middle_differ_in_colour(tmp_path: Path) -> None:
    joints = {"left_shoulder": (50.0, 10.0, 2.0), "right_shoulder": (10.0, 10.0, 2.0)}
    joints |= {"left_elbow": (50.0, 40.0, 2.0), "right_elbow": (10.0, 40.0, 2.0)}
    cell = cell_of(drawn(tmp_path, example(true=joints)), TRUE)
    limbs = {"left": (100, 200), "right": (100, 40), "middle": (40, 120)}
    for side, place in limbs.items():
        assert np.abs(cell[place] - draw.COLOURS[side]).max() <= 8, side
    assert np.abs(np.subtract(draw.COLOURS["left"], draw.COLOURS["right"])).max() > 100


def test_a_limb_is_drawn_only_between_firm_joints(tmp_path: Path) -> None:
    for score, is_drawn in ((0.9, True), (0.05, False)):
        joints = {"left_knee": (10.0, 20.0, 0.9), "left_ankle": (50.0, 20.0, score)}
        cell = cell_of(drawn(tmp_path, example(predicted=joints)), PREDICTED)
        assert (changed(cell[60:100, 80:160]).size > 0) == is_drawn


def test_the_highest_peak_of_any_joint_is_the_brightest_place(tmp_path: Path) -> None:
    peaks = {(3, 2, 3): 0.2, (16, 9, 12): 0.4, (0, 5, 8): 0.1}
    bright = cell_of(drawn(tmp_path, example(peaks=peaks)), HEATMAPS).sum(axis=-1)
    row, column = np.unravel_index(bright.argmax(), bright.shape)
    assert np.abs(np.array([row, column]) - [16 * 9.5, 16 * 12.5]).max() <= 1
    at = [bright[16 * y + 8, 16 * x + 8] for _, y, x in sorted(peaks, key=lambda p: peaks[p])]
    assert draw.BACKDROP * GREY * 3 < at[0] < at[1] < at[2]


def test_the_colours_of_heatmaps_grow_brighter_with_height() -> None:
    brightness = draw._fire(np.linspace(0, 1, 101)[None]) @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) > 0).all()


def test_heatmaps_without_a_peak_leave_the_darkened_image(tmp_path: Path) -> None:
    peaks = {(joint, 5, 5): -0.5 for joint in range(17)}
    cell = cell_of(drawn(tmp_path, example(peaks=peaks)), HEATMAPS)
    assert (cell == draw.BACKDROP * GREY).all()


def test_an_image_without_a_person_is_drawn_plain(tmp_path: Path) -> None:
    nobody = np.zeros((0, 17, 3), dtype=np.float32)
    plain = Example(example().image, nobody, nobody, example().heatmaps)
    page = drawn(tmp_path, plain)
    assert len(changed(cell_of(page, TRUE))) == len(changed(cell_of(page, PREDICTED))) == 0


def test_no_example_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one example is needed, but got none"):
        draw_examples([], tmp_path / "examples.png")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_replaces_the_one_before_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "examples.png").write_bytes(b"old")
    drawn(tmp_path, example())
    assert [path.name for path in tmp_path.iterdir()] == ["examples.png"]


def test_a_failed_write_keeps_the_picture_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(_: Image.Image, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    (tmp_path / "examples.png").write_bytes(b"old")
    monkeypatch.setattr(Image.Image, "save", fill_the_disk)
    with pytest.raises(OSError, match="no space"):
        draw_examples([example()], tmp_path / "examples.png")
    assert [path.name for path in tmp_path.iterdir()] == ["examples.png"]
    assert (tmp_path / "examples.png").read_bytes() == b"old"


def test_eight_examples_are_under_two_megabytes(tmp_path: Path) -> None:
    # Grain of 4 grey levels on a coarse pattern: about as hard to compress as a photograph.
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    pattern = np.asarray(coarse.resize((256, 256))) + rng.normal(0, 4, (256, 256, 3))
    image = np.clip(pattern, 0, 255).astype(np.uint8)
    base = example((256, 256), true={"nose": (100, 100, 2)})
    draw_examples([Example(image, base.true, base.true, base.heatmaps)] * 8, tmp_path / "e.png")
    assert (tmp_path / "e.png").stat().st_size < 2_000_000


def found_at(x: float, y: float) -> NDArray[np.float64]:
    """One person whose left hip is firm, and all else faint and far outside."""
    values = np.full((1, 17, 3), -1e6)
    values[..., 2] = 0
    values[0, JOINTS.index("left_hip")] = x, y, 0.9
    return values


@pytest.mark.parametrize(
    ("size", "drawn_size"),
    [
        ((64, 48), (256, 192)),
        ((640, 480), (640, 480)),
        ((2048, 300), (2048, 300)),
        ((2049, 300), (1025, 150)),
        ((8000, 6000), (2000, 1500)),
        ((2000, 10), (2000, 10)),
        ((10, 900), (20, 1800)),
        ((30_000, 1), (2000, 1)),
    ],
    ids=str,
)
def test_a_picture_is_drawn_no_larger_than_it_is_looked_at_with_its_joints_in_their_places(
    size: tuple[int, int], drawn_size: tuple[int, int]
) -> None:
    image = Image.new("RGB", size, (GREY,) * 3)
    x, y = 0.7 * size[0] - 0.5, 0.5 * size[1] - 0.5
    picture = draw_persons(image, found_at(x, y))
    assert picture.size == drawn_size
    marked = changed(np.asarray(picture).astype(int))
    expected = np.array([0.7, 0.5]) * drawn_size
    if min(drawn_size) > 20:
        assert np.abs(marked.mean(axis=0) - expected).max() < 1
    assert np.abs(marked - expected).max() < 8
    assert image.size == size
    assert np.asarray(image).max() == GREY


def test_a_large_picture_is_drawn_in_bands_that_do_not_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = np.full((1, 17, 3), 0.9)
    found[0, :, :2] = np.random.default_rng(0).uniform(-20, 420, (17, 2))
    image = Image.new("RGB", (400, 400), (GREY,) * 3)
    whole = np.asarray(draw_persons(image, found)).astype(int)
    monkeypatch.setattr(draw, "BAND_PIXELS", 400 * 57)
    bands = np.asarray(draw_persons(image, found)).astype(int)
    # Pillow rounds what begins above a band by a quarter of a pixel.
    assert (np.abs(bands - whole).max(axis=2) > 0).mean() < 0.05
    assert np.abs(bands - whole).max() < 64
    assert (whole != GREY).any(axis=2).mean() > 0.05
