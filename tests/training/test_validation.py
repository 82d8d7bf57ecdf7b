"""Where persons are found in heatmaps, and what perfect heatmaps score."""

from pathlib import Path

import numpy as np
import pytest
import torch
from coco_files import CocoWriter

from kptrain.config import TrainConfig
from kptrain.data.pack import open_pack
from kptrain.data.pack_format import Pack
from kptrain.model.heatmaps import encode
from kptrain.resolve import resolve
from kptrain.training.batches import batches, targets
from kptrain.training.metrics import coco_numbers, oks
from kptrain.training.validation import detect

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
    assert coco_numbers(found, pack.table)["val_ap"] >= 0.98
    assert oks(found, pack.table).min() > 0.97


def test_sigma_does_not_change_what_perfect_heatmaps_score_in_the_person_view(
    small_coco: Path,
) -> None:
    scores = []
    for sigma_px in (1.0, 2.0, 3.0):
        said = {"data.view": "person", "heatmap.sigma_px": sigma_px}
        config = config_of(small_coco, **said)
        pack = open_pack(config.data, "val")
        scores.append(coco_numbers(found_in_targets(config, pack), pack.table)["val_ap"])
    assert max(scores) - min(scores) <= 0.01
    assert min(scores) >= 0.98
