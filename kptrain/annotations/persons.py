"""Persons, crowds and other masked regions from the annotations of a file.

What an annotation lacks is derived from its other fields if possible, and counted. If an annotation
cannot be repaired but its place is known, it is masked.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kptrain.annotations import boxes, reasons
from kptrain.annotations.categories import Order
from kptrain.annotations.images import Records
from kptrain.annotations.joints import are_joints, in_one_list, read_joints
from kptrain.annotations.listed import Annotation, annotations_of_persons
from kptrain.annotations.skipped import Skipped
from kptrain.files.values import Id, number_of
from kptrain.keypoints import NUM_JOINTS

LEAST_AREA, MOST_AREA = 0.01, 4.0
"""Limits of a person's area relative to its box; outlines rarely cover less than 0.05 of the box.
An area outside these limits is probably in another unit, and OKS with it means nothing."""


@dataclass(frozen=True)
class Person:
    """A person with at least one labelled keypoint."""

    id: int
    """Unique in the split."""
    keypoints: np.ndarray
    """(17, 3) float64: x, y, v; v is 0 (not labelled), 1 (labelled, hidden) or 2 (visible)."""
    box_xywh: boxes.Box
    area: float
    place: int = 0
    """Index of its annotation in the file."""


@dataclass(frozen=True)
class Ignored:
    """A crowd, or a person without sound labelled keypoints: its region is masked in the loss, and
    a detection there does not count."""

    segmentation: Any
    """COCO's polygons or RLE; empty if there is none that can be drawn."""
    box_xywh: boxes.Box
    area: float
    """The annotation's; else the box's."""
    is_crowd: bool
    keypoints: np.ndarray
    """(17, 3) float64, as a person's; all 0 if there are none or they are unsound."""
    place: int = 0
    """Index of its annotation in the file."""


@dataclass
class People:
    """All annotations by image id, in the order of the file."""

    persons: dict[int, list[Person]] = field(default_factory=dict)
    ignored: dict[int, list[Ignored]] = field(default_factory=dict)

    def of(self, image_id: int) -> list[Person | Ignored]:
        """Persons and ignored regions of an image, in the order of the file."""
        both = [*self.persons.get(image_id, ()), *self.ignored.get(image_id, ())]
        return sorted(both, key=lambda one: one.place)


def read_people(
    annotations: list[Any],
    orders: Mapping[Id, Order],
    records: Records,
    file: Path,
    skipped: Skipped,
    only: Id | None = None,
) -> People:
    """Read the annotations of persons; `orders` and `only` as of `annotations_of_persons`.

    Raises: DataError where `skipped` is strict, at the first fault.
    """
    people = People()
    for annotation in annotations_of_persons(annotations, orders, records, file, skipped, only):
        box = _box(annotation, file, skipped)
        if box is None:
            continue
        image_id = annotation.image.id
        one = _person_or_ignored(annotation, box, file, skipped)
        if isinstance(one, Person):
            people.persons.setdefault(image_id, []).append(one)
        else:
            people.ignored.setdefault(image_id, []).append(one)
    return people


def _box(annotation: Annotation, file: Path, skipped: Skipped) -> boxes.Box | None:
    """The annotation's box, else one around its outline or joints; None if there is neither."""
    given = annotation.content.get("bbox")
    box = boxes.read_box(given, annotation.image.size)
    if box is None:
        box = _box_around(annotation, file, skipped)
    if box is None:
        skipped.add(reasons.MALFORMED_BOX if given else reasons.NO_BOX, annotation.which, file)
    return box


def _box_around(annotation: Annotation, file: Path, skipped: Skipped) -> boxes.Box | None:
    """The box of the outline, or of the labelled joints if they are not near it; else None."""
    keypoints, _ = _keypoints(annotation)
    box = boxes.box_of_outline(annotation.content.get("segmentation"), annotation.image.size)
    if box is not None and (not keypoints[:, 2].any() or boxes.fits_joints(box, keypoints)):
        skipped.repair(reasons.BOX_OF_OUTLINE, annotation.which, file)
        return box
    around = boxes.box_of_joints(keypoints)
    if around is not None:
        skipped.repair(reasons.BOX_OF_JOINTS, annotation.which, file)
    return around


