"""The network: a torchvision backbone, three transposed convolutions, one heatmap per joint.

Shapes: B samples, H x W input pixels; the output has H/4 x W/4.

Source: Xiao et al., Simple baselines for human pose estimation (ECCV 2018), section 2.
"""

import http.client
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from jaxtyping import Float
from torch import Tensor, nn
from torchvision import models

from kptrain.config import ModelSettings
from kptrain.errors import WeightsError
from kptrain.keypoints import NUM_JOINTS
from kptrain.model.checkpoint import load_weights

COUNT = ".num_batches_tracked"
"""torchvision's older files lack these counts, and this network does not read them."""
CLASSIFIER = ("trunk.fc.", "trunk.conv5.")
"""Shufflenet's conv5 is between the last stage and the classifier."""
RESNET_STAGES = (
    ("conv1", "bn1", "relu", "maxpool"),
    *(("layer1",), ("layer2",), ("layer3",), ("layer4",)),
)
SHUFFLENET_STAGES = (("conv1", "maxpool"), ("stage2",), ("stage3",), ("stage4",))


class KeypointNet(nn.Module):
    """(B, 3, H, W) normalised images to (B, 17, H/4, W/4) heatmaps."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        whole = models.get_model(settings.trunk, weights=None)
        small = settings.trunk.startswith("shufflenet")
        stages = SHUFFLENET_STAGES if small else RESNET_STAGES
        self.trunk = nn.Sequential()
        for part in (part for stage in stages for part in stage):
            self.trunk.add_module(part, getattr(whole, part))
        channels = whole.conv5[0].in_channels if small else whole.fc.in_features
        self.deconv = nn.Sequential()
        for out in settings.deconv_channels:
            self.deconv.append(
                nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1, bias=False)
            )
            self.deconv.append(nn.BatchNorm2d(out))
            self.deconv.append(nn.ReLU(inplace=True))
            channels = out
        self.head = nn.Conv2d(channels, NUM_JOINTS, 1)
        for module in (*self.deconv, self.head):
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.001)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]  # the head has a bias
        self._frozen = [part for stage in stages[: settings.freeze] for part in stage]
        for part in self._frozen:
            self.trunk.get_submodule(part).requires_grad_(False)

    def train(self, mode: bool = True) -> "KeypointNet":
        """As of any module; frozen stages stay as in evaluation, with their statistics."""
        super().train(mode)
        for part in self._frozen:
            self.trunk.get_submodule(part).eval()
        return self

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 17 h w"]:
        maps: Tensor = self.head(self.deconv(self.trunk(images)))
        return maps


def build_model(settings: ModelSettings, seed: int) -> KeypointNet:
    """A network whose initial weights depend only on the settings and the seed.

    Raises: WeightsError if the weights cannot be read or do not fit.
    """
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs' too
        model = KeypointNet(settings)
    path = weights_file(settings)
    if path is not None:
        _load_into(model, load_weights(path), settings, path)
    return model


def weights_file(settings: ModelSettings) -> Path | None:
    """The file of the initial weights; torchvision's is downloaded once. None: random weights.

    Raises: WeightsError if it does not exist and cannot be downloaded.
    """
    if settings.weights == "none":
        return None
    if settings.weights != "imagenet":
        path = Path(settings.weights).expanduser()
        if not path.is_file():
            raise WeightsError(
                f"model.weights: must be imagenet, none or a file, but {path} is none; correct it"
            )
        return path
    return _imagenet_file(settings.trunk)


def _imagenet_file(backbone: str) -> Path:
    url = models.get_model_weights(backbone).IMAGENET1K_V1.url
    path: Path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    digest = path.stem.rpartition("-")[2]  # otherwise an incomplete download would be kept
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.is_file():
                torch.hub.download_url_to_file(url, str(path), digest, progress=False)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise WeightsError(
            f"model.weights: imagenet needs {path.name}, which is not at {path} and cannot be "
            f"downloaded ({error}); put torchvision's file there, or set model.weights to its "
            f"path, or to none for random weights"
        ) from None
    return path


def _load_into(
    model: KeypointNet, weights: dict[str, Any], settings: ModelSettings, path: Path
) -> None:
    """Load a checkpoint of this model, or torchvision's classifier without its last layer."""
    ours = model.state_dict()
    theirs = weights
    if not any(key.startswith("trunk.") for key in weights):
        theirs = {f"trunk.{key}": value for key, value in weights.items()}
        ours = {key: value for key, value in ours.items() if key.startswith("trunk.")}
        theirs = {key: theirs[key] for key in theirs if not key.startswith(CLASSIFIER)}
    missing = [key for key in ours if key not in theirs and not key.endswith(COUNT)]
    extra = [key for key in theirs if key not in ours]
    shapes = [key for key in ours if key in theirs and ours[key].shape != theirs[key].shape]
    if missing or extra or shapes:
        raise WeightsError(
            f"{path}: must fit model.trunk {settings.trunk} with model.deconv_channels "
            f"{list(settings.deconv_channels)}, but {_listed('missing', missing)}"
            f"{_listed('unknown', extra)}{_listed('of another shape', shapes)}"
            f"use the settings that it was trained with"
        )
    model.load_state_dict(theirs, strict=False)


def _listed(kind: str, keys: list[str]) -> str:
    if not keys:
        return ""
    shown = ", ".join(keys[:4]) + (", …" if len(keys) > 4 else "")
    return f"{len(keys)} {kind} ({shown}); "
