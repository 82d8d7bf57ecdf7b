"""Metrics: measured against pycocotools' own, and against cases counted by hand."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CocoWriter
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kptrain.batches import batches, targets
from kptrain.config import TrainConfig
from kptrain.evaluate import average_precision, detect, oks
from kptrain.heatmaps import encode
from kptrain.pack import open_pack
from kptrain.pack_files import Pack
from kptrain.resolve import resolve

CPU = torch.device("cpu")


def config_of(root: Path, **changes: object) -> TrainConfig:
    said = {"data.root": str(root), "data.image_size": [64, 64], "heatmap.sigma_px": 1.0}
    return resolve(said | changes, "test")


def found_in_targets(config: TrainConfig, pack: Pack) -> np.ndarray:
    """(M, 17, 3): what is detected if the network's maps are exactly the targets."""
    found = np.full((len(pack.table.area), 17, 3), np.nan)
    for batch in batches(pack, np.arange(len(pack)), 8, CPU):
        persons, joints = detect(targets(batch, config), pack, batch.samples)
        found[persons] = joints
    return found


def perturbed(pack: Pack, seed: int, share: float) -> np.ndarray:
    """(M, 17, 3): the annotations moved by up to some `share` of a person's size, by person."""
    generator = np.random.default_rng(seed)
    found = pack.table.keypoints.copy()
    size = np.sqrt(pack.table.area) * share * generator.random(len(found))
    found[:, :, :2] += generator.normal(size=found[:, :, :2].shape) * size[:, None, None]
    found[:, :, 2] = generator.random(found.shape[:2])
    return found


def cocos_own(root: Path, pack: Pack, found: np.ndarray) -> COCOeval:
    """COCO's evaluation of the detections, with the annotation file as ground truth."""
    results = [
        {
            "image_id": int(pack.table.image_id[row]),
            "category_id": 1,
            "keypoints": found[row].flatten().tolist(),
            "score": float(found[row, :, 2].mean()),
        }
        for row in range(len(found))
    ]
    annotations = json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = annotations | {"categories": [{"id": 1, "name": "person"}]}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.evaluate()
    return evaluation


@pytest.fixture
def crowded(writer: CocoWriter) -> Path:
    """Eight images with one to three persons each, of very different areas."""
    for split in ("train", "val"):
        for image in range(1, 9):
            writer.image(split, image)
            for person in range(1 + image % 3):
                number = 10 * image + person
                writer.person(split, image, number, area=300.0 * number, bbox=[10, 10, 70, 70])
    return writer.write()


