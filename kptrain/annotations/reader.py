"""COCO person keypoints, read and counted: which images and persons are there to learn from.

Keypoints and boxes stay as COCO stores them, in the original image's pixels: a keypoint's x, y
is the index of a pixel, a box is x, y, width, height of edges. Training and evaluation both learn
of a file what is read here, and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kptrain.annotations.categories import (
    Order,
    find_persons,
    id_as_written,
    only_category,
    other_with_joints,
)
from kptrain.annotations.images import Record, find_files, read_records
from kptrain.annotations.persons import Ignored, People, Person, read_people
from kptrain.annotations.reasons import ADVICE, NO_PERSON, OTHER_CATEGORY
from kptrain.annotations.skipped import LeftOut
from kptrain.errors import DataError
from kptrain.files.json_file import read_json
from kptrain.files.layout import SplitName, locate
from kptrain.files.values import Id

__all__ = ["CocoImage", "Ignored", "Person", "Split", "describe", "read_split"]


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
    written_id: Any = None
    """As the file has it."""


@dataclass(frozen=True)
class Split:
    """What was found in one split, and what was left out."""

    name: SplitName
    images: tuple[CocoImage, ...]
    """By image id."""
    left_out: LeftOut
    category_id: Id
    """Of persons, in the file."""
    written_category_id: Any = None
    """As the file has it."""
    joint_order: Order = None
    """Of its joints in the file."""

    @property
    def num_persons(self) -> int:
        return sum(len(image.persons) for image in self.images)


@dataclass(frozen=True)
class Annotations:
    """What is read of an annotation file, whether its images are there or not."""

    records: list[Record]
    """The images, by id."""
    people: People
    orders: Mapping[Id, Order]
    """The categories of persons."""


def read_annotations(content: Mapping[str, Any], file: Path, left_out: LeftOut) -> Annotations:
    """Read the content of a file.

    Raises: DataError if it has no persons of COCO's kind; where `left_out` is strict, at the first
    record that is unsound.
    """
    orders = find_persons(content, file, left_out)
    records = read_records(content["images"], file, left_out)
    only = only_category(content, orders)
    people = read_people(content["annotations"], orders, records, file, left_out, only)
    listed = sorted(records.sound.values(), key=lambda record: record.id)
    return Annotations(listed, people, orders)


def read_split(root: Path, name: SplitName, strict: bool = False) -> Split:
    """Read a split below `root`, in either layout.

    Raises: DataError if it is not there, is not COCO's persons, or has no labelled person; where
    `strict`, at the first record that is unsound.
    """
    file, folder = locate(root, name)
    content = read_json(file)
    left_out = LeftOut(strict)
    read = read_annotations(content, file, left_out)
    people = read.people
    labelled = [record for record in read.records if record.id in people.persons]
    left_out.count(NO_PERSON, len(read.records) - len(labelled))
    paths = find_files(labelled, folder, left_out)
    images = [_image(one, paths[one.id], people) for one in labelled if one.id in paths]
    if not images:
        raise DataError(
            f"{file}: must hold a person with a labelled keypoint whose image lies in {folder}, "
            f"but of {len(content['images'])} images none has one"
            f"{_why_none(left_out, read.orders)}{other_with_joints(content, read.orders)}"
        )
    _check_pixels(images, file)
    category_id, order = next(iter(read.orders.items()))
    written = id_as_written(category_id, content)
    return Split(name, tuple(images), left_out, category_id, written, order)


def _image(record: Record, path: Path, people: People) -> CocoImage:
    return CocoImage(
        id=record.id,
        path=path,
        size=record.size,
        persons=tuple(people.persons[record.id]),
        ignored=tuple(people.ignored.get(record.id, ())),
        written_id=record.written_id,
    )


def _check_pixels(images: list[CocoImage], file: Path) -> None:
    """Raises: DataError if all keypoints lie in the first pixel: as shares of the image."""
    persons = [person for image in images for person in image.persons]
    if all(one.keypoints[one.keypoints[:, 2] > 0, :2].max() <= 1 for one in persons):
        raise DataError(
            f"{file}: must have keypoints in pixels of the image, but all their x, y lie between "
            f"0 and 1; multiply them by its width and height"
        )


def _why_none(left_out: LeftOut, orders: Mapping[Id, Any]) -> str:
    """What left nothing, most of all, what to do about it, and what else was left out."""
    cause = left_out.cause()
    if cause is None:
        return f" ({left_out}); check that it is the file that you meant"
    ids = " or ".join(map(str, orders))
    of_person = f"persons have category_id {ids} here: give it to their annotations, or correct "
    advice = ADVICE | {OTHER_CATEGORY: f"{of_person}categories"}
    default = "check that annotations and images belong together"
    told = left_out.told(cause, left_out.counts[cause])
    others = "" if len(+left_out.counts) == 1 else f" (in all: {left_out})"
    return f": {told}; {advice.get(cause, default)}{others}"


def describe(name: str, num_images: int, num_persons: int, left_out: LeftOut) -> str:
    """One line: what was found, what was left out and why, and what was repaired."""
    return f"{name}: {num_images:,} images with {num_persons:,} labelled persons{left_out.said()}"
