"""Persons, and what is ignored beside them, from the annotations of a file.

What an annotation lacks is taken from elsewhere where it can be, and counted. Of what cannot be
repaired the place at least is masked, where it is known.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kptrain.annotations.boxes import (
    Box,
    box_of_joints,
    box_of_outline,
    is_of_joints,
    is_outline,
    read_box,
)
from kptrain.annotations.categories import Order
from kptrain.annotations.images import Records
from kptrain.annotations.joints import are_joints, in_one_list, read_joints
from kptrain.annotations.listed import Annotation, annotations_of_persons
from kptrain.annotations.reasons import (
    BOX_OF_JOINTS,
    BOX_OF_OUTLINE,
    CLIPPED,
    CROWD,
    EMPTY_BOX,
    MALFORMED_BOX,
    MALFORMED_CROWD,
    MALFORMED_KEYPOINTS,
    MALFORMED_OUTLINE,
    NESTED,
    NO_AREA,
    NO_BOX,
    NO_CROWD,
    NO_FLAGS,
    NO_MASKED_AREA,
    NOT_17,
    ODD_AREA,
    OTHER_COUNT,
    UNLABELLED,
)
from kptrain.annotations.skipped import LeftOut
from kptrain.files.values import Id, number_of
from kptrain.keypoints import NUM_JOINTS

LEAST_AREA, MOST_AREA = 0.01, 4.0
"""Of a person, in areas of its box: it is of the outline within, which is rarely below 0.05. Beyond
these it is of another unit, and similarity to it means nothing."""


@dataclass(frozen=True)
class Person:
    """A person with at least one labelled keypoint."""

    id: int
    """No other person of the split has it."""
    keypoints: np.ndarray
    """(17, 3) float64: x, y, v; v is 0 not labelled, 1 labelled but hidden, 2 visible."""
    box_xywh: Box
    area: float
    place: int = 0
    """Of its annotation in the file."""


@dataclass(frozen=True)
class Ignored:
    """A crowd, or a person without labelled keypoints or with unsound ones: nothing is learnt
    where it stands, and a detection there is not counted."""

    segmentation: Any
    """COCO's polygons or RLE; empty where there is none that can be drawn."""
    box_xywh: Box
    area: float
    """The annotation's; the box's where it has none."""
    is_crowd: bool
    keypoints: np.ndarray
    """(17, 3) float64, as a person's; all 0 where there are none or they are unsound."""
    place: int = 0
    """Of its annotation in the file."""


@dataclass
class People:
    """All of a file, by the id of their image, in the order of the file."""

    persons: dict[int, list[Person]] = field(default_factory=dict)
    ignored: dict[int, list[Ignored]] = field(default_factory=dict)

    def of(self, image_id: int) -> list[Person | Ignored]:
        """All of an image, in the order of the file."""
        both = [*self.persons.get(image_id, ()), *self.ignored.get(image_id, ())]
        return sorted(both, key=lambda one: one.place)


def read_people(
    annotations: list[Any],
    orders: Mapping[Id, Order],
    records: Records,
    file: Path,
    left_out: LeftOut,
    only: Id | None = None,
) -> People:
    """Read annotations; `orders`: the categories of persons, with the order of their joints;
    `only`: the one category of the file.

    Raises: DataError where `left_out` is strict, at the first fault.
    """
    people = People()
    for annotation in annotations_of_persons(annotations, orders, records, file, left_out, only):
        box = _box(annotation, file, left_out)
        if box is None:
            continue
        image_id = annotation.image.id
        found = _person_or_ignored(annotation, box, file, left_out)
        if isinstance(found, Person):
            people.persons.setdefault(image_id, []).append(found)
        else:
            people.ignored.setdefault(image_id, []).append(found)
    return people


def _box(annotation: Annotation, file: Path, left_out: LeftOut) -> Box | None:
    """Its box, or one around it; None if nothing is known of where it stands."""
    given = annotation.content.get("bbox")
    box = read_box(given, annotation.image.size)
    if box is None:
        box = _box_around(annotation, file, left_out)
    if box is None:
        left_out.add(MALFORMED_BOX if given else NO_BOX, annotation.which, file)
    return box


def _box_around(annotation: Annotation, file: Path, left_out: LeftOut) -> Box | None:
    """The box of its outline, or that of its labelled joints, where the outline is not near them.

    None if neither is there.
    """
    keypoints, _ = _keypoints(annotation)
    box = box_of_outline(annotation.content.get("segmentation"), annotation.image.size)
    if box is not None and (not keypoints[:, 2].any() or is_of_joints(box, keypoints)):
        left_out.repair(BOX_OF_OUTLINE, annotation.which, file)
        return box
    around = box_of_joints(keypoints)
    if around is not None:
        left_out.repair(BOX_OF_JOINTS, annotation.which, file)
    return around


