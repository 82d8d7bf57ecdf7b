"""What a pack stores of a photograph: the crop as it was, its surroundings, raw or as JPEG."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from coco_files import CocoWriter
from packs import View, settings, spoil, written
from PIL import Image

from kptrain.config import PERSON_REACH
from kptrain.data import pack_filling as packing
from kptrain.data.decode import decode_image
from kptrain.data.pack import open_pack
from kptrain.data.parts import with_surroundings
from kptrain.data.views import Frame, box_frame
from kptrain.resolve import resolve
from search.trainings.keypoint_sample import Packs, read_data

REPOSITORY = Path(__file__).parents[2]
IMAGE_SIZE = (480, 640)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*IMAGE_SIZE, 3), dtype=np.uint8))
FRAMES = [
    box_frame((200.3, 100.7, 120.0, 260.0), (128, 96), 1.25),  # reduced
    box_frame((300.2, 200.4, 30.0, 40.5), (128, 96), 1.25),  # enlarged
    box_frame((-20.0, 300.0, 250.0, 190.0), (128, 96), 1.25),  # reduced, over two edges
    box_frame((610.5, -3.2, 35.0, 40.0), (128, 96), 1.25),  # enlarged, over two edges
]


@pytest.mark.parametrize("frame", FRAMES, ids=["reduced", "enlarged", "edge", "enlarged edge"])
def test_a_part_has_all_that_the_widest_view_sees_of_the_photograph(frame: Frame) -> None:
    part = with_surroundings(frame, IMAGE_SIZE)
    height, width = frame.size
    radius = PERSON_REACH / 2 * np.hypot(height, width)
    seen = np.array([width, height]) / 2 + radius * np.array([[-1], [1]])
    photograph = frame.edges(IMAGE_SIZE).reshape(2, 2)
    needed = np.stack((np.maximum(seen[0], photograph[0]), np.minimum(seen[1], photograph[1])))
    stored = needed * part.zoom + part.origin
    assert (stored[0] >= -1e-6).all()
    assert (stored[1] <= np.array(part.frame.size[::-1]) + 1e-6).all()
    # And hardly more: three pixels of blending at each edge.
    assert (np.array(part.frame.size[::-1]) <= np.ceil(stored[1] - stored[0]) + 6).all()


@pytest.mark.parametrize("frame", FRAMES, ids=["reduced", "enlarged", "edge", "enlarged edge"])
def test_nothing_is_enlarged_and_a_point_of_the_photograph_is_where_the_part_says(
    frame: Frame,
) -> None:
    part = with_surroundings(frame, IMAGE_SIZE)
    assert (part.frame.scale <= 1 + 1e-9).all()
    assert (part.zoom <= 1).all()
    assert part.frame.scale == pytest.approx(np.minimum(frame.scale, 1))
    points = np.random.default_rng(1).uniform(0, 400, (20, 3))
    by_input = frame.keypoints_in(points) * part.zoom + part.origin
    assert part.frame.keypoints_in(points) == pytest.approx(by_input)


def test_at_the_photographs_resolution_its_own_pixels_are_stored() -> None:
    part = with_surroundings(FRAMES[1], IMAGE_SIZE)
    x, y = round(part.frame.x), round(part.frame.y)
    height, width = part.frame.size
    assert np.array_equal(part.cut(NOISE), np.asarray(NOISE)[y : y + height, x : x + width])


def test_at_the_inputs_resolution_the_crops_own_pixels_are_stored() -> None:
    for frame in (FRAMES[0], FRAMES[2]):
        part = with_surroundings(frame, IMAGE_SIZE)
        (x, y), (height, width) = part.origin.round().astype(int), frame.size
        assert part.origin == pytest.approx([x, y])
        low_x, low_y = max(-x, 0), max(-y, 0)  # what is black needs not be stored
        inner = part.cut(NOISE)[max(y, 0) : y + height, max(x, 0) : x + width].astype(int)
        crop = frame.cut(NOISE)[low_y:, low_x:][: inner.shape[0], : inner.shape[1]]
        assert inner.size > 0.4 * 3 * height * width
        assert np.abs(inner - crop)[1:-1, 1:-1].max() <= 1


def test_a_crop_that_misses_the_photograph_is_one_black_pixel() -> None:
    part = with_surroundings(box_frame((5000.0, 9000.0, 30.0, 40.0), (128, 96), 1.25), IMAGE_SIZE)
    assert part.frame.size == (1, 1)
    assert (part.cut(NOISE) == 0).all()


def test_only_training_in_the_person_view_stores_surroundings(small_coco: Path) -> None:
    for view in ("image", "person"):
        for split in ("train", "val"):
            pack = open_pack(settings(small_coco, view), split)
            assert pack.shape.has_surroundings == ((view, split) == ("person", "train"))
            assert pack.shape.input_size == (64, 96)
            assert (pack.cost is not None) == pack.shape.has_surroundings


def test_a_jpeg_pack_has_nearly_the_same_pixels_in_less_room(small_coco: Path) -> None:
    for view in ("image", "person"):
        raw = open_pack(settings(small_coco, view), "train")
        jpeg = open_pack(settings(small_coco, view, pack="jpeg"), "train")
        assert jpeg.fingerprint != raw.fingerprint
        assert jpeg.images.nbytes < raw.images.nbytes / 3
        for sample in range(len(raw)):
            difference = np.abs(raw.pixels(sample).astype(int) - jpeg.pixels(sample))
            assert difference.mean() < 6
        for name, column in vars(raw.table).items():
            if name not in ("start", "num_bytes"):
                assert np.array_equal(column, getattr(jpeg.table, name)), name
        chosen = settings(small_coco, view, pack="jpeg")
        assert (
            open_pack(chosen, "val").fingerprint
            == open_pack(settings(small_coco, view), "val").fingerprint
        )


KILLED = """
import os, sys
from kptrain.data import pack
from kptrain.data import pack_filling as packing
from kptrain.config import DataSettings
packing.PART, packing.usable_cores = 2, lambda: 1
decode, seen = packing.decode_image, []
def die_at_the_sixth(path, size):
    seen.append(path)
    if len(seen) == 6:
        os._exit(9)
    return decode(path, size)