@pytest.fixture
def one_each(writer: CocoWriter) -> Path:
    """Two images with one person each."""
    for split in ("train", "val"):
        for image in (1, 2):
            writer.image(split, image)
            writer.person(split, image, image)
    return writer.write()


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


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_cocos_own(crowded: Path, seed: int) -> None:
    pack = open_pack(config_of(crowded).data, "val")
    found = perturbed(pack, seed, share=0.3)
    evaluation = cocos_own(crowded, pack, found)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
        evaluation.summarize()
    assert 0.1 < evaluation.stats[0] < 0.9
    assert average_precision(found, pack.table) == pytest.approx(evaluation.stats[0], abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_is_cocos_own_with_ties_and_with_more_persons_than_it_takes(
    writer: CocoWriter, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    for split in ("train", "val"):
        for image, persons in enumerate((1, 23, 4, 4, 20, 21), start=1):
            writer.image(split, image)
            for person in range(persons):
                joints = np.full((17, 3), 2.0)
                joints[:, :2] = generator.integers(0, 90, (1, 2)) + generator.integers(
                    0, 5, (17, 2)
                )
                writer.person(
                    split,
                    image,
                    100 * image + person,
                    keypoints=joints.flatten().tolist(),
                    area=float(generator.integers(20, 900)),
                )
    root = writer.write()
    pack = open_pack(config_of(root).data, "val")
    found = perturbed(pack, seed, share=0.2)
    found[:, :, 2] = (found[:, :1, 2] * 5).round() / 5  # few scores, so many ties
    evaluation = cocos_own(root, pack, found)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
        evaluation.summarize()
    assert 0.05 < evaluation.stats[0] < 0.95
    assert average_precision(found, pack.table) == pytest.approx(evaluation.stats[0], abs=1e-12)


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
    evaluation = cocos_own(root, pack, found)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
        evaluation.summarize()
    assert 0.2 < evaluation.stats[0] < 0.8
    assert average_precision(found, pack.table) == pytest.approx(evaluation.stats[0], abs=1e-12)


def test_the_annotations_themselves_score_one(small_coco: Path) -> None:
    table = open_pack(config_of(small_coco).data, "val").table
    assert oks(table.keypoints, table) == pytest.approx(np.ones(len(table.area)))
    assert average_precision(table.keypoints, table) == pytest.approx(1.0)


@pytest.mark.parametrize(("score_of_the_right", "precision"), [(0.9, 1.0), (0.1, 0.5)])
def test_one_of_two_persons_found_gives_precision_up_to_half_the_recall(
    one_each: Path, score_of_the_right: float, precision: float
) -> None:
    table = open_pack(config_of(one_each).data, "val").table
    found = table.keypoints.copy()
    found[1, :, :2] += 1000
    found[:, :, 2] = [[score_of_the_right], [0.5]]
    assert oks(found, table) == pytest.approx([1.0, 0.0])
    # COCO samples the precision at recalls 0, .01, ... 1; 51 of these 101 are at most one half.
    assert average_precision(found, table) == pytest.approx(precision * 51 / 101)


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


def test_in_the_image_view_each_person_is_looked_for_in_its_own_box(writer: CocoWriter) -> None:
    for split in ("train", "val"):
        writer.image(split, 1, size=(128, 256))
        for person, left in ((1, 10.0), (2, 150.0)):
            joints = np.full((17, 3), 2.0)
            joints[:, :2] = np.stack((left + 2.5 * np.arange(17), 30 + 4.0 * np.arange(17)), axis=1)
            writer.person(
                split, 1, person, keypoints=joints.flatten().tolist(), bbox=[left, 25, 60, 80]
            )
    config = config_of(writer.write(), **{"data.image_size": [128, 256]})
    pack = open_pack(config.data, "val")
    centres, everyone = torch.from_numpy(pack.table.joints) / 4, torch.ones(1, 1, 17).bool()
    faint, strong = (encode(centre[None, None], everyone, (32, 64), 1.0) for centre in centres)
    persons, found = detect(torch.maximum(0.2 * faint, strong), pack, np.array([0]))
    assert persons.tolist() == [0, 1]
    assert np.abs(found[:, :, :2] - pack.table.keypoints[:, :, :2]).max() < 0.1
    assert found[0, :, 2].max() < 0.21
    assert found[1, :, 2].min() > 0.7


def test_any_samples_in_any_order_give_their_own_persons(small_coco: Path) -> None:
    config = config_of(small_coco)
    pack = open_pack(config.data, "val")
    everything = found_in_targets(config, pack)
    (batch,) = batches(pack, np.array([5, 0, 3]), 3, CPU)
    persons, found = detect(targets(batch, config), pack, batch.samples)
    first = pack.table.first
    assert persons.tolist() == [row for s in (5, 0, 3) for row in range(first[s], first[s + 1])]
    assert np.array_equal(found, everything[persons])


@pytest.mark.parametrize("sigma_px", [1.0, 2.0, 3.0])
def test_perfect_heatmaps_score_0_98_in_the_person_view_at_every_sigma(
    small_coco: Path, sigma_px: float
) -> None:
    config = config_of(
        small_coco,
        **{
            "data.view": "person",
            "data.image_size": [128, 96],
            "heatmap.sigma_px": sigma_px,
        },
    )
    pack = open_pack(config.data, "val")
    found = found_in_targets(config, pack)
    assert average_precision(found, pack.table) >= 0.98
    assert oks(found, pack.table).min() > 0.97


def test_sigma_does_not_change_what_perfect_heatmaps_score_in_the_person_view(
    small_coco: Path,
) -> None:
    scores = []
    for sigma_px in (1.0, 2.0, 3.0):
        said = {"data.view": "person", "heatmap.sigma_px": sigma_px}
        config = config_of(small_coco, **said)
        pack = open_pack(config.data, "val")
        scores.append(average_precision(found_in_targets(config, pack), pack.table))
    assert max(scores) - min(scores) <= 0.01
    assert min(scores) >= 0.98
