"""Real photographs: what perfect heatmaps score, what no prediction costs, what can be learnt."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from kptrain.config import TrainConfig
from kptrain.data.pack import open_pack
from kptrain.data.pack_format import Pack
from kptrain.model.loss import heatmap_loss
from kptrain.resolve import resolve
from kptrain.training.batches import batches, joint_weights, targets
from kptrain.training.fit import fit
from kptrain.training.metrics import coco_numbers, oks
from kptrain.training.validation import detect

CPU = torch.device("cpu")


def config_of(root: Path, view: str, size: tuple[int, int], sigma_px: float = 2.0) -> TrainConfig:
    said = {
        "data.root": str(root),
        "data.view": view,
        "data.image_size": list(size),
        "heatmap.sigma_px": sigma_px,
    }
    return resolve(said, "test")


def found_in_targets(config: TrainConfig, pack: Pack) -> np.ndarray:
    """(M, 17, 3): what is detected if the network's maps are exactly the targets."""
    found = np.full((len(pack.table.area), 17, 3), np.nan)
    for batch in batches(pack, np.arange(len(pack)), 16, CPU):
        persons, joints = detect(targets(batch, config), pack, batch.samples)
        found[persons] = joints
    return found


def recall(similarity: np.ndarray) -> float:
    """The share of persons found, mean over the thresholds .50:.95."""
    thresholds = np.linspace(0.5, 0.95, 10)
    return float((similarity >= thresholds[:, None]).mean())


@pytest.mark.parametrize("sigma_px", [1.0, 2.0, 3.0])
def test_perfect_heatmaps_score_0_99_in_the_person_view_at_every_sigma(
    coco_sample: Path, sigma_px: float
) -> None:
    # What is missing: joints that lie outside of the crop, where the annotator's box is too small.
    config = config_of(coco_sample, "person", (256, 192), sigma_px)
    pack = open_pack(config.data, "val")
    found = found_in_targets(config, pack)
    assert coco_numbers(found, pack.table)["val_ap"] == pytest.approx(0.991, abs=0.005)
    assert recall(oks(found, pack.table)) == pytest.approx(0.995, abs=0.003)


def test_perfect_heatmaps_find_three_persons_in_four_in_the_image_view(coco_sample: Path) -> None:
    # One map a joint holds all persons: a neighbour's peak that lies in a person's box is as high
    # as its own. AP is lower than recall, for the wrong detections score as high as the right ones.
    config = config_of(coco_sample, "image", (256, 256))
    pack = open_pack(config.data, "val")
    found = found_in_targets(config, pack)
    similarity = oks(found, pack.table)
    assert recall(similarity) == pytest.approx(0.75, abs=0.01)
    assert coco_numbers(found, pack.table)["val_ap"] == pytest.approx(0.626, abs=0.01)
    lonely = np.bincount(pack.table.image_id)[pack.table.image_id] == 1
    assert recall(similarity[lonely]) > 0.99


@pytest.mark.parametrize(("sigma_px", "loss"), [(1.0, 0.0013), (2.0, 0.0050), (3.0, 0.0108)])
def test_no_prediction_costs_what_it_costs_on_coco(
    coco_sample: Path, sigma_px: float, loss: float
) -> None:
    # On all of COCO .0013, .0051 and .0110: it grows with the square of sigma.
    config = config_of(coco_sample, "image", (256, 256), sigma_px)
    pack = open_pack(config.data, "val")
    total = 0.0
    for batch in batches(pack, np.arange(len(pack)), 16, CPU):
        wanted = targets(batch, config)
        weights = joint_weights(batch, config)
        total += float(heatmap_loss(torch.zeros_like(wanted), wanted, weights, batch.mask).sum())
    assert total / len(pack) == pytest.approx(loss, rel=0.03)


@pytest.fixture
def same_persons(coco_sample: Path, tmp_path: Path) -> Path:
    """The sample's training images, to train on and to validate on."""
    (tmp_path / "annotations").mkdir()
    (source,) = (coco_sample / "raw").glob("person_keypoints_train2017.json")
    for split in ("train2017", "val2017"):
        (tmp_path / split).symlink_to(coco_sample / "train" / "data")
        annotations = tmp_path / "annotations" / f"person_keypoints_{split}.json"
        annotations.write_text(json.dumps(json.loads(source.read_text())))
    return tmp_path


@pytest.mark.slow
def test_ten_persons_are_learnt_by_heart(same_persons: Path, tmp_path: Path) -> None:
    said = {
        "data.root": str(same_persons),
        "data.view": "person",
        "data.image_size": [96, 64],
        "data.limit_train": 10,
        "data.limit_val": 10,
        "heatmap.sigma_px": 1.0,
        "model.trunk": "shufflenet_v2_x0_5",
        "model.deconv_channels": [64, 64, 64],
        "model.weights": "none",
        "optim.lr": 3e-3,
        "schedule.step_epochs": 70,
        "train.epochs": 80,
        "train.batch_size": 2,
        "train.threads": 1,
        "train.device": "cpu",
        "checkpoint.metric": "val_ap",
    }
    with closing(fit(resolve(said, "test"), tmp_path / "run")) as reports:
        curve = list(reports)
    assert curve[0].val_ap < 0.1
    assert max(report.val_ap for report in curve) >= 0.90
