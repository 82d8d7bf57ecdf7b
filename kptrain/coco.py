"""COCO person keypoints, read and counted: which images and persons are there to learn from.

Keypoints and boxes stay as COCO stores them, in the original image's pixels: a keypoint's x, y
is the index of a pixel, a box is x, y, width, height of edges.
"""

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kptrain.errors import DataError
from kptrain.keypoints import NUM_JOINTS

SplitName = Literal["train", "val"]

LAYOUTS: dict[str, dict[SplitName, tuple[str, str]]] = {
    "COCO's": {
        "train": ("annotations/person_keypoints_train2017.json", "train2017"),
        "val": ("annotations/person_keypoints_val2017.json", "val2017"),
    },
    "FiftyOne's": {
        "train": ("raw/person_keypoints_train2017.json", "train/data"),
        "val": ("raw/person_keypoints_val2017.json", "validation/data"),
    },
}
"""Where a layout keeps the annotations and the images of a split, below the root."""


@dataclass(frozen=True)
class Person:
    """A person with at least one labelled keypoint."""

    id: int
    keypoints: np.ndarray
    """(17, 3) float64: x, y, v; v is 0 not labelled, 1 labelled but hidden, 2 visible."""
    box_xywh: tuple[float, float, float, float]
    area: float


@dataclass(frozen=True)
class Ignored:
    """A crowd, or a person without labelled keypoints: nothing is learnt where it stands."""

    segmentation: Any
    """COCO's polygons or RLE; empty where there is none."""
    box_xywh: tuple[float, float, float, float]


@dataclass(frozen=True)
class CocoImage:
    """An image with at least one labelled person."""

    id: int
    path: Path
    size: tuple[int, int]
    """(height, width) in pixels, as annotated."""
    persons: tuple[Person, ...]
    ignored: tuple[Ignored, ...]


@dataclass(frozen=True)
class Split:
    """What was found in one split, and what was left out."""

    name: SplitName
    images: tuple[CocoImage, ...]
    """By image id."""
    left_out: dict[str, int]
    """How many images and annotations were left out, by reason."""
    sha256: str
    """Of the annotation file."""

    @property
    def num_persons(self) -> int:
        return sum(len(image.persons) for image in self.images)


def read_split(root: Path, name: SplitName) -> Split:
    """Read a split below `root`, in either layout.

    Raises: DataError if it is not there, is not COCO, or has no labelled person.
    """
    annotation_file, image_folder = _locate(root, name)
    content, sha256 = _read_json(annotation_file)
    present = {entry.name for entry in image_folder.iterdir()}
    reasons: Counter[str] = Counter()
    persons, ignored = _sort_annotations(content["annotations"], reasons)
    images = []
    for record in sorted(content["images"], key=lambda record: int(record["id"])):
        if record["id"] not in persons:
            reasons["images without a labelled keypoint"] += 1
        elif record["file_name"] not in present:
            reasons["images whose file is missing"] += 1
        else:
            images.append(_image(record, image_folder, persons, ignored))
    if not images:
        raise DataError(
            f"{annotation_file}: must hold a person with a labelled keypoint whose image lies in "
            f"{image_folder}, but of {len(content['images'])} images none has one "
            f"({_counts(reasons)}); check that annotations and images belong together"
        )
    return Split(name, tuple(images), dict(reasons), sha256)


def _locate(root: Path, name: SplitName) -> tuple[Path, Path]:
    for files in LAYOUTS.values():
        annotation_file, image_folder = (root / part for part in files[name])
        if annotation_file.is_file() and image_folder.is_dir():
            return annotation_file, image_folder
    looked = "; or ".join(" and ".join(files[name]) for files in LAYOUTS.values())
    raise DataError(
        f"{root}: must hold the {name} split of COCO's person keypoints, but neither layout is "
        f"there; looked for {looked}"
    )


def _read_json(path: Path) -> tuple[dict[str, Any], str]:
    try:
        text = path.read_bytes()
        content = json.loads(text)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: must be readable JSON, but {error}; fetch it again") from None
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{path}: must be COCO annotations, but has no list {key!r}")
    return content, hashlib.sha256(text).hexdigest()


def _sort_annotations(
    annotations: list[dict[str, Any]], reasons: Counter[str]
) -> tuple[dict[int, list[Person]], dict[int, list[Ignored]]]:
    persons: dict[int, list[Person]] = {}
    ignored: dict[int, list[Ignored]] = {}
    for annotation in sorted(annotations, key=lambda annotation: int(annotation["id"])):
        image_id = annotation["image_id"]
        found = _sort_annotation(annotation)
        if isinstance(found, Person):
            persons.setdefault(image_id, []).append(found)
        elif isinstance(found, Ignored):
            ignored.setdefault(image_id, []).append(found)
            crowd = "crowds" if annotation["iscrowd"] else "persons without a labelled keypoint"
            reasons[f"{crowd} (masked)"] += 1
        else:
            reasons[found] += 1
    return persons, ignored


def _sort_annotation(annotation: dict[str, Any]) -> Person | Ignored | str:
    """A person to learn, a region to ignore, or the reason why the annotation is left out."""
    box = tuple(float(number) for number in annotation["bbox"])
    if len(box) != 4 or not all(map(math.isfinite, box)):
        return "annotations with a malformed box"
    numbers = annotation.get("keypoints") or [0] * 3 * NUM_JOINTS
    if len(numbers) != 3 * NUM_JOINTS or not all(map(math.isfinite, numbers)):
        return "annotations with malformed keypoints"
    keypoints = np.array(numbers, dtype=np.float64).reshape(NUM_JOINTS, 3)
    if annotation.get("iscrowd") or not (keypoints[:, 2] > 0).any():
        return Ignored(annotation.get("segmentation") or [], box)
    if min(box[2:]) <= 0 or annotation["area"] <= 0:
        return "persons with an empty box"
    return Person(int(annotation["id"]), keypoints, box, float(annotation["area"]))


def _image(
    record: dict[str, Any],
    folder: Path,
    persons: dict[int, list[Person]],
    ignored: dict[int, list[Ignored]],
) -> CocoImage:
    return CocoImage(
        id=int(record["id"]),
        path=folder / record["file_name"],
        size=(int(record["height"]), int(record["width"])),
        persons=tuple(persons[record["id"]]),
        ignored=tuple(ignored.get(record["id"], ())),
    )


def _counts(reasons: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))


def describe(name: str, num_images: int, num_persons: int, left_out: dict[str, int]) -> str:
    """One line: what was found and what was left out, and why."""
    found = f"{name}: {num_images:,} images with {num_persons:,} labelled persons"
    return f"{found}; left out: {_counts(left_out)}" if left_out else found
