"""What is drawn: distributions, probabilities, halves of bodies, hues and patches."""

from typing import Any

import numpy as np
import pytest
import torch
from augmented import SIZE, drawn_for, table_of

from kptrain.augmentation.colour import LUMA, colour_matrices, recoloured
from kptrain.augmentation.draws import Draws
from kptrain.augmentation.half_body import UPPER, draw_views
from kptrain.config import AugmentSettings
from kptrain.data.pack_format import Table
from kptrain.keypoints import JOINTS

MANY = 20_000


def angles(**changes: Any) -> np.ndarray:
    linear = drawn_for(changes, MANY).forward[:, :, :2]
    found: np.ndarray = np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 1, 1]))
    return found


def test_a_normal_rotation_has_the_given_deviation_and_is_clipped_at_twice() -> None:
    found = angles(rotation_deg=40.0, distribution="normal")
    assert np.abs(found).max() == pytest.approx(80, abs=1e-3)
    assert (np.abs(found) > 79.99).mean() == pytest.approx(0.0455, abs=0.005)
    assert (np.abs(found) < 40).mean() == pytest.approx(0.683, abs=0.01)
    assert found.mean() == pytest.approx(0, abs=1)


def test_a_normal_scale_and_shift_are_clipped_at_once() -> None:
    forward = drawn_for({"scale": 0.3, "distribution": "normal"}, MANY).forward
    scale = np.sqrt(np.linalg.det(forward[:, :, :2].astype(float)))
    assert scale.max() == pytest.approx(1.3, rel=1e-5)
    assert scale.min() == pytest.approx(1 / 1.3, rel=1e-5)
    assert (scale > 1.2999).mean() == pytest.approx(0.159, abs=0.01)
    shift = drawn_for({"shift": 0.1, "distribution": "normal"}, MANY).forward[:, :, 2]
    assert np.abs(shift).max(0) == pytest.approx(0.1 * np.array(SIZE[::-1]), rel=1e-5)


def test_as_many_samples_are_rotated_as_the_probability_says() -> None:
    found = angles(rotation_deg=40.0, rotation_prob=0.6)
    assert (found != 0).mean() == pytest.approx(0.6, abs=0.01)
    assert np.abs(found).max() == pytest.approx(40, rel=0.01)
    assert (found[found != 0] == angles(rotation_deg=40.0)[found != 0]).all()


