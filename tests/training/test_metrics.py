"""OKS and COCO's ten numbers: against pycocotools on whole annotation files, and by hand."""

import contextlib
import io
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from coco_files import CocoWriter
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from small_trainings import FEW, run

from kptrain.commands.evaluate import as_results
from kptrain.config import Metric, TrainConfig
from kptrain.data.pack import open_pack
from kptrain.data.pack_format import Pack
from kptrain.errors import DataError
from kptrain.files.layout import locate
from kptrain.keypoints import COCO_NUMBERS
from kptrain.resolve import resolve
from kptrain.run.curve import METRICS
from kptrain.training.metrics import coco_numbers, oks

NUM_CASES = 150
VIEWS = pytest.mark.parametrize("view", ["image", "person"])


def config_of(root: Path, **changes: object) -> TrainConfig:
    said = {"data.root": str(root), "data.image_size": [64, 64], "heatmap.sigma_px": 1.0}
    return resolve(said | changes, "test")


def perturbed(pack: Pack, seed: int, share: float) -> np.ndarray:
    """(M, 17, 3): the annotations moved by up to some `share` of a person's size, by person."""
    generator = np.random.default_rng(seed)
    found = pack.table.keypoints.copy()
    size = np.sqrt(pack.table.area) * share * generator.random(len(found))
    found[:, :, :2] += generator.normal(size=found[:, :, :2].shape) * size[:, None, None]
    found[:, :, 2] = generator.random(found.shape[:2])
    return found


