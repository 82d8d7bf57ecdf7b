"""Joints to heatmaps and back."""

import math

import pytest
import torch

from kptrain.model.heatmaps import decode, decode_dark, decoder_of, encode
from kptrain.resolve import resolve

WHOLE = torch.tensor([[0.0, 0.0, 64.0, 48.0]])


def drawn(joints: torch.Tensor, sigma_px: float, size: tuple[int, int] = (48, 64)) -> torch.Tensor:
    """Heatmaps of one sample with one person, all joints labelled."""
    labelled = torch.ones(1, 1, len(joints), dtype=torch.bool)
    return encode(joints[None, None], labelled, size, sigma_px)


@pytest.mark.parametrize("sigma_px", [0.75, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_decode_returns_what_encode_was_given_to_a_hundredth_of_a_pixel(
    sigma_px: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    joints = torch.rand(17, 2, generator=generator) * torch.tensor([64.0, 48.0])
    found = decode(drawn(joints, sigma_px), WHOLE)[0]
    assert (found[:, :2] - joints).abs().max() < 0.01


@pytest.mark.parametrize("corner", [(0.0, 0.0), (63.99, 0.2), (0.3, 47.9), (63.9, 47.9)])
def test_joints_at_the_border_are_found_too(corner: tuple[float, float]) -> None:
    joints = torch.tensor([corner])
    found = decode(drawn(joints, 2.0), WHOLE)[0]
    assert (found[:, :2] - joints).abs().max() < 0.01


def test_a_gaussian_has_height_one_at_a_pixel_centre_and_falls_off_by_sigma() -> None:
    maps = drawn(torch.tensor([[10.5, 20.5]]), 2.0)[0, 0]
    assert maps[20, 10] == pytest.approx(1.0)
    assert maps[20, 12] == pytest.approx(math.exp(-0.5))
    assert maps[24, 10] == pytest.approx(math.exp(-2.0))


def test_persons_join_by_the_maximum_and_unlabelled_joints_leave_nothing() -> None:
    joints = torch.tensor([[[[10.5, 10.5]], [[12.5, 10.5]], [[40.5, 30.5]]]])
    labelled = torch.tensor([[[True], [True], [False]]])
    maps = encode(joints, labelled, (48, 64), 2.0)[0, 0]
    assert maps.max() == pytest.approx(1.0)
    assert maps[10, 11] == pytest.approx(math.exp(-0.5 / 4))  # not the sum of both
    assert maps[30, 40] < 1e-6


def test_the_peak_is_looked_for_inside_the_box_only() -> None:
    joints = torch.tensor([[[[10.5, 10.5]], [[40.5, 30.5]]]])
    maps = encode(joints, torch.ones(1, 2, 1, dtype=torch.bool), (48, 64), 2.0)
    boxes = torch.tensor([[30.0, 20.0, 50.0, 40.0], [0.0, 0.0, 20.0, 20.0]])
    found = decode(maps.expand(2, -1, -1, -1), boxes)
    assert (found[0, 0, :2] - torch.tensor([40.5, 30.5])).abs().max() < 0.01
    assert (found[1, 0, :2] - torch.tensor([10.5, 10.5])).abs().max() < 0.01


@pytest.mark.parametrize(
    "box",
    [(-20.0, -20.0, -5.0, -5.0), (80.0, 60.0, 90.0, 70.0), (5.0, 5.0, 5.0, 5.0)],
    ids=["left of the map", "right of the map", "empty"],
)
def test_a_box_outside_of_the_map_still_gives_finite_coordinates(
    box: tuple[float, float, float, float],
) -> None:
    found = decode(drawn(torch.tensor([[10.5, 10.5]]), 2.0), torch.tensor([box]))
    assert found.isfinite().all()


def test_a_flat_or_negative_map_decodes_to_a_pixel_centre() -> None:
    for value in (0.0, -1.0):
        found = decode(torch.full((1, 17, 48, 64), value), WHOLE)
        assert torch.equal(found[0, :, :2], torch.full((17, 2), 0.5))
        assert torch.equal(found[0, :, 2], torch.full((17,), value))


@pytest.mark.parametrize("sigma_px", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_dark_returns_what_encode_was_given_too(sigma_px: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    margin = 6 * sigma_px  # nearer to the border it smooths what is cut off
    joints = margin + torch.rand(17, 2, generator=generator) * (
        torch.tensor([64.0, 48.0]) - 2 * margin
    )
    found = decode_dark(drawn(joints, sigma_px), WHOLE, sigma_px)[0]
    assert (found[:, :2] - joints).abs().max() < 0.01
    plain = decode(drawn(joints, sigma_px), WHOLE)[0]
    assert torch.equal(found[:, 2], plain[:, 2])  # the score is that of the map as it is


def test_dark_finds_joints_at_the_border_within_a_pixel() -> None:
    for corner in ((0.0, 0.0), (63.99, 0.2), (0.3, 47.9), (30.0, 47.5)):
        found = decode_dark(drawn(torch.tensor([corner]), 2.0), WHOLE, 2.0)[0]
        assert (found[:, :2] - torch.tensor([corner])).abs().max() < 0.75


def test_dark_is_nearer_than_the_parabola_where_a_map_is_noisy_or_tilted() -> None:
    generator = torch.Generator().manual_seed(0)
    joints = 12 + torch.rand(200, 2, generator=generator) * torch.tensor([40.0, 24.0])
    noise = 0.05 * torch.randn(1, 200, 48, 64, generator=generator)
    errors = [
        (found[0, :, :2] - joints).norm(dim=1).mean().item()
        for found in (
            decode(drawn(joints, 2.0) + noise, WHOLE),
            decode_dark(drawn(joints, 2.0) + noise, WHOLE, 2.0),
        )
    ]
    assert errors[1] < 0.6 * errors[0]
    # Of a Gaussian that is longer along a diagonal the two axes must be solved together.
    x, y = torch.arange(64) + 0.5 - 30.3, torch.arange(48)[:, None] + 0.5 - 20.6
    tilted = torch.exp(-0.5 * ((x + y) ** 2 / 32 + (x - y) ** 2 / 8))[None, None]
    found = decode_dark(tilted, WHOLE, 2.0)[0, 0]
    assert found[:2].tolist() == pytest.approx([30.3, 20.6], abs=0.02)


def test_dark_of_a_flat_or_negative_map_is_a_pixel_centre_within_the_map() -> None:
    for value in (0.0, -1.0):
        found = decode_dark(torch.full((1, 17, 48, 64), value), WHOLE, 2.0)
        assert torch.equal(found[0, :, :2], torch.full((17, 2), 1.5))
        assert torch.equal(found[0, :, 2], torch.full((17,), value))


def test_the_setting_chooses_the_decoder() -> None:
    maps = drawn(torch.tensor([[10.3, 20.6]]), 2.0) + 0.05 * torch.rand(1, 1, 48, 64)
    base = {"data.root": "embedded", "heatmap.sigma_px": 2.0, "data.image_size": [192, 256]}
    plain = decoder_of(resolve(base, "test"))(maps, WHOLE)
    dark = decoder_of(resolve(base | {"heatmap.decode": "dark"}, "test"))(maps, WHOLE)
    assert torch.equal(plain, decode(maps, WHOLE))
    assert torch.equal(dark, decode_dark(maps, WHOLE, 2.0))
    assert not torch.equal(plain, dark)