OTHERS: dict[str, Any] = {
    "flip": 0.5,
    "scale": 0.3,
    "shift": 0.1,
    "colour": 0.3,
    "hue": 0.2,
    "dropout_prob": 0.5,
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_setting_does_not_move_what_another_draws(name: str) -> None:
    alone = drawn_for({"rotation_deg": 40.0, "rotation_prob": 0.5}, 100)
    both = drawn_for({"rotation_deg": 40.0, "rotation_prob": 0.5, name: OTHERS[name]}, 100)
    of_one, of_both = (np.abs(one.forward[:, 1, 0] / one.forward[:, 1, 1]) for one in (alone, both))
    assert of_both == pytest.approx(of_one, abs=1e-5)
    every = drawn_for(OTHERS, 100)
    single = drawn_for({name: OTHERS[name]}, 100)
    if name == "dropout_prob":
        assert every.patches is not None
        assert single.patches is not None
        assert np.array_equal(every.patches, single.patches)
    elif name in ("colour", "hue"):
        columns = slice(0, 3) if name == "colour" else slice(3, 4)
        assert every.colour is not None
        assert single.colour is not None
        assert np.array_equal(every.colour[:, columns], single.colour[:, columns])
    elif name == "flip":
        assert np.array_equal(every.is_flipped, single.is_flipped)


def test_a_row_of_patches_depends_on_seed_epoch_and_sample_alone() -> None:
    changes = {"dropout_prob": 0.7, "dropout_patches": 3}
    few, many, later = (
        drawn_for(changes, count, epoch=epoch).patches
        for count, epoch in ((10, 1), (50, 1), (10, 2))
    )
    assert few is not None
    assert many is not None
    assert later is not None
    assert np.array_equal(few, many[:10])
    assert not np.array_equal(few, later)


def test_patches_are_as_many_as_large_and_as_likely_as_the_settings_say() -> None:
    changes = {"dropout_prob": 0.7, "dropout_patches": 3, "dropout_size": 0.4}
    patches = drawn_for(changes, MANY).patches
    assert patches is not None
    sides = (patches[:, :, 2:] - patches[:, :, :2]) / np.array(SIZE[::-1])
    counts = (sides.min(2) > 0).sum(1)
    shares = [(counts == number).mean() for number in range(4)]
    assert shares == pytest.approx([0.3, 0.7 / 3, 0.7 / 3, 0.7 / 3], abs=0.01)
    present = sides[sides.min(2) > 0]
    assert present.min() == pytest.approx(0.2, abs=0.001)
    assert present.max() == pytest.approx(0.4, abs=0.001)
    assert patches.min() >= 0
    assert (patches[:, :, 2:] <= np.array(SIZE[::-1]) + 1e-3).all()


def test_a_patch_is_black_and_the_rest_is_as_it_was() -> None:
    drawing = drawn_for({"dropout_prob": 1.0}, 8)
    assert drawing.patches is not None
    images = drawing.paint(np.arange(8), torch.full((8, 3, *SIZE), 100.0), None)
    for image, (x0, y0, x1, y1) in zip(images, drawing.patches[:, 0], strict=True):
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
        inside = (columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1)
        assert np.array_equal(image[0].numpy() == 0, inside)
        assert set(image.unique().tolist()) == {0.0, 100.0}


def bodies(labelled: np.ndarray) -> tuple[Table, np.ndarray]:
    """Persons of the person view with joints at random; also their (S, 17, 2) joints."""
    table = table_of(len(labelled))
    generator = np.random.default_rng(0)
    joints = generator.uniform(20, 90, (len(labelled), 17, 2)).astype(np.float32)
    keypoints = np.concatenate((joints, 2.0 * labelled[:, :, None]), axis=2)
    columns = vars(table) | {"joints": joints, "keypoints": keypoints}
    return Table(**columns), joints


def test_a_half_body_is_the_box_of_the_upper_or_the_lower_keypoints_by_a_half_larger() -> None:
    labelled = np.ones((MANY, 17), dtype=bool)
    table, joints = bodies(labelled)
    settings = AugmentSettings(half_body_prob=0.4)
    views = draw_views(settings, Draws.of(MANY, 0, 1), table, SIZE)
    assert views is not None
    is_half = views.extent != 1
    assert is_half.mean() == pytest.approx(0.4, abs=0.01)
    assert (views.centre[~is_half] == np.array(SIZE[::-1]) / 2).all()
    upper = np.isclose(views.centre, joints[:, UPPER].mean(1), atol=1e-3).all(1)
    lower = np.isclose(views.centre, joints[:, ~UPPER].mean(1), atol=1e-3).all(1)
    assert (upper | lower)[is_half].all()
    assert upper[is_half].mean() == pytest.approx(0.7, abs=0.02)
    row = int(np.flatnonzero(upper & is_half)[0])
    box = np.ptp(joints[row, UPPER], axis=0)
    assert views.extent[row] == pytest.approx(1.5 * (box / np.array(SIZE[::-1])).max(), rel=1e-4)
    assert [name for name, above in zip(JOINTS, UPPER, strict=True) if not above] == [
        f"{side}_{joint}" for joint in ("hip", "knee", "ankle") for side in ("left", "right")
    ]


def test_a_person_with_too_few_keypoints_stays_whole() -> None:
    labelled = np.zeros((3, 17), dtype=bool)
    labelled[0, :8] = True  # enough, of the upper half
    labelled[1, :7] = True
    labelled[2, [0, 1, 11, 12, 13, 14, 15, 16]] = True  # enough, mostly of the lower half
    table, joints = bodies(labelled)
    views = draw_views(AugmentSettings(half_body_prob=1.0), Draws.of(3, 0, 1), table, SIZE)
    assert views is not None
    assert views.centre[0] == pytest.approx(joints[0, :8].mean(0))
    assert (views.centre[1].tolist(), views.extent[1]) == ([SIZE[1] / 2, SIZE[0] / 2], 1)
    assert views.centre[2] == pytest.approx(joints[2, 11:].mean(0))
    fewer = AugmentSettings(half_body_prob=1.0, half_body_keypoints=7)
    views = draw_views(fewer, Draws.of(3, 0, 1), table, SIZE)
    assert views is not None
    assert views.extent[1] != 1


def test_a_hue_keeps_greys_and_the_grey_of_a_colour_and_a_third_of_the_circle_turns_red_green() -> (
    None
):
    factors = np.column_stack((np.ones((7, 3)), np.linspace(-0.5, 0.5, 7)))
    matrices = colour_matrices(factors)
    colours = np.array([[200.0, 40.0, 90.0], [77.0, 77.0, 77.0]])
    turned = np.einsum("sij,cj->sci", matrices, colours)
    assert turned @ np.array(LUMA) == pytest.approx(np.tile(colours @ np.array(LUMA), (7, 1)))
    assert turned[:, 1] == pytest.approx(np.full((7, 3), 77.0))
    assert matrices[3] == pytest.approx(np.eye(3))
    third = colour_matrices(np.array([[1, 1, 1, 1 / 3], [1, 1, 1, -1 / 3]])) @ np.array([255, 0, 0])
    assert sorted(third.argmax(1).tolist()) == [1, 2]  # green one way, blue the other
    images = torch.tensor([77.0, 77.0, 77.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    same = recoloured(images, factors[:1], torch.ones(1, 1, 4, 4))
    assert same == pytest.approx(images, abs=1e-3)
