"""Crop and augmentation as one warp: what is drawn in a photograph is found where labels say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coco_files import CocoWriter

from kptrain.config import TrainConfig
from kptrain.data.pack import open_pack
from kptrain.data.pack_format import Pack
from kptrain.keypoints import FLIPPED, JOINTS
from kptrain.resolve import change, resolve
from kptrain.training.augment import draw_augmentation
from kptrain.training.batches import MEAN, STD, Batch, batches, joint_weights, targets

CPU = torch.device("cpu")
IMAGE_SIZE = (360, 480)
SIZE = (128, 96)
DOT = JOINTS.index("left_wrist")
BOXES = [
    (150.0, 60.0, 110.0, 220.0),  # reduced to the input
    (200.0, 140.0, 50.0, 61.0),  # enlarged
    (180.5, 100.3, 70.0, 90.0),  # nearly as it is
    (-30.0, 20.0, 200.0, 300.0),  # over three edges
    (400.0, 250.0, 70.0, 100.0),  # near a corner
]
ALL: dict[str, Any] = {
    "augment.flip": 0.5,
    "augment.rotation_deg": 180.0,
    "augment.rotation_prob": 0.8,
    "augment.scale": 0.35,
    "augment.shift": 0.1,
    "augment.distribution": "normal",
}


def spread_of(slot: int, view: str) -> float:
    """The standard deviation of a dot in original pixels: some pixels of the input."""
    return 10.0 if view == "image" else 0.03 * max(BOXES[slot][2:])


def dotted(writer: CocoWriter, view: str = "person") -> Path:
    """Black images of one person each: a grid of labelled keypoints, and a dot at one of them."""
    rows, columns = np.mgrid[: IMAGE_SIZE[0], : IMAGE_SIZE[1]]
    for number, (x, y, width, height) in enumerate(BOXES, start=1):
        across, down = np.meshgrid(np.linspace(0.2, 0.8, 5), np.linspace(0.2, 0.8, 4))
        places = np.stack((x + width * across.ravel(), y + height * down.ravel()), axis=1)[:17]
        places = places.clip(0, np.array(IMAGE_SIZE[::-1]) - 1)
        keypoints = np.column_stack((places.round(2), np.full(17, 2.0)))
        spread = spread_of(number - 1, view)
        distance = (columns - keypoints[DOT, 0]) ** 2 + (rows - keypoints[DOT, 1]) ** 2
        dot = 250 * np.exp(-0.5 * distance / spread**2)
        writer.image("train", number, np.repeat(dot[:, :, None], 3, 2).astype(np.uint8), IMAGE_SIZE)
        box = [x, y, width, height]
        writer.person("train", number, number, bbox=box, keypoints=keypoints.ravel().tolist())
    return writer.write()


def config_of(root: Path, view: str, **changes: Any) -> TrainConfig:
    said = {"data.root": str(root), "data.view": view, "data.image_size": list(SIZE)}
    return resolve(said | {"heatmap.sigma_px": 1.0} | changes, "test")


def drawn(pack: Pack, config: TrainConfig, epochs: int) -> Iterator[Batch]:
    """A batch of all samples for each epoch."""
    for epoch in range(1, epochs + 1):
        augmentation = draw_augmentation(config.augment, pack.table, SIZE, 0, epoch)
        yield from batches(pack, np.arange(len(pack)), len(pack), CPU, augmentation)


def pixels_of(batch: Batch) -> np.ndarray:
    """(B, H, W, 3) from 0 to 255."""
    values = batch.images.permute(0, 2, 3, 1).numpy()
    pixels: np.ndarray = (values * np.array(STD) + np.array(MEAN)) * 255
    return pixels


def centres_of(batch: Batch) -> np.ndarray:
    """(B, 2) x, y of the centre of what is bright."""
    grey = (batch.images[:, 0].numpy() * STD[0] + MEAN[0]) * 255
    bright = np.where(grey > 25, grey, 0)
    across, down = bright.sum(1), bright.sum(2)
    x, y = np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5
    centres: np.ndarray = np.stack((across @ x, down @ y), axis=1)
    centres /= bright.sum((1, 2)).clip(1)[:, None]
    return centres


def errors_of(pack: Pack, config: TrainConfig, epochs: int) -> tuple[list[float], int]:
    """The distances of found dots from their joints, and in how many samples it was flipped."""
    errors, flipped = [], 0
    assert config.augment.is_on
    for epoch in range(1, epochs + 1):
        augmentation = draw_augmentation(config.augment, pack.table, SIZE, 0, epoch)
        assert augmentation is not None
        (batch,) = batches(pack, np.arange(len(pack)), len(pack), CPU, augmentation)
        for slot, centre in enumerate(centres_of(batch)):
            is_flipped = augmentation.is_flipped[slot]
            joint = FLIPPED[DOT] if is_flipped else DOT
            expected = batch.joints[slot, 0, joint].numpy()
            margin = 3.2 * spread_of(slot, config.data.view) * pack.table.scale[slot]
            reach = margin.max() * np.linalg.norm(augmentation.forward[slot, :, :2], 2)
            # A dot that is cut off, by the view or by the photograph, has another centre.
            inside = (expected > reach).all() and (expected < np.array(SIZE[::-1]) - reach).all()
            own = pack.table.joints[slot, DOT]
            edges = pack.table.inside[slot]
            if inside and (own - margin > edges[:2]).all() and (own + margin < edges[2:]).all():
                assert batch.labelled[slot, 0, joint]
                errors.append(float(np.abs(centre - expected).max()))
                flipped += bool(is_flipped)
    return errors, flipped


@pytest.mark.parametrize("view", ["person", "image"])
def test_of_a_thousand_draws_a_dot_is_found_within_a_quarter_pixel_of_its_joint(
    writer: CocoWriter, view: str
) -> None:
    config = config_of(dotted(writer, view), view, **ALL)
    pack = open_pack(config.data, "train")
    errors, flipped = errors_of(pack, config, 200)  # of five samples
    assert len(errors) >= 450  # in which the whole dot is seen
    assert 0.4 < flipped / len(errors) < 0.6
    assert max(errors) < 0.25


def test_half_bodies_keep_their_labels_too(writer: CocoWriter) -> None:
    changes = ALL | {"augment.half_body_prob": 1.0, "augment.scale": 0.1, "augment.shift": 0.0}
    config = config_of(dotted(writer), "person", **changes)
    pack = open_pack(config.data, "train")
    errors, flipped = errors_of(pack, config, 100)
    assert len(errors) > 200
    assert flipped > 50
    assert max(errors) < 0.3  # enlarged once more, and so is the error


def test_what_a_batch_has_does_not_depend_on_its_size_or_its_company(writer: CocoWriter) -> None:
    colours = {"augment.colour": 0.3, "augment.hue": 0.1, "augment.dropout_prob": 0.5}
    config = config_of(dotted(writer), "person", **ALL | colours)
    pack = open_pack(config.data, "train")
    augmentation = draw_augmentation(config.augment, pack.table, SIZE, 0, 1)
    (whole,) = batches(pack, np.arange(5), 5, CPU, augmentation)
    for batch in batches(pack, np.array([3, 1, 4, 0, 2]), 2, CPU, augmentation):
        for slot, sample in enumerate(batch.samples):
            assert (batch.images[slot] - whole.images[sample]).abs().max() < 1e-3
            assert torch.equal(batch.joints[slot], whole.joints[sample])


def test_colour_leaves_alone_what_is_black_around_the_photograph(writer: CocoWriter) -> None:
    for number, box in enumerate(BOXES, start=1):
        writer.image("train", number, np.full((*IMAGE_SIZE, 3), 90, np.uint8), IMAGE_SIZE)
        writer.person("train", number, number, bbox=list(box))
    root = writer.write()
    for view in ("person", "image"):
        config = config_of(root, view, **ALL)
        pack = open_pack(config.data, "train")
        strong = {"augment.colour": 0.9, "augment.hue": 0.5}
        coloured = change(config, strong, "test")
        for plain, found in zip(drawn(pack, config, 5), drawn(pack, coloured, 5), strict=True):
            black = pixels_of(plain).max(3) < 0.5
            assert black.mean() > 0.01
            assert np.abs(pixels_of(found)[black]).max() < 2
            # A grey photograph has neither contrast nor hue: each pixel has its share of one grey.
            inner = pixels_of(plain).min(3) > 89
            for slot in range(len(inner)):
                values = pixels_of(found)[slot][inner[slot]]
                assert values.size == 0 or np.ptp(values) < 3


def test_a_joint_whose_gaussian_misses_the_map_weighs_nothing_in_the_person_view(
    writer: CocoWriter,
) -> None:
    sigma = 2.0
    config = config_of(dotted(writer), "person", **{"heatmap.sigma_px": sigma})
    (batch,) = batches(open_pack(config.data, "train"), np.arange(1), 1, CPU)
    reach = 3 * sigma * 4
    for place, weighs in (
        ((-reach - 0.1, 50.0), False),
        ((-reach + 0.1, 50.0), True),
        ((SIZE[1] + reach - 0.1, 50.0), True),
        ((SIZE[1] + reach + 0.1, 50.0), False),
        ((50.0, -reach - 0.1), False),
        ((50.0, SIZE[0] + reach - 0.1), True),
        ((50.0, SIZE[0] + reach + 0.1), False),
    ):
        batch.joints[0, 0, DOT] = torch.tensor(place)
        assert bool(joint_weights(batch, config)[0, DOT]) == weighs
        assert (targets(batch, config)[0, DOT].max() > 0.005) == weighs
        in_image_view = change(config, {"data.view": "image"}, "test")
        assert joint_weights(batch, in_image_view)[0, DOT] == 1


def black_share(pack: Pack, config: TrainConfig, epochs: int) -> float:
    shares = [(pixels_of(batch).max(3) < 0.5).mean() for batch in drawn(pack, config, epochs)]
    return float(np.mean(shares))


def test_on_photographs_augmentation_brings_in_hardly_any_black(coco_sample: Path) -> None:
    field = {"augment.rotation_deg": 40.0, "augment.scale": 0.3}
    config = config_of(coco_sample, "person", **field)
    pack = open_pack(config.data, "train")
    plain = black_share(pack, change(config, dict.fromkeys(field, 0.0), "test"), 1)
    augmented = black_share(pack, config, 3)
    assert 0.05 < plain < 0.15
    assert abs(augmented - plain) < 0.02
    normal = change(config, {"augment.distribution": "normal", "augment.flip": 0.5}, "test")
    assert abs(black_share(pack, normal, 3) - plain) < 0.03
