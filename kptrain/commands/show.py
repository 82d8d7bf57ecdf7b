"""The command `python -m kptrain show`: draws training samples with their targets."""

import argparse
from pathlib import Path

import numpy as np
import torch

from kptrain.commands.drawing import Example, draw_examples
from kptrain.commands.settings import add_settings, given_settings
from kptrain.config import OUTPUT_STRIDE, TrainConfig
from kptrain.data.pack import open_pack
from kptrain.errors import SettingsError
from kptrain.machine.outputs import check_file, writing
from kptrain.model.heatmaps import Decoder, decoder_of
from kptrain.training.augment import draw_augmentation
from kptrain.training.batches import MEAN, STD, Batch, batches, epoch_order, targets

MASKED = 0.35
"""Brightness of masked pixels."""
TITLES = ("input", "decoded", "targets")
"""The augmented input; joints decoded from the targets, the best possible result; the targets."""
NOWHERE = -1e3
"""Coordinate of joints that must not be seen: outside the picture."""


SUMMARY = "draw training samples with their targets"
DESCRIPTION = (
    "Draw samples of the first epoch with their targets: the heatmaps with the sigma of the "
    "settings, masked regions (dark) and augmentation."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument(
        "--number", type=int, default=6, metavar="N", help="number of samples (default: 6)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("targets.png"),
        metavar="PNG",
        help="output file (default: targets.png)",
    )


def run(parsed: argparse.Namespace) -> None:
    """Run the command. Raises: SettingsError, DataError."""
    if parsed.number < 1:
        raise SettingsError(f"--number: must be 1 or more, but got {parsed.number}")
    config = given_settings(parsed, parsed.config)
    if parsed.out.suffix.lower() != ".png":
        raise SettingsError(f"--out: must end in .png, but got {parsed.out}")
    check_file(parsed.out, "--out")
    examples = first_samples(config, parsed.number)
    with writing(parsed.out):
        draw_examples(examples, parsed.out, TITLES)
    print(f"{parsed.out}: sigma {config.sigma_px:g} heatmap pixels")


def first_samples(config: TrainConfig, number: int) -> list[Example]:
    """The first samples of the first epoch, with their targets."""
    pack = open_pack(config.data, "train", progress=True)
    seed = config.train.seed
    order = epoch_order(len(pack), seed, 1)[:number]
    augmentation = draw_augmentation(config.augment, pack.table, config.data.image_size, seed, 1)
    (batch,) = batches(pack, order, len(order), torch.device("cpu"), augmentation)
    heatmaps = targets(batch, config)
    decoder = decoder_of(config)
    return [_example(batch, heatmaps[index], index, decoder) for index in range(len(order))]


def _example(batch: Batch, heatmaps: torch.Tensor, index: int, decoder: Decoder) -> Example:
    joints, labelled = batch.joints[index], batch.labelled[index]
    persons = labelled.any(dim=1)
    boxes = _around(joints[persons] / OUTPUT_STRIDE, labelled[persons])
    found = decoder(heatmaps.expand(len(boxes), *heatmaps.shape), boxes)
    found[..., :2] *= OUTPUT_STRIDE
    has_target = labelled[persons][..., None] & (found[..., 2:] > 0)
    found[..., :2] = torch.where(has_target, found[..., :2], NOWHERE)
    true = torch.cat((joints, labelled[..., None].float()), dim=2)[persons]
    return Example(_pixels(batch, index), true.numpy(), found.numpy(), heatmaps.numpy())


def _around(joints: torch.Tensor, labelled: torch.Tensor) -> torch.Tensor:
    """(N, 4) left, top, right, bottom of each person's labelled joints, two pixels wider."""
    unlabelled = ~labelled[..., None]
    low = joints.masked_fill(unlabelled, torch.inf).amin(dim=1) - 2
    high = joints.masked_fill(unlabelled, -torch.inf).amax(dim=1) + 2
    return torch.cat((low, high), dim=1)


def _pixels(batch: Batch, index: int) -> np.ndarray:
    """(H, W, 3) uint8 of an input, dark where it is masked."""
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    image = (batch.images[index] * std + mean).clamp(0, 1)
    mask = batch.mask[index][None, None]
    mask = torch.nn.functional.interpolate(mask, image.shape[1:], mode="nearest")[0]
    shown = image * (MASKED + (1 - MASKED) * mask)
    pixels: np.ndarray = (255 * shown).round().byte().permute(1, 2, 0).contiguous().numpy()
    return pixels
