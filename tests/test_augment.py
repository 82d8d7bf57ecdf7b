"""Augmentation: pixels, joints and mask follow one map, drawn from seed, epoch and sample."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kptrain.augment import draw_augmentation
from kptrain.config import AugmentSettings
from kptrain.heatmaps import encode
from kptrain.keypoints import JOINTS, MIRRORED

SIZE = (96, 128)
ALL = {"flip": 0.5, "rotation_deg": 40.0, "scale": 0.3, "shift": 0.1, "colour": 0.3}
SAMPLES = np.arange(16)


def settings(**changes: Any) -> AugmentSettings:
    return AugmentSettings(**changes)


def spots(joints: Tensor) -> Tensor:
    """(B, 3, H, W) black images with a white spot at each of (B, 1, 3, 2) points, one a channel."""
    everyone = torch.ones(len(joints), 1, 3).bool()
    return 255 * encode(joints, everyone, SIZE, 3.0)


def centroids(images: Tensor) -> Tensor:
    """(B, C, 2) x, y of the centre of what is bright; a bilinear warp does not move it."""
    x, y = torch.arange(SIZE[1]) + 0.5, torch.arange(SIZE[0]) + 0.5
    across, down = images.sum(2), images.sum(3)
    along = ((across * x).sum(2), (down * y).sum(2))
    return torch.stack(along, dim=2) / images.sum((2, 3))[:, :, None]


def spread_points() -> Tensor:
    """(B, 1, 17, 2) points around the centre of the input, which no warp below moves out of it."""
    centre, radius = torch.tensor([64.0, 48.0]), torch.tensor([18.0, 12.0])
    generator = torch.Generator().manual_seed(3)
    return centre + radius * (2 * torch.rand(len(SAMPLES), 1, 17, 2, generator=generator) - 1)


@pytest.mark.parametrize(
    "changes",
    [{"flip": 1.0}, {"rotation_deg": 180.0}, {"scale": 0.4}, {"shift": 0.2}, ALL | {"colour": 0.0}],
    ids=str,
)
def test_what_lies_at_a_joint_lies_at_it_after_the_warp(changes: dict[str, float]) -> None:
    augmentation = draw_augmentation(settings(**changes), len(SAMPLES), SIZE, seed=1, epoch=2)
    assert augmentation is not None
    joints = spread_points()
    labelled = torch.ones(len(SAMPLES), 1, 17).bool()
    mask = torch.ones(len(SAMPLES), 24, 32)
    images, moved, _, _ = augmentation.apply(
        SAMPLES, spots(joints[:, :, :3]), joints, labelled, mask
    )
    found = centroids(images)
    # The spot of a left joint becomes a right one where the sample is mirrored.
    mirrored = torch.from_numpy(augmentation.is_mirrored)
    for channel in range(3):
        joint = torch.where(mirrored, MIRRORED[channel], channel)
        expected = moved[torch.arange(len(SAMPLES)), 0, joint]
        assert (found[:, channel] - expected).abs().max() < 0.05
    assert (moved - joints).abs().max() > 4


def test_a_mirror_image_exchanges_left_and_right_and_nothing_else() -> None:
    augmentation = draw_augmentation(settings(flip=1.0), 1, SIZE, seed=0, epoch=1)
    assert augmentation is not None
    joints = torch.arange(34.0).reshape(1, 1, 17, 2)
    labelled = (torch.arange(17) % 3 == 0).reshape(1, 1, 17)
    images = torch.arange(3 * 96 * 128.0).reshape(1, 3, *SIZE) % 255
    mask = (torch.arange(24 * 32) % 7 > 0).float().reshape(1, 24, 32)
    found = augmentation.apply(np.array([0]), images, joints, labelled, mask)
    assert found[0] == pytest.approx(images.flip(3), abs=0.01)
    for number, name in enumerate(JOINTS):
        other = name.replace("left", "L").replace("right", "left").replace("L", "right")
        source = JOINTS.index(other)
        assert found[1][0, 0, number].tolist() == [128 - joints[0, 0, source, 0], 2 * source + 1]
        assert found[2][0, 0, number] == labelled[0, 0, source]
    assert torch.equal(found[3], mask.flip(2))


def test_the_mask_follows_the_pixels_and_what_comes_in_from_outside_is_learnt() -> None:
    augmentation = draw_augmentation(settings(shift=0.25), len(SAMPLES), SIZE, seed=0, epoch=1)
    assert augmentation is not None
    ignored = torch.zeros(len(SAMPLES), 24, 32)
    ignored[:, 8:16, 12:20] = 1
    white = torch.nn.functional.interpolate(255 * ignored[:, None], scale_factor=4)
    images, _, _, mask = augmentation.apply(
        SAMPLES,
        white.expand(-1, 3, -1, -1),
        torch.zeros(len(SAMPLES), 1, 17, 2),
        torch.zeros(len(SAMPLES), 1, 17).bool(),
        1 - ignored,
    )
    seen = torch.nn.functional.avg_pool2d(images[:, :1], 4)[:, 0] / 255
    assert ((seen - (1 - mask)).abs() > 0.76).sum() == 0
    assert set(mask.flatten().tolist()) == {0.0, 1.0}


def test_in_the_person_view_all_is_learnt_after_the_warp_as_before() -> None:
    augmentation = draw_augmentation(settings(**ALL), 2, SIZE, seed=0, epoch=1)
    assert augmentation is not None
    rest = torch.zeros(2, 1, 17, 2), torch.zeros(2, 1, 17).bool()
    *_, mask = augmentation.apply(
        np.array([1, 0]), torch.zeros(2, 3, *SIZE), *rest, torch.ones(2, 1, 1)
    )
    assert torch.equal(mask, torch.ones(2, 1, 1))


def test_colours_change_by_brightness_contrast_and_saturation_within_0_and_255() -> None:
    augmentation = draw_augmentation(settings(colour=0.5), len(SAMPLES), SIZE, seed=0, epoch=1)
    assert augmentation is not None
    flat = torch.full((len(SAMPLES), 3, *SIZE), 100.0)
    rest = torch.zeros(len(SAMPLES), 1, 17, 2), torch.zeros(len(SAMPLES), 1, 17).bool()
    mask = torch.ones(len(SAMPLES), 1, 1)
    images, *_ = augmentation.apply(SAMPLES, flat, *rest, mask)
    # One grey has neither contrast nor saturation: only its brightness can change.
    assert images.amin((1, 2, 3)) == pytest.approx(100 * augmentation.colour[:, 0], rel=1e-4)
    assert images.amax((1, 2, 3)) == pytest.approx(100 * augmentation.colour[:, 0], rel=1e-4)
    assert 0.5 <= augmentation.colour.min() < 0.7
    assert 1.3 < augmentation.colour.max() <= 1.5
    strong, *_ = augmentation.apply(
        SAMPLES, 250 * torch.eye(128)[:96].expand(16, 3, -1, -1), *rest, mask
    )
    assert strong.min() >= 0
    assert strong.max() <= 255


def test_what_a_sample_undergoes_depends_on_seed_epoch_and_sample_alone() -> None:
    def row(num_samples: int, seed: int, epoch: int, sample: int = 3) -> list[float]:
        drawn = draw_augmentation(settings(**ALL), num_samples, SIZE, seed, epoch)
        assert drawn is not None
        return [*drawn.forward[sample].flatten().tolist(), *drawn.colour[sample].tolist()]

    first = row(16, seed=0, epoch=1)
    np.random.seed(1)
    assert row(200, seed=0, epoch=1) == first
    others = [row(16, 1, 1), row(16, 0, 2), row(16, 0, 1, sample=4)]
    assert all(other != first for other in others)


def test_the_original_recipe_augments_nothing() -> None:
    assert draw_augmentation(AugmentSettings(), 5, SIZE, 0, 1) is None


@pytest.mark.parametrize("name", ALL)
def test_each_setting_alone_changes_no_more_than_it_says(name: str) -> None:
    drawn = draw_augmentation(settings(**{name: ALL[name]}), 1000, SIZE, seed=0, epoch=1)
    assert drawn is not None
    linear, moved = drawn.forward[:, :, :2], drawn.forward @ [64, 48, 1] - [64, 48]
    scale = np.sqrt(np.abs(np.linalg.det(linear)))
    angle = np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 1, 1]))
    spans = {
        "flip": drawn.is_mirrored.mean(),
        "rotation_deg": np.abs(angle).max(),
        "scale": max(scale.max(), 1 / scale.min()) - 1,
        "shift": (np.abs(moved) / [128, 96]).max(),
        "colour": np.abs(drawn.colour - 1).max(),
    }
    for other, span in spans.items():
        expected = ALL[name] if other == name else 0.0
        assert span == pytest.approx(expected, rel=0.1, abs=1e-4), other
