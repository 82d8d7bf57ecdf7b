"""Loads a trained model from its checkpoint and predicts heatmaps.

Shapes: B images, K joints, H x W input pixels, h x w heatmap pixels.
"""

import argparse
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kptrain.config import TrainConfig
from kptrain.errors import CheckpointError
from kptrain.keypoints import FLIPPED
from kptrain.machine.device import num_threads, set_exactness, use
from kptrain.model.checkpoint import load_checkpoint
from kptrain.model.network import KeypointNet
from kptrain.resolve import change
from kptrain.training.batches import MEAN, STD


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which model predicts, where and how."""
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="a best_keypoint_model.pth"
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="D",
        help="auto (CUDA if there is a GPU; the default), cpu, cuda or cuda:N",
    )
    parser.add_argument("--flip", action="store_true", help="average with the flipped image")


def load_model(path: Path) -> tuple[KeypointNet, TrainConfig]:
    """The model of a `best_keypoint_model.pth` in evaluation mode, and its training's settings.

    Sets torch's number of threads for the whole process.

    Raises: CheckpointError; SettingsError if its settings are not valid in this version.
    """
    torch.set_num_threads(num_threads())
    content = load_checkpoint(path, {"weights": dict, "config": dict})
    config = change(TrainConfig(), content["config"], str(path))
    model = KeypointNet(config.model)
    try:
        model.load_state_dict({name: weight.float() for name, weight in content["weights"].items()})
    except (RuntimeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: must hold the weights of the model in its settings, but {error}; use a "
            f"checkpoint that this package wrote"
        ) from None
    return model.eval(), config


def placed(model: KeypointNet, config: TrainConfig, device: torch.device) -> KeypointNet:
    """The model on a device, as it is there in training. The device of a training is not asked for:
    a checkpoint may have come from another machine."""
    use(device)
    set_exactness(config, device)
    return model.to(device).to(memory_format=torch.channels_last)


def normalised(pixels: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
    """RGB from 0 to 255, normalised for the network."""
    mean, std = (torch.tensor(v, device=pixels.device).reshape(3, 1, 1) for v in (MEAN, STD))
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std


def heatmaps_of(
    model: torch.nn.Module,
    images: Float[Tensor, "B 3 H W"],
    *,
    flip: bool,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "B K h w"]:
    """The model's heatmaps, with activations of a dtype; with `flip`, their mean with those of the
    flipped images, flipped back. Source: Xiao et al. 2018, section 4.1."""
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        heatmaps: Tensor = model(images)
        if not flip:
            return heatmaps.float()
        flipped: Tensor = model(images.flip(3))
    flipped = flipped.float().flip(3)
    return (heatmaps.float() + flipped[:, list(FLIPPED)]) / 2
