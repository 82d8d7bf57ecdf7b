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
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from kptrain.config import OUTPUT_STRIDE, TrainConfig
from kptrain.data.pack_format import Pack
from kptrain.machine.device import send, use
from kptrain.model.heatmaps import encode
from kptrain.training.augment import Augmentation

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
    slots = [Slot(pack, min(batch_size, len(order)), device) for _ in range(2)]
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    with ThreadPoolExecutor(1, "gather", initializer=use, initargs=(device,)) as thread:
        ahead = thread.submit(slots[0].gather, parts[0])
        for number in range(len(parts)):
            gathered = ahead.result()
            if number + 1 < len(parts):
                ahead = thread.submit(slots[(number + 1) % 2].gather, parts[number + 1])
            batch = slots[number % 2].to_device(gathered)
            if augmentation is not None:
                batch = _augmented(batch, augmentation)
            yield replace(batch, images=_normalise(batch.images, *statistics))


@dataclass(frozen=True)
class Gathered:
    """A batch in the host's memory."""

    samples: np.ndarray
    pixels: UInt8[Tensor, "B H W 3"]
    joints: np.ndarray
    labelled: np.ndarray
    learnt: np.ndarray


class Slot:
    """A reusable buffer for pixels; pinned if the device is a GPU.

    The gathering thread fills it, then the caller's thread sends it to the device.
    """

    def __init__(self, pack: Pack, batch_size: int, device: torch.device) -> None:
        self._pack = pack
        self._device = device
        is_cuda = device.type == "cuda"
        shape = (batch_size, *pack.images.shape[1:])
        self._buffer = torch.empty(shape, dtype=torch.uint8, pin_memory=is_cuda)
        # Blocking: otherwise the waiting thread would keep a core busy.
        self._sent = torch.cuda.Event(blocking=True) if is_cuda else None  # type: ignore[no-untyped-call]  # torch

    def gather(self, samples: np.ndarray) -> Gathered:
        if self._sent is not None:
            self._sent.synchronize()  # the buffer may still be in use by the copy before
        table = self._pack.table
        pixels = self._buffer[: len(samples)]
        # All rows exist; without `clip` numpy would use a temporary buffer.
        np.take(self._pack.images, table.row[samples], axis=0, out=pixels.numpy(), mode="clip")
        joints, labelled = _pad_persons(self._pack, samples)
        return Gathered(samples, pixels, joints, labelled, ~self._pack.ignore[samples])

    def to_device(self, gathered: Gathered) -> Batch:
        """In the result, `Batch.images` are from 0 to 255."""
        pixels = gathered.pixels.to(self._device, non_blocking=True)
        if self._sent is not None:
            self._sent.record(torch.cuda.current_stream(self._device))
        return Batch(
            samples=gathered.samples,
            images=pixels.permute(0, 3, 1, 2).float(),
            joints=send(gathered.joints, self._device),
            labelled=send(gathered.labelled, self._device),
            mask=send(gathered.learnt, self._device).float(),
        )


def _pad_persons(pack: Pack, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    table = pack.table
    counts = table.first[samples + 1] - table.first[samples]
    slots = np.arange(counts.max())
    present = slots < counts[:, None]
    persons = np.where(present, table.first[samples][:, None] + slots, 0)
    labelled = (table.keypoints[persons, :, 2] > 0) & present[:, :, None]
    return table.joints[persons], labelled


def _augmented(batch: Batch, augmentation: Augmentation) -> Batch:
    images, joints, labelled, mask = augmentation.apply(
        batch.samples, batch.images, batch.joints, batch.labelled, batch.mask
    )
    return Batch(batch.samples, images, joints, labelled, mask)


def _normalise(
    images: Float[Tensor, "B 3 H W"], mean: Float[Tensor, "3 1 1"], std: Float[Tensor, "3 1 1"]
) -> Float[Tensor, "B 3 H W"]:
    """In place: 0 to 255 becomes ImageNet's mean 0 and deviation 1."""
    return images.div_(255).sub_(mean).div_(std)


def targets(batch: Batch, config: TrainConfig) -> Float[Tensor, "B K h w"]:
    """The target heatmaps, drawn on the batch's device with sub-pixel centres."""
    joints = batch.joints / OUTPUT_STRIDE
    return encode(joints, batch.labelled, config.heatmap_size, config.heatmap.sigma_px)


def joint_weights(batch: Batch, config: TrainConfig) -> Float[Tensor, "B K"]:
    """Weight of each joint's error; in the person view 0 for an unlabelled joint."""
    sent = _sent_once(config.loss.joint_weights, batch.joints.device)
    weights = sent.expand(len(batch.samples), -1)
    if config.data.view == "person":
        return weights * batch.labelled[:, 0]
    return weights


@cache  # a CUDA graph keeps the address, so the tensor must stay
def _sent_once(values: tuple[float, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # also used in training, if validation comes first
        return send(np.array(values, dtype=np.float32), device)
