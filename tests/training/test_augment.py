"""Augmentation: pixels, joints and mask follow one map, drawn from seed, epoch and sample."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from augmented import SIZE, drawn_for, settings, table_of
from PIL import Image, ImageEnhance
from torch import Tensor

from kptrain.augmentation.windows import places_of, whole_windows, windows_of
from kptrain.data.views import Frame
from kptrain.keypoints import FLIPPED, JOINTS
from kptrain.model.heatmaps import encode
from kptrain.training.augment import Augmentation, draw_augmentation
from kptrain.training.batches import Batch, warped

ALL = {"flip": 0.5, "rotation_deg": 40.0, "scale": 0.3, "shift": 0.1, "colour": 0.3}
SAMPLES = np.arange(16)


def applied(
    augmentation: Augmentation,
    images: Tensor,
    joints: Tensor | None = None,
    labelled: Tensor | None = None,
    mask: Tensor | None = None,
    samples: np.ndarray | None = None,
    inside: np.ndarray | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The images, joints, labels and mask of samples that are stored whole."""
    samples = np.arange(len(images)) if samples is None else samples
    table = table_of(len(augmentation.forward), inside=inside)
    windows = windows_of(table, samples, SIZE, augmentation.backward[samples])
    places = places_of(whole_windows(windows, table, samples), SIZE, SIZE)
    batch = Batch(
        samples,
        images,
        torch.zeros(len(images), 1, 17, 2) if joints is None else joints,
        torch.zeros(len(images), 1, 17).bool() if labelled is None else labelled,
        torch.ones(len(images), 1, 1) if mask is None else mask,
    )
    done = warped(places, batch, augmentation, SIZE)
    return done.images, done.joints, done.labelled, done.mask


def coloured(
    augmentation: Augmentation, images: Tensor, inside: np.ndarray | None = None
) -> Tensor:
    return applied(augmentation, images, inside=inside)[0]


def colour_of(augmentation: Augmentation) -> np.ndarray:
    assert augmentation.colour is not None
    return augmentation.colour


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
    stretches = np.random.default_rng(0).uniform(0.2, 0.6, (len(SAMPLES), 2))
    augmentation = drawn_for(changes, seed=1, epoch=2, scale=stretches)
    joints = spread_points()
    labelled = torch.ones(len(SAMPLES), 1, 17).bool()
    mask = torch.ones(len(SAMPLES), 24, 32)
    images, moved, _, _ = applied(augmentation, spots(joints[:, :, :3]), joints, labelled, mask)
    found = centroids(images)
    # The spot of a left joint becomes a right one where the sample is mirrored.
    mirrored = torch.from_numpy(augmentation.is_flipped)
    for channel in range(3):
        joint = torch.where(mirrored, FLIPPED[channel], channel)
        expected = moved[torch.arange(len(SAMPLES)), 0, joint]
        assert (found[:, channel] - expected).abs().max() < 0.05
    assert (moved - joints).abs().max() > 4


def test_a_flip_exchanges_left_and_right_and_nothing_else() -> None:
    augmentation = drawn_for({"flip": 1.0}, 1)
    joints = torch.arange(34.0).reshape(1, 1, 17, 2)
    labelled = (torch.arange(17) % 3 == 0).reshape(1, 1, 17)
    images = torch.arange(3 * 96 * 128.0).reshape(1, 3, *SIZE) % 255
    mask = (torch.arange(24 * 32) % 7 > 0).float().reshape(1, 24, 32)
    found = applied(augmentation, images, joints, labelled, mask)
    assert found[0] == pytest.approx(images.flip(3), abs=0.01)
    for number, name in enumerate(JOINTS):
        other = name.replace("left", "L").replace("right", "left").replace("L", "right")
        source = JOINTS.index(other)
        assert found[1][0, 0, number].tolist() == [128 - joints[0, 0, source, 0], 2 * source + 1]
        assert found[2][0, 0, number] == labelled[0, 0, source]
    assert torch.equal(found[3], mask.flip(2))


def test_the_mask_follows_the_pixels_and_what_comes_in_from_outside_is_learnt() -> None:
    augmentation = drawn_for({"shift": 0.25})
    ignored = torch.zeros(len(SAMPLES), 24, 32)
    ignored[:, 8:16, 12:20] = 1
    white = torch.nn.functional.interpolate(255 * ignored[:, None], scale_factor=4)
    images, _, _, mask = applied(augmentation, white.expand(-1, 3, -1, -1), mask=1 - ignored)
    seen = torch.nn.functional.avg_pool2d(images[:, :1], 4)[:, 0] / 255
    assert ((seen - (1 - mask)).abs() > 0.76).sum() == 0
    assert set(mask.flatten().tolist()) == {0.0, 1.0}


def test_in_the_person_view_all_is_learnt_after_the_warp_as_before() -> None:
    augmentation = drawn_for(ALL, 2)
    *_, mask = applied(augmentation, torch.zeros(2, 3, *SIZE), samples=np.array([1, 0]))
    assert torch.equal(mask, torch.ones(2, 1, 1))


