"""COCO person keypoints, read and counted: which images and persons are there to learn from.

Keypoints and boxes stay as COCO stores them, in the original image's pixels: a keypoint's x, y
is the index of a pixel, a box is x, y, width, height of edges.
"""

import json
import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kptrain.errors import DataError
from kptrain.keypoints import NUM_JOINTS
from kptrain.layout import SplitName, locate

PERSON = 1
"""The category id of a person."""

NO_KEYPOINTS = (0,) * 3 * NUM_JOINTS


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
    """COCO's polygons or RLE; empty where there is none that is well formed."""
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

    @property
    def num_persons(self) -> int:
        return sum(len(image.persons) for image in self.images)


def read_split(root: Path, name: SplitName) -> Split:
    """Read a split below `root`, in either layout.

    Raises: DataError if it is not there, is not COCO, or has no labelled person.
    """
    annotation_file, image_folder = locate(root, name)
    content = _read_json(annotation_file)
    with os.scandir(image_folder) as entries:
        present = {entry.name for entry in entries if entry.is_file()}
    reasons: Counter[str] = Counter()
    records = _sound_records(content["images"], reasons)
    persons, ignored = _sort_annotations(content["annotations"], records, reasons)
    images = []
    for image_id, record in sorted(records.items()):
        if image_id not in persons:
            reasons["images without a labelled keypoint"] += 1
        elif record["file_name"] not in present:
            reasons["images whose file is missing"] += 1
        else:
            images.append(_image(record, image_folder, persons, ignored))
    if not images:
        raise DataError(
            f"{annotation_file}: must hold a person with a labelled keypoint whose image lies in "
            f"{image_folder}, but of {len(content['images'])} images none has one "
            f"({counts(reasons)}); check that annotations and images belong together"
        )
    return Split(name, tuple(images), dict(reasons))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: must be readable JSON, but {error}; fetch it again") from None
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{path}: must be COCO annotations, but has no list {key!r}")
    sound: dict[str, Any] = content
    return sound


def _sound_records(records: list[Any], reasons: Counter[str]) -> dict[int, dict[str, Any]]:
    """The images by their id, as listed."""
    sound: dict[int, dict[str, Any]] = {}
    for record in records:
        if not _is_sound_record(record):
            reasons["images without an id, a file name or a size"] += 1
        elif record["id"] in sound:
            reasons["images listed twice"] += 1
        else:
            sound[record["id"]] = record
    return sound


def _is_sound_record(record: Any) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
        return False
    size: list[Any] = [record.get("height"), record.get("width")]
    return isinstance(record.get("id"), int) and _are_numbers(size, 2) and min(size) >= 1


def _are_numbers(values: Any, count: int) -> bool:
    try:
        return len(values) == count and all(map(math.isfinite, values))
    except (TypeError, OverflowError):  # of no length, of no numbers, of endless integers
        return False


def _sort_annotations(
    annotations: list[Any], records: dict[int, dict[str, Any]], reasons: Counter[str]
) -> tuple[dict[int, list[Person]], dict[int, list[Ignored]]]:
    persons: dict[int, list[Person]] = {}
    ignored: dict[int, list[Ignored]] = {}
    for annotation in annotations:
        found = _fault(annotation, records) or _sort_annotation(annotation)
        if isinstance(found, Person):
            persons.setdefault(annotation["image_id"], []).append(found)
        elif isinstance(found, Ignored):
            ignored.setdefault(annotation["image_id"], []).append(found)
            crowd = annotation.get("iscrowd")
            whom = "crowds" if crowd else "persons without a labelled keypoint"
            reasons[f"{whom} (masked)"] += 1
            if annotation.get("segmentation") and not found.segmentation:
                reasons["malformed outlines (box masked)"] += 1
        else:
            reasons[found] += 1
    return persons, ignored


def _fault(annotation: Any, records: dict[int, dict[str, Any]]) -> str | None:
    """Why an annotation cannot be read, if so."""
    if not isinstance(annotation, dict) or not isinstance(annotation.get("id"), int):
        return "annotations without an id"
    if annotation.get("category_id") != PERSON:
        return "annotations that are not of a person"
    image_id = annotation.get("image_id")
    if not isinstance(image_id, int) or image_id not in records:
        return "annotations of an image that is not listed"
    if not _is_box(annotation.get("bbox"), records[image_id]):
        return "annotations with a malformed box"
    if not _are_numbers(annotation.get("keypoints") or NO_KEYPOINTS, 3 * NUM_JOINTS):
        return "annotations with malformed keypoints"
    return None


def _is_box(box: Any, record: dict[str, Any]) -> bool:
    """Whether it is x, y, width, height, and not far outside of its image: a crop must fit into
    memory."""
    if not _are_numbers(box, 4):
        return False
    (x, y, width, height), (w, h) = box, (record["width"], record["height"])
    return bool(-w <= x <= x + width <= 2 * w and -h <= y <= y + height <= 2 * h)


def _sort_annotation(annotation: dict[str, Any]) -> Person | Ignored | str:
    """A person to learn, a region to ignore, or the reason why the person is left out."""
    x, y, width, height = map(float, annotation["bbox"])
    box: tuple[float, float, float, float] = (x, y, width, height)
    area: Any = annotation.get("area")
    numbers = annotation.get("keypoints") or NO_KEYPOINTS
    keypoints = np.array(numbers, dtype=np.float64).reshape(NUM_JOINTS, 3)
    if annotation.get("iscrowd") or not (keypoints[:, 2] > 0).any():
        outline = annotation.get("segmentation")
        return Ignored(outline if _is_outline(outline) else [], box)
    if min(width, height) <= 0:
        return "persons with an empty box"
    if not _are_numbers([area], 1) or area <= 0:
        return "persons without an area"
    return Person(int(annotation["id"]), keypoints, box, float(area))


def _is_outline(outline: Any) -> bool:
    """Whether it is polygons of at least three points each, or an RLE."""
    if isinstance(outline, dict):
        runs = outline.get("counts")
        sound = isinstance(runs, str) or (isinstance(runs, list) and all(map(_is_run, runs)))
        return sound and _are_numbers(outline.get("size"), 2)
    return isinstance(outline, list) and all(map(_is_polygon, outline))


def _is_run(count: Any) -> bool:
    return isinstance(count, int) and count >= 0


def _is_polygon(polygon: Any) -> bool:
    return isinstance(polygon, list) and len(polygon) >= 6 and _are_numbers(polygon, len(polygon))


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
        persons=tuple(sorted(persons[record["id"]], key=lambda person: person.id)),
        ignored=tuple(ignored.get(record["id"], ())),
    )


def counts(reasons: dict[str, int]) -> str:
    """What was left out, in words."""
    found = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
    return found or "nothing was left out"


def describe(name: str, num_images: int, num_persons: int, left_out: dict[str, int]) -> str:
    """One line: what was found and what was left out, and why."""
    found = f"{name}: {num_images:,} images with {num_persons:,} labelled persons"
    return f"{found}; left out: {counts(left_out)}" if left_out else found
