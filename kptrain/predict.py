"""The command `python -m kptrain predict`: keypoints drawn on any picture."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from kptrain.coco import Person
from kptrain.config import OUTPUT_STRIDE, TrainConfig
from kptrain.draw import draw_persons
from kptrain.errors import DataError, SettingsError
from kptrain.heatmaps import decode
from kptrain.inference import heatmaps_of, load_model, normalised
from kptrain.keypoints import JOINTS, NUM_JOINTS
from kptrain.model import KeypointNet
from kptrain.views import PEAK_MARGIN, Frame, person_frame

Box = tuple[float, float, float, float]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kptrain predict",
        description="Find the 17 keypoints of persons in pictures, and draw them beside each "
        "picture as NAME-keypoints.png. Each person is looked for in a box; without boxes, one "
        "person in the whole picture.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    parser.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="x,y,w,h",
        help="where a person is, in pixels of the picture; may be given several times",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: beside)")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored picture")
    parser.add_argument("--json", action="store_true", help="print the keypoints, a line a picture")
    return parser


def predict(arguments: list[str]) -> None:
    """Run the command. Raises: CheckpointError, DataError, SettingsError."""
    parsed = build_parser().parse_args(arguments)
    boxes = [_box(text) for text in parsed.box]
    drawings = [_drawing(path, parsed.out) for path in parsed.images]
    for path, drawn in zip(parsed.images, drawings, strict=True):
        if drawings.count(drawn) > 1:
            raise SettingsError(f"{path}: must be drawn alone as {drawn}; draw them one by one")
    model, config = load_model(parsed.checkpoint)
    for path, drawn in zip(parsed.images, drawings, strict=True):
        image = _read(path)
        found = find_persons(model, config, image, boxes, flip=parsed.flip)
        drawn.parent.mkdir(parents=True, exist_ok=True)
        draw_persons(np.asarray(image), found).save(drawn)
        if parsed.json:
            print(json.dumps({"image": str(path), "persons": [_told(one) for one in found]}))
        else:
            print(f"{drawn}: {len(found)} persons, mean score {found[:, :, 2].mean():.2f}")


def _drawing(path: Path, out: Path | None) -> Path:
    return (out or path.parent) / f"{path.stem}-keypoints.png"


def _box(text: str) -> Box:
    try:
        x, y, width, height = map(float, text.split(","))
    except ValueError:
        raise SettingsError(f"--box: must be x,y,w,h in pixels, but got {text!r}") from None
    if not np.isfinite([x, y, width, height]).all() or min(width, height) <= 0:
        raise SettingsError(f"--box: must have a width and a height above 0, but got {text!r}")
    return x, y, width, height


def _read(path: Path) -> Image.Image:
    """An upright picture: without annotations, its own orientation is the only one known."""
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: must be a picture, but {error}; name another") from None


@torch.inference_mode()
def find_persons(
    model: KeypointNet, config: TrainConfig, image: Image.Image, boxes: list[Box], *, flip: bool
) -> np.ndarray:
    """(n, 17, 3) float64: x, y as indices of the picture's pixels, and peak height.

    In the person view each box is a crop of its own; in the image view the whole picture is seen
    once, and each person is looked for in its box.
    """
    size = config.data.image_size
    whole = Frame(0.0, 0.0, float(image.width), float(image.height), size)
    if not boxes:
        frames, places = [whole], [_everywhere(size)]
    elif config.data.view == "person":
        frames = [person_frame(_somebody(box), size) for box in boxes]
        places = [_everywhere(size)] * len(boxes)
    else:
        frames = [whole] * len(boxes)
        places = [whole.box_in(box, PEAK_MARGIN) for box in boxes]
    pixels = torch.from_numpy(np.stack([frame.cut(image) for frame in frames]))
    heatmaps = heatmaps_of(model, normalised(pixels), flip=flip)
    inside = torch.from_numpy(np.stack(places).astype(np.float32)) / OUTPUT_STRIDE
    found: np.ndarray = decode(heatmaps, inside).numpy().astype(np.float64)
    for person, frame in zip(found, frames, strict=True):
        person[:, :2] = (person[:, :2] * OUTPUT_STRIDE - frame.shift) / frame.scale - 0.5
    return found


def _everywhere(size: tuple[int, int]) -> np.ndarray:
    return np.array([0.0, 0.0, size[1], size[0]])


def _somebody(box: Box) -> Person:
    return Person(0, np.zeros((NUM_JOINTS, 3)), box, box[2] * box[3], 0)


def _told(person: np.ndarray) -> dict[str, Any]:
    return {
        name: {"x": round(float(x), 2), "y": round(float(y), 2), "score": round(float(score), 4)}
        for name, (x, y, score) in zip(JOINTS, person, strict=True)
    }
