"""The command `python -m kptrain predict`: draws the keypoints of persons on any picture."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from kptrain.commands.drawing import draw_persons
from kptrain.commands.inference import add_model, heatmaps_of, load_model, normalised, placed
from kptrain.config import OUTPUT_STRIDE, TrainConfig
from kptrain.data.decode import read_picture
from kptrain.data.views import PEAK_MARGIN, PERSON_MARGIN, Box, Frame, box_frame
from kptrain.errors import DataError, SettingsError
from kptrain.keypoints import JOINTS
from kptrain.machine.device import enough_memory, find_dtype, named_device
from kptrain.machine.outputs import check_folder, writing
from kptrain.model.heatmaps import decoder_of

BATCH_PIXELS = 2**20
"""Input pixels of a batch: 16 crops of 256 x 256."""

Region = tuple[Frame, np.ndarray]
"""The input's frame, and (4,) x0, y0, x1, y1 in the input within which peaks are searched."""


SUMMARY = "draw the keypoints of persons on pictures"
DESCRIPTION = (
    "Find the 17 keypoints of persons in pictures, and draw them as NAME-keypoints.png beside each "
    "picture. Give a tight box around each person with --box. Without --box, one person is "
    "searched for in the whole picture."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="picture to draw on")
    parser.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="x,y,w,h",
        help="box around a person in pixels of the picture; may be given several times",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="output folder (default: the folder of each picture)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the keypoints, one JSON object per picture"
    )


def run(parsed: argparse.Namespace) -> None:
    """Run the command. Raises: CheckpointError, DataError, SettingsError."""
    boxes = [_box(text) for text in parsed.box]
    given = [path.absolute() for path in parsed.images]
    for path in parsed.images:
        if given.count(path.absolute()) > 1:
            raise SettingsError(f"{path}: must be named once, but is named twice; leave one out")
    drawings = [
        (parsed.out or path.parent) / f"{path.stem}-keypoints.png" for path in parsed.images
    ]
    for path, drawn in zip(parsed.images, drawings, strict=True):
        if drawings.count(drawn) > 1:
            raise SettingsError(f"{path}: must be drawn alone as {drawn}; draw them one by one")
        if drawn.absolute() in given:
            raise SettingsError(
                f"{path}: must not be drawn over {drawn}, another given picture; leave one of them "
                f"out, or name a folder with --out"
            )
    _check_files(parsed.images)
    for folder in dict.fromkeys(drawn.parent for drawn in drawings):
        check_folder(folder, "--out")
    device = named_device(parsed.device, "--device")
    model, config = load_model(parsed.checkpoint)
    with enough_memory(device):
        placed(model, config, device)
    for path, drawn in zip(parsed.images, drawings, strict=True):
        image, num_pictures = read_picture(path)
        if num_pictures > 1:
            note = f"note: {path}: holds {num_pictures} pictures, of which the first is read"
            print(note, file=sys.stderr)
        _check_boxes(boxes, path, image)
        with enough_memory(device):
            found = find_persons(model, config, image, boxes, flip=parsed.flip)
        with writing(drawn):
            drawn.parent.mkdir(parents=True, exist_ok=True)
            draw_persons(image, found).save(drawn)
        if parsed.json:
            print(json.dumps({"image": str(path), "persons": [_as_json(one) for one in found]}))
        else:
            print(f"{drawn}: {len(found)} persons, mean score {found[:, :, 2].mean():.2f}")


def _check_files(paths: list[Path]) -> None:
    """Check that the pictures exist, before the model is loaded."""
    for path in paths:
        if path.is_dir():
            raise DataError(f"{path}: must be a picture, but is a folder; name the files in it")
        if not path.exists():
            raise DataError(f"{path}: must be a picture, but there is no such file; name another")


