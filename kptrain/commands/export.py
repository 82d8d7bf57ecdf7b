"""The command `python -m kptrain export`: writes a checkpoint as an ONNX file for onnxruntime.

The file's input is RGB from 0 to 255, (N, 3, H, W) float32; normalisation is part of the model. Its
output is (N, 17, H/4, W/4) heatmaps.
"""

import argparse
import contextlib
import io
import json
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kptrain.commands.inference import load_model
from kptrain.errors import CheckpointError, SettingsError
from kptrain.keypoints import JOINTS
from kptrain.machine.disk import replacing
from kptrain.machine.outputs import check_folder, writing
from kptrain.resolve import settings_of
from kptrain.training.batches import MEAN, STD

OPSET = 18
PARITY = 1e-4
"""The largest difference allowed between onnxruntime's and torch's heatmaps."""


class FromPixels(nn.Module):
    """A model with the normalisation before it."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", 255 * torch.tensor(MEAN).reshape(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(STD).reshape(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        heatmaps: Tensor = self.model((images - self.mean) / self.std)
        return heatmaps


SUMMARY = "write a checkpoint as an ONNX file"
DESCRIPTION = (
    "Write a checkpoint as ONNX (opset 18) and compare its output in onnxruntime with torch's. "
    "Input: RGB, 0 to 255, (N, 3, H, W) float32. Output: heatmaps, (N, 17, H/4, W/4)."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="a best_keypoint_model.pth"
    )
    parser.add_argument("out", type=Path, metavar="MODEL.onnx", help="file to write")


def run(parsed: argparse.Namespace) -> None:
    """Run the command. Raises: CheckpointError, SettingsError."""
    if parsed.out.is_dir():
        raise SettingsError(f"{parsed.out}: must be a file, but is a folder; name a file in it")
    check_folder(parsed.out.parent, str(parsed.out.parent))
    print(f"Writing {parsed.out}, then comparing it with torch", flush=True)
    with writing(parsed.out):
        difference = export_model(parsed.checkpoint, parsed.out)
    print(f"{parsed.out}: differs from torch by at most {difference:.1e}")


def export_model(checkpoint: Path, out: Path) -> float:
    """Write the file; returns the largest difference of its heatmaps from torch's.

    Raises: CheckpointError, also if they differ by more than PARITY: then no file is written;
    SettingsError if onnx is not installed.
    """
    try:
        import onnx  # noqa: PLC0415  (an optional dependency)
        import onnxruntime  # noqa: PLC0415  (only what is needed)
        import onnxscript  # noqa: F401, PLC0415  (torch's exporter needs it)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"export: must have onnx, onnxscript and onnxruntime, but {error.name} is not "
            f"installed; install them with pip install 'kptrain[onnx]'"
        ) from None
    model, config = load_model(checkpoint)
    wrapped = FromPixels(model).eval()
    height, width = config.data.image_size
    draw = np.random.default_rng(0)
    images = draw.uniform(0, 255, (2, 3, height, width)).astype(np.float32)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        _write(wrapped, torch.from_numpy(images), temporary)
        written = onnx.load(temporary)
        metadata = {"joints": ",".join(JOINTS), "settings": json.dumps(settings_of(config))}
        onnx.helper.set_model_props(written, metadata)
        onnx.save(written, temporary)
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        difference = 0.0
        for batch in (images, images[:1]):
            with torch.inference_mode():
                ours = wrapped(torch.from_numpy(batch)).numpy()
            theirs = session.run(None, {"images": batch})[0]
            difference = max(difference, float(np.abs(ours - theirs).max()))
        if not difference <= PARITY:
            raise CheckpointError(
                f"{out}: onnxruntime's heatmaps must equal torch's to {PARITY:g}, but differ by "
                f"{difference:.1e}; nothing was written"
            )
    return difference


def _write(model: nn.Module, images: Tensor, path: Path) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # torch's exporter warns of its own code
        torch.onnx.export(
            model,
            (images,),
            str(path),
            input_names=["images"],
            output_names=["heatmaps"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
