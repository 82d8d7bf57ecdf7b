"""COCO person keypoints, read and counted: which images and persons are there to learn from.

Keypoints and boxes stay as COCO stores them, in the original image's pixels: a keypoint's x, y
is the index of a pixel, a box is x, y, width, height of edges.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kptrain.annotations import (
    NO_KEYPOINTS,
    PERSON,
    annotation_fault,
    are_keypoints,
    are_numbers,
    box_fault,
    image_fault,
    is_id,
    is_labelled,
    is_outline,
    person_fault,
)
from kptrain.errors import DataError
from kptrain.keypoints import NUM_JOINTS
from kptrain.layout import SplitName, locate
from kptrain.left_out import LeftOut


@dataclass(frozen=True)
class Person:
    """A person with at least one labelled keypoint."""

    id: int
    keypoints: np.ndarray
    """(17, 3) float64: x, y, v; v is 0 not labelled, 1 labelled but hidden, 2 visible."""
    box_xywh: tuple[float, float, float, float]
    area: float
    place: int
    """Of its annotation in the file."""


@dataclass(frozen=True)
class Ignored:
    """A crowd, or a person without labelled keypoints or with unsound ones: nothing is learnt
    where it stands, and a detection there is not counted."""

    segmentation: Any
    """COCO's polygons or RLE; empty where there is none that can be drawn."""
    box_xywh: tuple[float, float, float, float]
    area: float
    """The annotation's; the box's where it has none."""
    is_crowd: bool
    keypoints: np.ndarray
    """(17, 3) float64, as a person's; all 0 where there are none or they are unsound."""
    place: int
    """Of its annotation in the file."""


@dataclass(frozen=True)
class CocoImage:
    """An image with at least one labelled person."""

    id: int
    path: Path
    size: tuple[int, int]
    """(height, width) in pixels, as annotated."""
    persons: tuple[Person, ...]
    """In the order of the file, by which COCO's evaluation breaks ties."""
    ignored: tuple[Ignored, ...]
    """Likewise."""


@dataclass(frozen=True)
class Split:
    """What was found in one split, and what was left out."""

    name: SplitName
    images: tuple[CocoImage, ...]
    """By image id."""
    left_out: LeftOut

    @property
    def num_persons(self) -> int:
        return sum(len(image.persons) for image in self.images)


def read_split(root: Path, name: SplitName, strict: bool = False) -> Split:
    """Read a split below `root`, in either layout.

    Raises: DataError if it is not there, is not COCO, or has no labelled person; where `strict`,
    at the first record that is unsound.
    """
    annotation_file, image_folder = locate(root, name)
    content = _read_json(annotation_file)
    with os.scandir(image_folder) as entries:
        present = {entry.name for entry in entries if entry.is_file()}
    left_out = LeftOut(strict)
    records = _sound_records(content["images"], annotation_file, left_out)
    annotations = _sound_annotations(content["annotations"], annotation_file, left_out)
    persons, ignored = _sort_annotations(annotations, records, annotation_file, left_out)
    images = []
    for image_id, record in sorted(records.items()):
        if image_id not in persons:
            left_out.count("images without a labelled keypoint")
        elif record["file_name"] not in present:
            left_out.add("images whose file is missing", record["file_name"], image_folder)
        else:
            images.append(_image(record, image_folder, persons, ignored))
    if not images:
        raise DataError(
            f"{annotation_file}: must hold a person with a labelled keypoint whose image lies in "
            f"{image_folder}, but of {len(content['images'])} images none has one "
            f"({left_out}); check that annotations and images belong together"
        )
    return Split(name, tuple(images), left_out)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: must be readable JSON, but {error}; fetch it again") from None
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{path}: must be COCO annotations, but has no list {key!r}")
    sound: dict[str, Any] = content
    return sound


def _sound_records(records: list[Any], file: Path, left_out: LeftOut) -> dict[int, dict[str, Any]]:
    """The images by their id, as listed."""
    sound: dict[int, dict[str, Any]] = {}
    for index, record in enumerate(records):
        if reason := image_fault(record):
            left_out.add(reason, f"images[{index}]", file)
        elif record["id"] in sound:
            left_out.add("images listed twice", f"image {record['id']}", file)
        else:
            sound[record["id"]] = record
    return sound


