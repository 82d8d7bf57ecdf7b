"""From a pack to batches on the device: gathered in-process, in an order that the seed decides.

Shapes: B samples, N persons (of the sample that has most; the others are padded with unlabelled
ones), K joints, H x W input pixels, h x w heatmap pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kptrain.config import OUTPUT_STRIDE, TrainConfig
from kptrain.heatmaps import encode
from kptrain.pack import Pack

# ImageNet's channel statistics. Source: torchvision's classification presets.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Batch:
    """What one step of training or validation needs."""

    samples: np.ndarray
    """(B,) int64: the samples' numbers in the pack."""
    images: Float[Tensor, "B 3 H W"]
    joints: Float[Tensor, "B N K 2"]
    """x, y in the input, continuous pixels."""
    labelled: Bool[Tensor, "B N K"]
    mask: Float[Tensor, "B h w"]
    """0 where nothing is learnt, else 1; (B, 1, 1) in the person view."""


def epoch_order(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """The order of samples in an epoch: a permutation that depends on nothing else."""
    return np.random.default_rng([seed, epoch]).permutation(num_samples)


def batches(
    pack: Pack, order: np.ndarray, batch_size: int, device: torch.device
) -> Iterator[Batch]:
    """Gather the samples in the given order; the last batch may be smaller."""
    for start in range(0, len(order), batch_size):
        yield _gather(pack, order[start : start + batch_size], device)


def _gather(pack: Pack, samples: np.ndarray, device: torch.device) -> Batch:
    table = pack.table
    pixels = torch.from_numpy(pack.images[table.row[samples]]).to(device)
    joints, labelled = _pad_persons(pack, samples)
    return Batch(
        samples=samples,
        images=_normalise(pixels),
        joints=torch.from_numpy(joints).to(device),
        labelled=torch.from_numpy(labelled).to(device),
        mask=1.0 - torch.from_numpy(pack.ignore[samples]).to(device).float(),
    )


def _pad_persons(pack: Pack, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    table = pack.table
    counts = table.first[samples + 1] - table.first[samples]
    slots = np.arange(counts.max())
    present = slots < counts[:, None]
    persons = np.where(present, table.first[samples][:, None] + slots, 0)
    labelled = (table.keypoints[persons, :, 2] > 0) & present[:, :, None]
    return table.joints[persons], labelled


def _normalise(pixels: Tensor) -> Float[Tensor, "B 3 H W"]:
    mean = torch.tensor(MEAN, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(STD, device=pixels.device).view(3, 1, 1)
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std


def targets(batch: Batch, config: TrainConfig) -> Float[Tensor, "B K h w"]:
    """The heatmaps to predict, made on the batch's device from sub-pixel centres."""
    joints = batch.joints / OUTPUT_STRIDE
    return encode(joints, batch.labelled, config.heatmap_size, config.heatmap.sigma_px)


def joint_weights(batch: Batch, config: TrainConfig) -> Float[Tensor, "B K"]:
    """Weight of each joint's error; in the person view 0 for a joint that is not labelled."""
    weights = batch.joints.new_tensor(config.loss.joint_weights).expand(len(batch.samples), -1)
    if config.data.view == "person":
        return weights * batch.labelled[:, 0]
    return weights