packing.decode_image = die_at_the_sixth
pack.open_pack(DataSettings(root=sys.argv[1], view=sys.argv[2], pack=sys.argv[3],
                            image_size=(64, 96)), "train")
"""


@pytest.mark.parametrize(
    ("view", "kind"), [("person", "jpeg"), ("image", "jpeg"), ("person", "raw")]
)
def test_a_pack_whose_process_was_killed_is_resumed_and_is_the_same(
    writer: CocoWriter,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    view: View,
    kind: str,
) -> None:
    root = written(writer, images=8)
    spoil(root, 2)
    script = [sys.executable, "-c", KILLED, str(root), view, kind]
    assert subprocess.run(script, cwd=REPOSITORY, check=False).returncode == 9
    (left,) = (cache / "packs").glob("*.tmp")
    assert json.loads((left / "progress.json").read_text())["num_images"] == 4
    with (left / "images.npy").open("ab") as file:
        file.write(b"torn" if kind == "jpeg" else b"")  # of a file that was being written
    decoded: list[str] = []

    def noted(path: Path, size: tuple[int, int]) -> Image.Image:
        decoded.append(path.name)
        return decode_image(path, size)

    monkeypatch.setattr(packing, "decode_image", noted)
    chosen = settings(root, view, pack=kind)
    pack = open_pack(chosen, "train")
    assert sorted(decoded) == [f"{number:012d}.jpg" for number in (5, 6, 7, 8)]
    monkeypatch.setenv("KPTRAIN_CACHE", str(tmp_path / "other"))
    again = open_pack(chosen, "train")
    assert len(pack) == (7 if view == "image" else 14)
    for name, column in vars(pack.table).items():
        assert np.array_equal(column, getattr(again.table, name)), name
    for sample in range(len(pack)):
        assert np.array_equal(pack.pixels(sample), again.pixels(sample))
    if kind == "jpeg":
        assert np.array_equal(pack.images, again.images)


def test_the_plan_foretells_the_bytes_of_the_packs(small_coco: Path, tmp_path: Path) -> None:
    for view, kind in (("image", "raw"), ("person", "raw"), ("person", "jpeg")):
        said = {"data.root": str(small_coco), "data.view": view, "data.pack": kind}
        config = resolve(said | {"data.image_size": [128, 96]}, "test")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KPTRAIN_CACHE", str(tmp_path / f"{view}-{kind}"))
            data = read_data(config, tmp_path)
            packs = Packs(data, tmp_path / f"{view}-{kind}-sample")
            (tmp_path / f"{view}-{kind}-sample").mkdir()
            told = {
                n: packs.byte_share(config.data, n) * b for n, _, b in data.to_pack(config.data)
            }
            assert told.keys() == {"train", "val"}
            for name, num_bytes in told.items():
                assert num_bytes == pytest.approx(
                    open_pack(config.data, name).images.nbytes, rel=0.05
                )
            assert list(data.to_pack(config.data)) == []


def test_a_pack_larger_than_the_memory_offers_jpeg(
    small_coco: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kptrain.data.pack_format.usable_memory", lambda: 1000)
    cost = open_pack(settings(small_coco), "train").cost
    assert cost is not None
    assert "data.pack=jpeg" in cost
    jpeg = open_pack(settings(small_coco, pack="jpeg"), "train").cost
    assert jpeg is not None
    assert "data.pack" not in jpeg