def test_colours_change_by_brightness_contrast_and_saturation_within_0_and_255() -> None:
    augmentation = drawn_for({"colour": 0.5})
    images = coloured(augmentation, torch.full((len(SAMPLES), 3, *SIZE), 100.0))
    # One grey has neither contrast nor saturation: only its brightness can change.
    assert images.amin((1, 2, 3)) == pytest.approx(100 * colour_of(augmentation)[:, 0], rel=1e-4)
    assert images.amax((1, 2, 3)) == pytest.approx(100 * colour_of(augmentation)[:, 0], rel=1e-4)
    assert 0.5 <= colour_of(augmentation)[:, :3].min() < 0.7
    assert 1.3 < colour_of(augmentation)[:, :3].max() <= 1.5
    strong = coloured(augmentation, 250 * torch.eye(128)[:96].expand(16, 3, -1, -1))
    assert strong.min() >= 0
    assert strong.max() <= 255


def test_each_factor_of_colour_does_what_pillow_does_with_it() -> None:
    """Pillow rounds after each step, and takes the mean grey as a whole number."""
    pixels = np.random.default_rng(0).integers(80, 150, (*SIZE, 3), dtype=np.uint8)
    augmentation = drawn_for({"colour": 0.3})
    images = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
    found = coloured(augmentation, images.expand(16, -1, -1, -1)).permute(0, 2, 3, 1)
    for sample, (brightness, contrast, saturation, _) in enumerate(
        colour_of(augmentation).tolist()
    ):
        expected = ImageEnhance.Brightness(Image.fromarray(pixels)).enhance(brightness)
        expected = ImageEnhance.Contrast(expected).enhance(contrast)
        expected = ImageEnhance.Color(expected).enhance(saturation)
        assert np.abs(found[sample].numpy() - np.asarray(expected)).max() < 4


def padded(inside: Sequence[float], image_size: tuple[int, int], content: str) -> np.ndarray:
    """(H, W, 3) uint8: what `Frame.cut` makes of a picture that is to lie at x0, y0, x1, y1."""
    scale = np.array(inside[2:]) - inside[:2]
    width, height = np.array(SIZE[::-1]) / scale * image_size[::-1]
    left, top = -np.array(inside[:2]) / scale * image_size[::-1]
    pixels = np.random.default_rng(1).integers(70, 110, (*image_size, 3), dtype=np.uint8)
    if content == "grey":
        pixels[:] = 120
    frame = Frame(left, top, width, height, SIZE)
    assert frame.inside(image_size) == pytest.approx(inside)
    return frame.cut(Image.fromarray(pixels))


@pytest.mark.parametrize(
    ("inside", "image_size"),
    [((32.0, 0.0, 96.0, 96.0), (192, 128)), ((40.0, 16.0, 128.0, 80.0), (64, 88))],
    ids=["reduced", "as it is"],
)
def test_black_around_a_photograph_stays_black_and_is_no_part_of_its_contrast(
    inside: tuple[float, float, float, float], image_size: tuple[int, int]
) -> None:
    augmentation, around = drawn_for({"colour": 0.5}), np.tile(inside, (16, 1))
    blend = 1.0
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    beyond = np.maximum.reduce(
        [inside[0] - columns, columns - inside[2], inside[1] - rows, rows - inside[3]]
    )
    for content in ("noise", "grey"):
        pixels = padded(inside, image_size, content)
        images = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().expand(16, -1, -1, -1)
        found = coloured(augmentation, images, around)
        assert found[:, :, torch.from_numpy(beyond >= blend / 2 + 0.5)].max() == 0
        assert found[images == 0].max() < 0.5  # what is blended may round to black
        brightness = torch.from_numpy(colour_of(augmentation)[:, 0])[:, None, None, None]
        if content == "grey":  # which has no contrast, nor where it is blended with black
            assert (found - images * brightness).abs().max() < 12
    noise = torch.from_numpy(padded(inside, image_size, "noise").copy()).permute(2, 0, 1).float()
    x0, y0, x1, y1 = (round(edge) for edge in inside)
    alone = noise[:, y0 + 8 : y1 - 8, x0 + 8 : x1 - 8]
    grey = 0.299 * noise[0] + 0.587 * noise[1] + 0.114 * noise[2]
    mean = float(grey.sum()) / ((x1 - x0) * (y1 - y0))
    for sample, (brightness, contrast, *_) in enumerate(colour_of(augmentation).tolist()):
        expected = brightness * (mean + contrast * (alone.mean() - mean))
        seen = coloured(augmentation, noise.expand(16, -1, -1, -1), around)[sample]
        inner = seen[:, y0 + 8 : y1 - 8, x0 + 8 : x1 - 8]
        assert inner.mean() == pytest.approx(float(expected), abs=1.5)