def _person_or_ignored(
    annotation: Annotation, box: Box, file: Path, left_out: LeftOut
) -> Person | Ignored:
    keypoints = _labelled(annotation, file, left_out)
    if keypoints is not None and not is_of_joints(box, keypoints):
        around = _box_around(annotation, file, left_out)
        if around is None:
            left_out.add(EMPTY_BOX, annotation.which, file)
            keypoints = None
        box = around or box
    if keypoints is None:
        return _ignored(annotation, box, file, left_out)
    area = number_of(annotation.content.get("area"))
    if area is None or area <= 0:
        left_out.repair(NO_AREA, annotation.which, file)
        area = box[2] * box[3]
    if not LEAST_AREA * box[2] * box[3] < area < MOST_AREA * box[2] * box[3]:
        said = f"{annotation.which}, {area:g} in a box of {box[2]:g} x {box[3]:g}"
        left_out.doubt(ODD_AREA, said, file)
    return Person(annotation.id, keypoints, box, area, annotation.place)


def _labelled(annotation: Annotation, file: Path, left_out: LeftOut) -> np.ndarray | None:
    """The keypoints of a person to learn from; None if it is another that is only masked."""
    values = in_one_list(annotation.content.get("keypoints"))
    if annotation.content.get("iscrowd") in (None, ""):
        left_out.repair(NO_CROWD, annotation.which, file, unsound=False)
    crowd = _is_crowd(annotation)
    if crowd is None:
        left_out.add(MALFORMED_CROWD, annotation.which, file)
    elif crowd:
        left_out.count(CROWD)
    elif values and not are_joints(values):
        reason, found = _no_joints(values)
        left_out.add(reason, annotation.which + found, file)
    else:
        return _checked(annotation, file, left_out)
    return None


def _no_joints(values: Any) -> tuple[str, str]:
    """Why something is not 17 keypoints, and what it is."""
    if not isinstance(values, list) or any(isinstance(value, list | dict) for value in values):
        return MALFORMED_KEYPOINTS, ""
    if len(values) == 2 * NUM_JOINTS:
        return NO_FLAGS, ""
    found = f"{len(values) // 3}" if len(values) % 3 == 0 else f"{len(values)} numbers"
    return NOT_17, f", with {found}"


def _checked(annotation: Annotation, file: Path, left_out: LeftOut) -> np.ndarray | None:
    """17 keypoints with what is wrong in them counted; None if none is labelled."""
    keypoints, faults = _keypoints(annotation)
    given = annotation.content.get("keypoints")
    if in_one_list(given) is not given:
        left_out.repair(NESTED, annotation.which, file, unsound=False)
    for reason, number in faults.items():
        if reason == CLIPPED:
            left_out.repair(reason, annotation.which, file, number)
        else:
            left_out.add(reason, annotation.which, file, number)
    num_labelled = int((keypoints[:, 2] > 0).sum())
    said = number_of(annotation.content.get("num_keypoints"))
    if said not in (None, num_labelled) and not faults:
        left_out.repair(OTHER_COUNT, annotation.which, file, unsound=False)
    if not num_labelled:
        left_out.count(UNLABELLED)
    return keypoints if num_labelled else None


def _keypoints(annotation: Annotation) -> tuple[np.ndarray, Counter[str]]:
    """(17, 3) float64, and what is wrong in them; all 0 where there are not 17."""
    values = in_one_list(annotation.content.get("keypoints"))
    if not are_joints(values):
        return np.zeros((NUM_JOINTS, 3)), Counter()
    return read_joints(values, annotation.image.size, annotation.order)


def _is_crowd(annotation: Annotation) -> bool | None:
    """None if it cannot be told."""
    given = annotation.content.get("iscrowd")
    if given in (None, ""):
        return False
    words = {"true": 1.0, "false": 0.0}
    number = words.get(given.strip().casefold()) if isinstance(given, str) else None
    number = number_of(given) if number is None else number
    return bool(number) if number in (0, 1) else None


def _ignored(annotation: Annotation, box: Box, file: Path, left_out: LeftOut) -> Ignored:
    outline = annotation.content.get("segmentation") or []
    if not is_outline(outline, annotation.image.size):
        left_out.add(MALFORMED_OUTLINE, annotation.which, file)
        outline = []
    area = number_of(annotation.content.get("area"))
    if area is None or area < 0:  # with one of 0 COCO's evaluation reckons
        left_out.repair(NO_MASKED_AREA, annotation.which, file)
        area = box[2] * box[3]
    return Ignored(
        segmentation=outline,
        box_xywh=box,
        area=area,
        is_crowd=bool(_is_crowd(annotation)),
        keypoints=_keypoints(annotation)[0],
        place=annotation.place,
    )
