"""The drawn data set: COCO's files, the promised kinds of persons, one drawing per cache."""

import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from kptrain.keypoints import JOINTS, SKELETON
from kptrain.synthetic import data_set as embedded
from kptrain.synthetic.data_set import EMBEDDED_VERSION, embedded_root, scene_of, write_embedded
from kptrain.synthetic.figures import CIRCLE
from kptrain.synthetic.scenery import OVERSAMPLING, Canvas
from kptrain.synthetic.scenes import clipped, run_lengths

# pycocotools is built on an array protocol that numpy wants renewed.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NUM_IMAGES = 96
SPLITS = ("train2017", "val2017")
NOSE, LEFT_EAR, RIGHT_EAR = (JOINTS.index(name) for name in ("nose", "left_ear", "right_ear"))
FIRST_BODY_JOINT = JOINTS.index("left_shoulder")

Annotation = dict[str, Any]

# Of the first image of each split: the first person's box and the picture's mean colour.
DRAWN_BY_VERSION = {
    1: {
        0: ([94.5, 33.0, 33.0, 90.5], [143.6, 99.3, 141.5]),
        1: ([70.5, 51.5, 57.0, 99.0], [111.9, 104.5, 96.8]),
    },
}


@dataclass(frozen=True)
class Drawn:
    """One split as it was written."""

    folder: Path
    content: dict[str, Any]

    @property
    def annotations(self) -> list[Annotation]:
        found: list[Annotation] = self.content["annotations"]
        return found

    def persons(self) -> list[Annotation]:
        return [annotation for annotation in self.annotations if not annotation["iscrowd"]]

    def labelled(self) -> list[Annotation]:
        return [annotation for annotation in self.annotations if annotation["num_keypoints"]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    write_embedded(folder, NUM_IMAGES, NUM_IMAGES)
    return folder


@pytest.fixture(scope="module", params=SPLITS)
def drawn(root: Path, request: pytest.FixtureRequest) -> Drawn:
    return read(root, request.param)


def read(root: Path, split: str) -> Drawn:
    text = (root / "annotations" / f"person_keypoints_{split}.json").read_text("utf-8")
    return Drawn(root / split, json.loads(text))


def joints(annotation: Annotation) -> NDArray[np.int64]:
    return np.array(annotation["keypoints"]).reshape(len(JOINTS), 3)


def files_of(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def mode_of(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


def is_front(annotation: Annotation) -> bool:
    return bool(np.all(joints(annotation)[[NOSE, LEFT_EAR, RIGHT_EAR], 2] == 2))


def is_back(annotation: Annotation) -> bool:
    nose, left, right = joints(annotation)[[NOSE, LEFT_EAR, RIGHT_EAR], 2]
    return bool(nose < 2 and left == 2 and right == 2)


def test_two_writes_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_embedded(tmp_path / name, 3, 2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert len(files_of(tmp_path / "one")) == 3 + 2 + 2


def test_an_image_does_not_depend_on_how_many_are_drawn(root: Path, tmp_path: Path) -> None:
    write_embedded(tmp_path, 3, 2)
    many = files_of(root)
    images = {name: data for name, data in files_of(tmp_path).items() if name.endswith("jpg")}
    assert len(images) == 5
    assert all(many[name] == data for name, data in images.items())
    for split in SPLITS:
        few = read(tmp_path, split).annotations
        assert few == read(root, split).annotations[: len(few)]


def test_what_a_version_draws_stays_as_it_was() -> None:
    assert EMBEDDED_VERSION in DRAWN_BY_VERSION, "state here what the new version draws"
    for split_index, (box, colour) in DRAWN_BY_VERSION[EMBEDDED_VERSION].items():
        scene = scene_of(split_index, 1)
        why = "raise EMBEDDED_VERSION: caches hold what it drew before"
        assert scene.annotations[0]["bbox"] == pytest.approx(box, abs=1), why
        assert np.asarray(scene.image).mean((0, 1)) == pytest.approx(colour, abs=1), why


def test_pycocotools_loads_it(drawn: Drawn) -> None:
    coco = COCO(drawn.folder.parent / "annotations" / f"person_keypoints_{drawn.folder.name}.json")
    assert coco.getCatIds(catNms=["person"]) == [1]
    assert len(coco.getImgIds()) == NUM_IMAGES
    assert coco.loadCats(1)[0]["keypoints"] == list(JOINTS)
    assert coco.loadCats(1)[0]["skeleton"] == [[a + 1, b + 1] for a, b in SKELETON]
    for annotation in coco.loadAnns(coco.getAnnIds()):
        size = coco.imgs[annotation["image_id"]]
        assert coco.annToMask(annotation).shape == (size["height"], size["width"])


def test_ids_are_positive_and_unique_over_both_splits(root: Path) -> None:
    for key in ("images", "annotations"):
        ids = [record["id"] for split in SPLITS for record in read(root, split).content[key]]
        assert len(ids) == len(set(ids))
        assert min(ids) > 0


def test_each_image_file_has_the_stated_size(drawn: Drawn) -> None:
    records = drawn.content["images"]
    assert {record["file_name"] for record in records} == {p.name for p in drawn.folder.iterdir()}
    for record in records:
        with Image.open(drawn.folder / record["file_name"]) as image:
            assert image.size == (record["width"], record["height"])


def test_labelled_joints_lie_in_the_image_and_others_are_zero(drawn: Drawn) -> None:
    sizes = {image["id"]: (image["width"], image["height"]) for image in drawn.content["images"]}
    for annotation in drawn.annotations:
        found = joints(annotation)
        named = found[:, 2] > 0
        assert set(found[:, 2]) <= {0, 1, 2}
        assert annotation["num_keypoints"] == np.count_nonzero(named)
        assert np.all(found[~named] == 0)
        assert np.all(found[:, :2] >= 0)
        assert np.all(found[:, :2] < sizes[annotation["image_id"]])


def test_every_promised_kind_occurs(drawn: Drawn) -> None:
    images = {image["id"] for image in drawn.content["images"]}
    body = [joints(person)[FIRST_BODY_JOINT:, 2] for person in drawn.labelled()]
    modes = [mode_of(path) for path in drawn.folder.iterdir()]
    share = 1 / NUM_IMAGES
    assert 0.01 < share * len(images - {a["image_id"] for a in drawn.annotations}) < 0.12
    assert 0.01 < share * sum(a["iscrowd"] for a in drawn.annotations) < 0.12
    assert 0.01 < share * modes.count("L") < 0.12
    assert set(modes) == {"L", "RGB"}
    share = 1 / len(drawn.persons())
    assert 0.04 < share * sum(not person["num_keypoints"] for person in drawn.persons()) < 0.12
    assert 0.10 < share * sum(np.sum(v == 1) >= 3 for v in body) < 0.30, "occluded"
    assert 0.08 < share * sum(np.any(v == 0) for v in body) < 0.25, "cut off"
    assert share * sum(map(is_front, drawn.labelled())) > 0.25
    assert share * sum(map(is_back, drawn.labelled())) > 0.08


def test_every_image_with_persons_has_a_large_labelled_one(drawn: Drawn) -> None:
    heights = {image["id"]: image["height"] for image in drawn.content["images"]}
    largest: dict[int, float] = {}
    for person in drawn.labelled():
        share = person["bbox"][3] / heights[person["image_id"]]
        largest[person["image_id"]] = max(share, largest.get(person["image_id"], 0.0))
    assert set(largest) == {annotation["image_id"] for annotation in drawn.annotations}
    assert np.quantile(list(largest.values()), 0.1) > 0.45


def test_left_is_on_the_right_of_persons_seen_from_the_front_only(drawn: Drawn) -> None:
    for person in drawn.labelled():
        left_x, right_x = joints(person)[[LEFT_EAR, RIGHT_EAR], 0]
        assert not is_front(person) or left_x > right_x
        assert not is_back(person) or left_x < right_x


def test_boxes_lie_in_the_image_and_areas_in_the_boxes(drawn: Drawn) -> None:
    sizes = {image["id"]: (image["width"], image["height"]) for image in drawn.content["images"]}
    for annotation in drawn.annotations:
        x, y, width, height = annotation["bbox"]
        assert min(x, y) >= 0
        assert x + width <= sizes[annotation["image_id"]][0]
        assert y + height <= sizes[annotation["image_id"]][1]
        assert 0 < annotation["area"] <= width * height


def test_segmentations_have_the_area_and_hold_the_visible_joints(drawn: Drawn) -> None:
    sizes = {image["id"]: (image["height"], image["width"]) for image in drawn.content["images"]}
    held = []
    for annotation in drawn.annotations:
        shapes = coco_mask.frPyObjects(annotation["segmentation"], *sizes[annotation["image_id"]])
        mask = coco_mask.decode(coco_mask.merge(shapes) if isinstance(shapes, list) else shapes)
        assert np.sum(mask) == pytest.approx(annotation["area"], rel=0.12, abs=20)
        x, y, _ = joints(annotation)[joints(annotation)[:, 2] == 2].T
        held.extend(mask[y, x])
    assert np.mean(held) > 0.98


@pytest.mark.parametrize("centre_xy", [(30.25, 20.75), (30.5, 20.0), (31.1, 19.6)])
def test_a_shape_is_drawn_at_its_centre(centre_xy: tuple[float, float]) -> None:
    canvas = Canvas(Image.new("RGB", (64 * OVERSAMPLING, 48 * OVERSAMPLING)))
    canvas.polygon(np.array(centre_xy) + 8 * CIRCLE, (200, 200, 200))
    shade = np.asarray(canvas.picture.reduce(OVERSAMPLING).convert("L"), np.float64)
    y, x = np.mgrid[0:48, 0:64] + 0.5
    found_xy = ((x * shade).sum() / shade.sum(), (y * shade).sum() / shade.sum())
    assert found_xy == pytest.approx(centre_xy, abs=0.1)


def test_clipping_keeps_what_lies_inside() -> None:
    triangle = np.array([[-10.0, 5.0], [20.0, 5.0], [20.0, 35.0]])
    inside = clipped(triangle, (30, 20))
    assert inside.min(axis=0) == pytest.approx([0.0, 5.0])
    assert inside.max(axis=0) == pytest.approx([20.0, 20.0])
    x, y = inside.T
    # The triangle's 450, less 50 left of the image and 112.5 below it.
    assert abs(np.sum(x * np.roll(y, 1) - y * np.roll(x, 1))) / 2 == pytest.approx(287.5)
    assert len(clipped(triangle + 100.0, (30, 20))) == 0


@pytest.mark.parametrize("seed", range(4))
def test_run_lengths_are_those_that_pycocotools_decodes(seed: int) -> None:
    mask = np.random.default_rng(seed).random((7, 5)) < 0.5
    shape = {"counts": run_lengths(mask), "size": [7, 5]}
    assert np.array_equal(coco_mask.decode(coco_mask.frPyObjects(shape, 7, 5)), mask)


def draw_few_slowly(root: Path, **_: object) -> None:
    with (root.parent / "draws.txt").open("a") as log:
        log.write("drawn\n")
    write_embedded(root, 3, 1)
    time.sleep(0.5)


def count_images_of_cache(cache_dir: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "write_embedded", draw_few_slowly)
        return len(read(embedded_root(cache_dir), "train2017").content["images"])


def test_two_processes_at_once_draw_once_and_both_see_all(tmp_path: Path) -> None:
    cache_dir = tmp_path / "made" / "on the way"
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        assert list(pool.map(count_images_of_cache, [cache_dir, cache_dir])) == [3, 3]
    assert (cache_dir / "draws.txt").read_text() == "drawn\n"


def test_what_a_killed_process_left_is_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(root: Path, **_: object) -> None:
        write_embedded(root, 1, 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "write_embedded", die)
    with pytest.raises(KeyboardInterrupt):
        embedded_root(tmp_path)
    (left_over,) = (path for path in tmp_path.iterdir() if path.is_dir())
    (left_over / "train2017" / "stale.jpg").touch()
    assert count_images_of_cache(tmp_path) == 3
    name = f"embedded-v{EMBEDDED_VERSION}"
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [name]
    assert not (tmp_path / name / "train2017" / "stale.jpg").exists()