def cocos_own(root: Path, pack: Pack, found: np.ndarray) -> COCOeval:
    """COCO's evaluation of the detections, with the whole annotation file as ground truth."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(locate(root, "val")[0]))
        evaluation = COCOeval(truth, truth.loadRes(as_results(found, pack)), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def assert_equals_cocos_own(root: Path, pack: Pack, found: np.ndarray) -> dict[str, float]:
    ours = coco_numbers(found, pack.table)
    theirs = cocos_own(root, pack, found).stats
    assert list(ours.values()) == pytest.approx(theirs.tolist(), abs=1e-12)
    return ours


@VIEWS
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_ten_numbers_are_cocos_own_on_the_whole_annotations_of_photographs(
    coco_sample: Path, view: str, share: float
) -> None:
    pack = open_pack(config_of(coco_sample, **{"data.view": view}).data, "val")
    assert pack.table.ignored_is_crowd.sum() == 9
    assert len(pack.table.ignored_area) > 50
    ours = assert_equals_cocos_own(coco_sample, pack, perturbed(pack, 0, share))
    assert 0.05 < ours["val_ap"] < 0.95


def test_a_detection_of_a_bystander_counts_neither_as_right_nor_as_wrong(
    writer: CocoWriter,
) -> None:
    for split in ("train", "val"):
        for image in (1, 2):
            writer.image(split, image)
            writer.person(split, image, image)
        nobody: dict[str, Any] = {"keypoints": [0] * 51, "num_keypoints": 0}
        writer.person(split, 1, 3, bbox=[90.0, 10.0, 30.0, 80.0], **nobody)
    root = writer.write()
    pack = open_pack(config_of(root).data, "val")
    found = pack.table.keypoints.copy()
    found[0, :, 0] += 65.0  # of image 1, onto the bystander
    found[:, :, 2] = [[0.9], [0.5]]
    ours = assert_equals_cocos_own(root, pack, found)
    # A false positive of a higher score than the only true one would halve it.
    assert ours["val_ap"] == pytest.approx(51 / 101)


def test_a_detection_of_a_person_beyond_the_limit_counts_neither_as_right_nor_as_wrong(
    writer: CocoWriter,
) -> None:
    far = np.stack((np.full(17, 100.0), np.arange(17.0), np.full(17, 2.0)), axis=1)
    for image in (1, 2):
        writer.image("val", image)
        writer.person("val", image, image)
    writer.person("val", 2, 3, keypoints=far.flatten().tolist(), bbox=[90.0, 0.0, 30.0, 60.0])
    said = {"data.view": "person", "data.limit_val": 2}
    pack = open_pack(config_of(writer.write(), **said).data, "val")
    assert pack.table.person_id.tolist() == [1, 2]
    assert pack.table.ignored_place.tolist() == [2]
    found = pack.table.keypoints.copy()
    found[1] = far
    found[:, :, 2] = [[0.5], [0.9]]
    # A false positive of a higher score than the only true one would halve it.
    assert coco_numbers(found, pack.table)["val_ap"] == pytest.approx(51 / 101)


def drawn_case(writer: CocoWriter, generator: np.random.Generator) -> None:
    """Few or many annotations an image of any kind, in any order of their ids, and many ties."""
    number = iter(generator.permutation(400) + 1)
    borders = [
        [border, np.nextafter(border, 0), np.nextafter(border, 1e9)]
        for border in (32.0**2, 96.0**2)
    ]
    areas = generator.choice([500.0, 2000.0, 2e4, *borders[0], *borders[1]], 3)
    # Without one there would be nothing to read.
    writer.person("val", 1, int(next(number)), area=float(generator.choice(areas)))
    for image, most in enumerate((2, 5, 5, 9, 30), start=1):
        for _ in range(generator.integers(0, most)):
            corner = generator.integers(0, 90, 2)
            joints = np.full((17, 3), 2)
            joints[:, :2] = corner + generator.integers(0, 6, (17, 2))
            joints[generator.random(17) < 0.3, 2] = 0
            if generator.random() < 0.25:
                joints[:] = 0
            writer.person(
                "val",
                image,
                int(next(number)),
                keypoints=joints.flatten().tolist(),
                num_keypoints=int((joints[:, 2] > 0).sum()),
                bbox=[*corner.tolist(), *generator.integers(1, 30, 2).tolist()],
                area=float(generator.choice(areas)),
                iscrowd=int(generator.random() < 0.15),
            )


def drawn_detections(pack: Pack, generator: np.random.Generator) -> np.ndarray:
    """Some where the persons are, some where others or what is ignored are, of few scores."""
    found = pack.table.keypoints.copy()
    size = np.sqrt(pack.table.area) * generator.choice([0.0, 0.05, 0.2], len(found))
    found[:, :, :2] += generator.normal(size=found[:, :, :2].shape) * size[:, None, None]
    astray = np.flatnonzero(generator.random(len(found)) < 0.4)
    found[astray, :, :2] = generator.integers(0, 90, (len(astray), 1, 2))
    found[astray, :, :2] += generator.integers(0, 6, (len(astray), 17, 2))
    square = np.flatnonzero(generator.random(len(found)) < 0.2)  # its area is just at a border
    side = generator.choice([32.0, 96.0], len(square))[:, None]
    found[square, 0, :2], found[square, 1:, :2] = 0.0, side[:, None]
    found[:, :, 2] = generator.integers(0, 4, (len(found), 1)) / 4
    return found


@pytest.mark.slow
def test_the_ten_numbers_are_cocos_own_in_any_case(tmp_path: Path) -> None:
    seen: set[str] = set()
    for seed in range(NUM_CASES):
        generator = np.random.default_rng(seed)
        writer = CocoWriter(tmp_path / "coco")  # the same images, other annotations
        for image in range(1, 7):
            writer.image("val", image, size=(96, 128))
        drawn_case(writer, generator)
        pack = open_pack(config_of(writer.write()).data, "val")
        ours = assert_equals_cocos_own(writer.root, pack, drawn_detections(pack, generator))
        seen |= {name for name, value in ours.items() if value == -1}
        seen |= {f"{name} is between" for name, value in ours.items() if 0 < value < 1}
    # Ranges without a person came up, and every number had something to tell.
    assert {"val_ap_m", "val_ap_l"} <= seen
    assert {f"{name} is between" for name in COCO_NUMBERS} <= seen


@pytest.mark.parametrize("seed", range(3))
def test_oks_is_cocos_own(small_coco: Path, seed: int) -> None:
    pack = open_pack(config_of(small_coco).data, "val")
    found = perturbed(pack, seed, share=0.3)
    evaluation = cocos_own(small_coco, pack, found)
    similarity = oks(found, pack.table)
    assert similarity.min() < 0.4
    assert similarity.max() > 0.9
    for row, (image, person) in enumerate(
        zip(pack.table.image_id.tolist(), pack.table.person_id.tolist(), strict=True)
    ):
        rows = np.flatnonzero(pack.table.image_id == image)
        by_score = rows[np.argsort(-found[rows, :, 2].mean(axis=1), kind="stable")].tolist()
        persons = [truth["id"] for truth in evaluation._gts[image, 1]]
        theirs = evaluation.ious[image, 1][by_score.index(row), persons.index(person)]
        assert similarity[row] == pytest.approx(theirs, abs=1e-12)


def test_of_two_persons_equally_near_a_detection_takes_the_last_as_cocos_own(
    writer: CocoWriter,
) -> None:
    base = np.full((17, 3), 2.0)
    base[:, :2] = np.arange(34).reshape(17, 2) % 40 + 20.0
    for split in ("train", "val"):
        writer.image(split, 1)
        for number, shift in ((1, -4.0), (2, 4.0)):
            joints = base + np.array([shift, 0.0, 0.0])
            writer.person(split, 1, number, keypoints=joints.flatten().tolist(), area=900.0)
    root = writer.write()
    pack = open_pack(config_of(root).data, "val")
    found = np.stack((base, base + np.array([4.0, 0.0, 0.0])))
    found[:, :, 2] = [[0.9], [0.5]]  # the first lies in the middle, the second on the last person
    assert 0.2 < assert_equals_cocos_own(root, pack, found)["val_ap"] < 0.8


def test_the_annotations_themselves_score_one(small_coco: Path) -> None:
    table = open_pack(config_of(small_coco).data, "val").table
    assert oks(table.keypoints, table) == pytest.approx(np.ones(len(table.area)))
    numbers = coco_numbers(table.keypoints, table)
    assert {round(value, 9) for value in numbers.values()} <= {1.0, -1.0}
    assert numbers["val_ap"] == pytest.approx(1.0)


@pytest.fixture
def one_each(writer: CocoWriter) -> Path:
    """Two images with one person each, of 1,500 square pixels."""
    for split in ("train", "val"):
        for image in (1, 2):
            writer.image(split, image)
            writer.person(split, image, image)
    return writer.write()


@pytest.mark.parametrize(("score_of_the_right", "precision"), [(0.9, 1.0), (0.1, 0.5)])
def test_one_of_two_persons_found_gives_precision_up_to_half_the_recall(
    one_each: Path, score_of_the_right: float, precision: float
) -> None:
    table = open_pack(config_of(one_each).data, "val").table
    found = table.keypoints.copy()
    found[1, :, :2] += 1000
    found[:, :, 2] = [[score_of_the_right], [0.5]]
    assert oks(found, table) == pytest.approx([1.0, 0.0])
    numbers = coco_numbers(found, table)
    # COCO samples the precision at recalls 0, .01, ... 1; 51 of these 101 are at most one half.
    assert numbers["val_ap"] == pytest.approx(precision * 51 / 101)
    assert numbers["val_ar"] == pytest.approx(0.5)
    assert numbers["val_ap_l"] == numbers["val_ar_l"] == -1.0


def test_joints_that_are_not_labelled_do_not_count(writer: CocoWriter) -> None:
    half = [20.0, 20.0, 2.0] * 8 + [0.0, 0.0, 0.0] * 9
    for split in ("train", "val"):
        writer.image(split, 1)
        writer.person(split, 1, 1, keypoints=half, num_keypoints=8)
    table = open_pack(config_of(writer.write()).data, "val").table
    found = table.keypoints.copy()
    found[:, 8:, :2] = 90.0
    found[:, :4, :2] += 1000
    assert oks(found, table) == pytest.approx([0.5])


def test_each_of_cocos_numbers_is_a_column_of_the_curve_and_a_metric_to_search_by() -> None:
    assert set(COCO_NUMBERS) < set(METRICS)
    assert get_args(Metric) == ("val_loss", *COCO_NUMBERS, "val_oks")


@pytest.mark.parametrize(("metric", "area"), [("val_ap_l", "9216"), ("val_ar_l", "9216")])
def test_a_metric_of_a_size_of_persons_that_the_data_lacks_is_refused(
    one_each: Path, tmp_path: Path, metric: str, area: str
) -> None:
    config = resolve(
        FEW | {"data.root": str(one_each), "checkpoint.metric": metric, "data.limit_val": None},
        "test",
    )
    with pytest.raises(DataError, match=rf"{metric} .* {area}"):
        run(config, tmp_path / "run")


def test_the_numbers_of_an_epoch_are_in_its_table(uninterrupted: Path) -> None:
    header, *lines = (uninterrupted / "metrics.csv").read_text().splitlines()
    assert header.split(",") == ["epoch", "train_loss", "val_loss", "val_oks", *COCO_NUMBERS, "lr"]
    assert len(lines) == 3