def _person_or_ignored(
    annotation: Annotation, box: boxes.Box, file: Path, skipped: Skipped
) -> Person | Ignored:
    keypoints = _labelled(annotation, file, skipped)
    if keypoints is not None and not boxes.fits_joints(box, keypoints):
        around = _box_around(annotation, file, skipped)
        if around is None:
            skipped.add(reasons.EMPTY_BOX, annotation.which, file)
            keypoints = None
        box = around or box
    if keypoints is None:
        return _ignored(annotation, box, file, skipped)
    area = number_of(annotation.content.get("area"))
    if area is None or area <= 0:
        skipped.repair(reasons.NO_AREA, annotation.which, file)
        area = box[2] * box[3]
    if not LEAST_AREA * box[2] * box[3] < area < MOST_AREA * box[2] * box[3]:
        which = f"{annotation.which}, {area:g} in a box of {box[2]:g} x {box[3]:g}"
        skipped.doubt(reasons.ODD_AREA, which, file)
    return Person(annotation.id, keypoints, box, area, annotation.place)


def _labelled(annotation: Annotation, file: Path, skipped: Skipped) -> np.ndarray | None:
    """The keypoints of a labelled person; None if the annotation is masked instead."""
    values = in_one_list(annotation.content.get("keypoints"))
    if annotation.content.get("iscrowd") in (None, ""):
        skipped.repair(reasons.NO_CROWD, annotation.which, file, unsound=False)
    crowd = _is_crowd(annotation)
    if crowd is None:
        skipped.add(reasons.MALFORMED_CROWD, annotation.which, file)
    elif crowd:
        skipped.count(reasons.CROWD)
    elif values and not are_joints(values):
        reason, count = _no_joints(values)
        skipped.add(reason, annotation.which + count, file)
    else:
        return _checked(annotation, file, skipped)
    return None


def _no_joints(values: Any) -> tuple[str, str]:
    """The reason why these are not 17 keypoints, and how many they are, for a message."""
    if not isinstance(values, list) or any(isinstance(value, list | dict) for value in values):
        return reasons.MALFORMED_KEYPOINTS, ""
    if len(values) == 2 * NUM_JOINTS:
        return reasons.NO_FLAGS, ""
    count = f"{len(values) // 3}" if len(values) % 3 == 0 else f"{len(values)} numbers"
    return reasons.NOT_17, f", with {count}"


def _checked(annotation: Annotation, file: Path, skipped: Skipped) -> np.ndarray | None:
    """17 keypoints, their faults counted; None if none is labelled."""
    keypoints, faults = _keypoints(annotation)
    given = annotation.content.get("keypoints")
    if in_one_list(given) is not given:
        skipped.repair(reasons.NESTED, annotation.which, file, unsound=False)
    for reason, number in faults.items():
        if reason == reasons.CLIPPED:
            skipped.repair(reason, annotation.which, file, number)
        else:
            skipped.add(reason, annotation.which, file, number)
    num_labelled = int((keypoints[:, 2] > 0).sum())
    stated = number_of(annotation.content.get("num_keypoints"))
    if stated not in (None, num_labelled) and not faults:
        skipped.repair(reasons.OTHER_COUNT, annotation.which, file, unsound=False)
    if not num_labelled:
        skipped.count(reasons.UNLABELLED)
    return keypoints if num_labelled else None


def _keypoints(annotation: Annotation) -> tuple[np.ndarray, Counter[str]]:
    """(17, 3) float64, and their faults; all 0 if there are not 17."""
    values = in_one_list(annotation.content.get("keypoints"))
    if not are_joints(values):
        return np.zeros((NUM_JOINTS, 3)), Counter()
    return read_joints(values, annotation.image.size, annotation.order)


def _is_crowd(annotation: Annotation) -> bool | None:
    """None if `iscrowd` is malformed."""
    given = annotation.content.get("iscrowd")
    if given in (None, ""):
        return False
    words = {"true": 1.0, "false": 0.0}
    number = words.get(given.strip().casefold()) if isinstance(given, str) else None
    number = number_of(given) if number is None else number
    return bool(number) if number in (0, 1) else None


def _ignored(annotation: Annotation, box: boxes.Box, file: Path, skipped: Skipped) -> Ignored:
    outline = annotation.content.get("segmentation") or []
    if not boxes.is_outline(outline, annotation.image.size):
        skipped.add(reasons.MALFORMED_OUTLINE, annotation.which, file)
        outline = []
    area = number_of(annotation.content.get("area"))
    if area is None or area < 0:  # 0 is valid in COCO's evaluation
        skipped.repair(reasons.NO_MASKED_AREA, annotation.which, file)
        area = box[2] * box[3]
    return Ignored(
        segmentation=outline,
        box_xywh=box,
        area=area,
        is_crowd=bool(_is_crowd(annotation)),
        keypoints=_keypoints(annotation)[0],
        place=annotation.place,
    )