def test_what_a_warp_brings_in_from_outside_is_black_whatever_the_contrast() -> None:
    white = torch.full((len(SAMPLES), 3, *SIZE), 200.0)
    augmentation = drawn_for({"shift": 0.4, "colour": 0.6})
    plain = coloured(drawn_for({"shift": 0.4}), white)
    found = coloured(augmentation, white)
    assert (plain == 0).any()
    assert found[plain == 0].max() == 0


def test_a_rotation_is_one_of_the_photograph_however_it_is_stretched() -> None:
    stretches = np.random.default_rng(0).uniform(0.1, 4, (500, 2))
    forward = drawn_for({"rotation_deg": 90.0}, 500, scale=stretches).forward[:, :, :2]
    photograph = forward * stretches[:, None, :] / stretches[:, :, None]  # S^-1 M S
    assert np.linalg.svd(photograph)[1] == pytest.approx(1, abs=1e-5)
    angle = np.rad2deg(np.arctan2(photograph[:, 1, 0], photograph[:, 0, 0]))
    assert np.abs(angle).max() == pytest.approx(90, rel=0.05)
    as_ever = drawn_for({"rotation_deg": 90.0}, 500).forward[:, :, :2]
    assert photograph == pytest.approx(as_ever, abs=1e-5)
    # At 40 degrees the old shear of 640 x 480 was by 1.205 and 0.830.
    values = np.linalg.svd(forward)[1]
    assert values.max() > 1.2


def test_scale_flip_and_shift_keep_their_meaning_in_a_stretched_photograph() -> None:
    stretches = np.random.default_rng(0).uniform(0.1, 4, (200, 2))
    changes = {"flip": 0.5, "scale": 0.4, "shift": 0.2}
    assert np.array_equal(
        drawn_for(changes, 200, scale=stretches).forward, drawn_for(changes, 200).forward
    )
    turned = drawn_for(changes | {"rotation_deg": 180.0}, 200, scale=stretches)
    linear = turned.forward[:, :, :2] * stretches[:, None, :] / stretches[:, :, None]
    values = np.linalg.svd(linear)[1]
    assert values[:, 0] == pytest.approx(values[:, 1], rel=1e-4)
    assert values.min() > 1 / 1.401
    assert values.max() < 1.401
    centre = np.array([SIZE[1], SIZE[0]]) / 2
    moved = turned.forward @ [*centre, 1] - centre
    assert (np.abs(moved) <= 0.2001 * 2 * centre).all()


def test_a_crop_that_is_not_stretched_undergoes_what_it_always_did() -> None:
    geometry = {"flip": 0.5, "rotation_deg": 40.0, "scale": 0.3, "shift": 0.1}
    # The two scales of a crop may differ by rounding, of which nothing may be seen.
    scale = 0.3 * np.ones((20_000, 2))
    scale[:, 0] *= 1 + 5e-10
    found, plain = drawn_for(geometry, 20_000, scale=scale), drawn_for(geometry, 20_000)
    assert np.array_equal(found.forward, plain.forward)
    assert found.backward == pytest.approx(plain.backward, abs=1e-6)
    golden = [[-1.0113006, 0.48874694, 92.90714], [0.48874694, 1.0113006, -28.804224]]
    assert np.array_equal(found.forward[3], np.array(golden, np.float32))


def test_what_a_sample_undergoes_depends_on_seed_epoch_and_sample_alone() -> None:
    def row(num_samples: int, seed: int, epoch: int, sample: int = 3) -> list[float]:
        drawn = drawn_for(ALL, num_samples, seed, epoch)
        return [*drawn.forward[sample].flatten().tolist(), *colour_of(drawn)[sample].tolist()]

    first = row(16, seed=0, epoch=1)
    np.random.seed(1)
    assert row(200, seed=0, epoch=1) == first
    others = [row(16, 1, 1), row(16, 0, 2), row(16, 0, 1, sample=4)]
    assert all(other != first for other in others)


def test_the_original_recipe_augments_nothing() -> None:
    for alone in ({}, {"rotation_prob": 0.5}, {"distribution": "normal"}, {"dropout_size": 0.2}):
        assert draw_augmentation(settings(**alone), table_of(5), SIZE, 0, 1) is None


@pytest.mark.parametrize("name", ALL)
def test_each_setting_alone_changes_no_more_than_it_says(name: str) -> None:
    drawn = drawn_for({name: ALL[name]}, 1000)
    linear, moved = drawn.forward[:, :, :2], drawn.forward @ [64, 48, 1] - [64, 48]
    scale = np.sqrt(np.abs(np.linalg.det(linear)))
    angle = np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 1, 1]))
    spans = {
        "flip": drawn.is_flipped.mean(),
        "rotation_deg": np.abs(angle).max(),
        "scale": max(scale.max(), 1 / scale.min()) - 1,
        "shift": (np.abs(moved) / [128, 96]).max(),
        "colour": 0.0 if drawn.colour is None else np.abs(drawn.colour[:, :3] - 1).max(),
    }
    for other, span in spans.items():
        expected = ALL[name] if other == name else 0.0
        assert span == pytest.approx(expected, rel=0.1, abs=1e-4), other