def _sound_annotations(
    annotations: list[Any], file: Path, left_out: LeftOut
) -> dict[int, dict[str, Any]]:
    """The annotations of persons by their id, as listed."""
    sound: dict[int, dict[str, Any]] = {}
    for index, annotation in enumerate(annotations):
        if reason := annotation_fault(annotation):
            left_out.add(reason, f"annotations[{index}]", file)
        elif annotation.get("category_id") != PERSON:
            left_out.count("annotations that are not of a person")
        elif annotation["id"] in sound:
            left_out.add("annotations listed twice", f"annotation {annotation['id']}", file)
        else:
            sound[annotation["id"]] = annotation
    return sound


def _sort_annotations(
    annotations: dict[int, dict[str, Any]],
    records: dict[int, dict[str, Any]],
    file: Path,
    left_out: LeftOut,
) -> tuple[dict[int, list[Person]], dict[int, list[Ignored]]]:
    persons: dict[int, list[Person]] = {}
    ignored: dict[int, list[Ignored]] = {}
    for place, (number, annotation) in enumerate(annotations.items()):
        which = f"annotation {number}"
        image_id = annotation.get("image_id")
        record = records.get(image_id) if is_id(image_id) else None
        if record is None:
            left_out.add("annotations of an image that is not listed", which, file)
            continue
        size = _size(record)
        if reason := box_fault(annotation, size):
            left_out.add(reason, which, file)
            continue
        reason = person_fault(annotation, size)
        if annotation.get("iscrowd"):
            left_out.count("crowds (masked)")
        elif reason:
            left_out.add(f"{reason} (masked)", which, file)
        elif not is_labelled(annotation.get("keypoints") or NO_KEYPOINTS):
            left_out.count("persons without a labelled keypoint (masked)")
        else:
            persons.setdefault(record["id"], []).append(_person(annotation, place))
            continue
        outline = annotation.get("segmentation") or []
        if not is_outline(outline, size):
            left_out.add("malformed outlines (box masked)", which, file)
            outline = []
        ignored.setdefault(record["id"], []).append(_ignored(annotation, outline, place))
    return persons, ignored


def _person(annotation: dict[str, Any], place: int) -> Person:
    keypoints = _keypoints(annotation["keypoints"])
    return Person(annotation["id"], keypoints, _box(annotation), float(annotation["area"]), place)


def _ignored(annotation: dict[str, Any], outline: Any, place: int) -> Ignored:
    box: tuple[float, float, float, float] = _box(annotation)
    area: Any = annotation.get("area")
    keypoints: Any = annotation.get("keypoints")
    return Ignored(
        segmentation=outline,
        box_xywh=box,
        area=float(area) if are_numbers([area], 1) else box[2] * box[3],
        is_crowd=bool(annotation.get("iscrowd")),
        keypoints=_keypoints(keypoints if are_keypoints(keypoints) else NO_KEYPOINTS),
        place=place,
    )


def _keypoints(values: Any) -> np.ndarray:
    return np.array(values, dtype=np.float64).reshape(NUM_JOINTS, 3)


def _box(annotation: dict[str, Any]) -> tuple[float, float, float, float]:
    x, y, width, height = map(float, annotation["bbox"])
    return x, y, width, height


def _size(record: dict[str, Any]) -> tuple[int, int]:
    return int(record["height"]), int(record["width"])


def _image(
    record: dict[str, Any],
    folder: Path,
    persons: dict[int, list[Person]],
    ignored: dict[int, list[Ignored]],
) -> CocoImage:
    return CocoImage(
        id=record["id"],
        path=folder / record["file_name"],
        size=_size(record),
        persons=tuple(persons[record["id"]]),
        ignored=tuple(ignored.get(record["id"], ())),
    )


def describe(name: str, num_images: int, num_persons: int, left_out: LeftOut) -> str:
    """One line: what was found and what was left out, and why."""
    found = f"{name}: {num_images:,} images with {num_persons:,} labelled persons"
    return f"{found}; left out: {left_out}" if +left_out.counts else found