def join_boxes(arguments: list[str]) -> list[str]:
    """The arguments with `--box -5,0,9,9` as `--box=-5,0,9,9`: argparse reads a value that begins
    with a minus as an option, unless it is one number."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--box" and re.match(r"-[\d.]", argument):
            joined[-1] = f"--box={argument}"
        else:
            joined.append(argument)
    return joined


def _box(text: str) -> Box:
    try:
        x, y, width, height = map(float, text.split(","))
    except ValueError:
        raise SettingsError(f"--box: must be x,y,w,h in pixels, but got {text!r}") from None
    if not np.isfinite([x, y, width, height]).all() or min(width, height) <= 0:
        raise SettingsError(
            f"--box: must be finite, with a width and a height above 0, but got {text!r}"
        )
    return x, y, width, height


def _check_boxes(boxes: list[Box], path: Path, image: Image.Image) -> None:
    """A box may reach beyond the picture, as in annotations, but by no more than its size."""
    for x, y, width, height in boxes:
        spans = ((x, x + width, image.width), (y, y + height, image.height))
        if not all(-side <= low < side and 0 < high <= 2 * side for low, high, side in spans):
            raise SettingsError(
                f"--box: must lie in {path} at least in part ({image.width} x {image.height} "
                f"pixels), and not reach further beyond it than its size, "
                f"but got {x:g},{y:g},{width:g},{height:g}; give x,y,w,h in its pixels"
            )


@torch.inference_mode()
def find_persons(
    model: torch.nn.Module, config: TrainConfig, image: Image.Image, boxes: list[Box], *, flip: bool
) -> np.ndarray:
    """(n, 17, 3) float64: x, y as indices of the picture's pixels, and keypoint score."""
    regions = _regions(config, image, boxes)
    height, width = config.data.image_size
    size = max(1, BATCH_PIXELS // (height * width))
    device = next(model.parameters()).device
    dtype = find_dtype(config, device)
    persons = []
    for part in (regions[start : start + size] for start in range(0, len(regions), size)):
        frames = list(dict.fromkeys(frame for frame, _ in part))  # one in the image view
        pixels = torch.from_numpy(np.stack([frame.cut(image) for frame in frames])).to(device)
        heatmaps = heatmaps_of(model, normalised(pixels), flip=flip, dtype=dtype)
        each = heatmaps[[frames.index(frame) for frame, _ in part]]
        places = torch.from_numpy(np.stack([place for _, place in part]).astype(np.float32))
        positions = decoder_of(config)(each, places.to(device) / OUTPUT_STRIDE)
        found = positions.cpu().numpy().astype(np.float64)
        for person, (frame, _) in zip(found, part, strict=True):
            person[:, :2] = (person[:, :2] * OUTPUT_STRIDE - frame.shift) / frame.scale - 0.5
        persons.append(found)
    return np.concatenate(persons)


def _regions(config: TrainConfig, image: Image.Image, boxes: list[Box]) -> list[Region]:
    """In the person view each box is one crop. Without boxes the picture is one crop, not enlarged
    as a box is, because it shows the person's surroundings already. In the image view the input is
    the whole picture, and each person is searched in its box.
    """
    size = config.data.image_size
    picture = (0.0, 0.0, float(image.width), float(image.height))
    if config.data.view == "person":
        if not boxes:
            frame = box_frame(picture, size, 1.0)
            return [(frame, frame.inside((image.height, image.width)))]
        everywhere = np.array([0.0, 0.0, size[1], size[0]])
        return [(box_frame(box, size, PERSON_MARGIN), everywhere) for box in boxes]
    whole = Frame(*picture, size)
    if not boxes:
        return [(whole, whole.inside((image.height, image.width)))]
    return [(whole, whole.box_in(box, PEAK_MARGIN)) for box in boxes]


def _as_json(person: np.ndarray) -> dict[str, Any]:
    return {
        name: {"x": round(float(x), 2), "y": round(float(y), 2), "score": round(float(score), 4)}
        for name, (x, y, score) in zip(JOINTS, person, strict=True)
    }
