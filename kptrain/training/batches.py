"""Batches of a pack on the device, gathered in this process, in an order determined by the seed.

Shapes: B samples, N persons (of the sample with the most; others are padded with unlabelled
persons), K joints, H x W input pixels, h x w heatmap pixels.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kptrain.augmentation.warp import warp, warp_mask
from kptrain.augmentation.windows import Places
from kptrain.config import OUTPUT_STRIDE, TrainConfig
from kptrain.data.pack_format import Pack
from kptrain.machine.device import send, use
from kptrain.model.heatmaps import encode
from kptrain.training.augment import Augmentation
from kptrain.training.gathering import Gathered, Slot

# ImageNet's channel statistics. Source: torchvision's classification presets.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Batch:
    """The input of one step of training or validation."""

    samples: np.ndarray
    """(B,) int64: indices of the samples in the pack."""
    images: Float[Tensor, "B 3 H W"]
    """Normalised as ImageNet's were; channels last in memory."""
    joints: Float[Tensor, "B N K 2"]
    """x, y in the input, continuous pixels."""
    labelled: Bool[Tensor, "B N K"]
    mask: Float[Tensor, "B h w"]
    """0 at masked pixels, else 1; (B, 1, 1) in the person view."""


def epoch_order(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """The order of samples in an epoch: a permutation that depends only on the arguments."""
    return np.random.default_rng([seed, epoch]).permutation(num_samples)


def batches(
    pack: Pack,
    order: np.ndarray,
    batch_size: int,
    device: torch.device,
    augmentation: Augmentation | None = None,
) -> Iterator[Batch]:
    """Gather the samples in the given order; the last batch may be smaller.

    A thread gathers the next batch while the caller uses this one. Pixels are sent as uint8, and
    the caller never waits for a GPU.
    """
    statistics = send(np.array([MEAN, STD], np.float32).reshape(2, 3, 1, 1), device)
    backward = None if augmentation is None else augmentation.backward
    slots = [Slot(pack, device, backward) for _ in range(2)]
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    with ThreadPoolExecutor(1, "gather", initializer=use, initargs=(device,)) as thread:
        ahead = thread.submit(slots[0].gather, parts[0])
        for number in range(len(parts)):
            gathered = ahead.result()
            if number + 1 < len(parts):
                ahead = thread.submit(slots[(number + 1) % 2].gather, parts[number + 1])
            on_device = _on_device(gathered, slots[number % 2], device)
            batch = on_device
            if gathered.places is not None:
                batch = warped(gathered.places, on_device, augmentation, pack.shape.input_size)
            images = _normalise(batch.images, *statistics)  # faster before they are channels last
            yield replace(batch, images=images.contiguous(memory_format=torch.channels_last))


def _on_device(gathered: Gathered, slot: Slot, device: torch.device) -> Batch:
    """In the result, `Batch.images` are what was gathered, from 0 to 255."""
    return Batch(
        samples=gathered.samples,
        images=slot.send(gathered.pixels).permute(0, 3, 1, 2).float(),
        joints=send(gathered.joints, device),
        labelled=send(gathered.labelled, device),
        mask=send(gathered.learnt, device).float(),
    )


def warped(
    places: Places, batch: Batch, augmentation: Augmentation | None, size: tuple[int, int]
) -> Batch:
    """Crop and augment a batch in one warp: from gathered pixels to inputs of size (height, width),
    both from 0 to 255. places: of the inputs in the pixels."""
    has_colour = augmentation is not None and augmentation.colour is not None
    images, shares = warp(batch.images, places, size, shared=has_colour)
    joints, labelled, mask = batch.joints, batch.labelled, batch.mask
    if augmentation is not None:
        images = augmentation.paint(batch.samples, images, shares)
        joints, labelled = augmentation.move(batch.samples, joints, labelled)
        if mask.shape[1:] != (1, 1):  # else nothing is masked
            mask = warp_mask(mask, places)
    return Batch(batch.samples, images, joints, labelled, mask)


def _normalise(
    images: Float[Tensor, "B 3 H W"], mean: Float[Tensor, "3 1 1"], std: Float[Tensor, "3 1 1"]
) -> Float[Tensor, "B 3 H W"]:
    """In place: 0 to 255 becomes ImageNet's mean 0 and deviation 1."""
    return images.div_(255).sub_(mean).div_(std)


def targets(batch: Batch, config: TrainConfig) -> Float[Tensor, "B K h w"]:
    """The target heatmaps, drawn on the batch's device with sub-pixel centres."""
    joints = batch.joints / OUTPUT_STRIDE
    return encode(joints, batch.labelled, config.heatmap_size, config.sigma_px)


def joint_weights(batch: Batch, config: TrainConfig) -> Float[Tensor, "B K"]:
    """Weight of each joint's error; in the person view 0 for a joint that is not labelled, or whose
    Gaussian lies wholly outside the map: beyond three standard deviations, as in Xiao et al. 2018.
    """
    sent = _sent_once(config.loss.joint_weights, batch.joints.device)
    weights = sent.expand(len(batch.samples), -1)
    if config.data.view == "person":
        return weights * (batch.labelled[:, 0] & _reaches(batch.joints[:, 0], config))
    return weights


def _reaches(joints: Float[Tensor, "B K 2"], config: TrainConfig) -> Bool[Tensor, "B K"]:
    """Whether any of a joint's Gaussian lies in the map."""
    radius = 3 * config.sigma_px * OUTPUT_STRIDE
    x, y = joints.unbind(2)
    height, width = config.data.image_size
    return (x > -radius) & (x < width + radius) & (y > -radius) & (y < height + radius)


@cache  # a CUDA graph keeps the address, so the tensor must stay
def _sent_once(values: tuple[float, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # also used in training, if validation comes first
        return send(np.array(values, dtype=np.float32), device)
