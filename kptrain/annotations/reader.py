"""Reads COCO's person keypoints: the images and persons of a split, and what was skipped.

Keypoints and boxes stay as COCO stores them, in the original image's pixels: a keypoint's x, y
is the index of a pixel, a box is x, y, width, height of edges. Training and evaluation use nothing
of an annotation file but what is read here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kptrain.annotations import categories, reasons
from kptrain.annotations.images import Record, find_files, read_records
from kptrain.annotations.persons import Ignored, People, Person, read_people
from kptrain.annotations.skipped import Skipped
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
    """In the order of the file."""
    written_id: Any = None
    """The id as the file spells it."""


@dataclass(frozen=True)
class Split:
    """One split: its images with labelled persons, and what was skipped."""

    name: SplitName
    images: tuple[CocoImage, ...]
    """Sorted by image id."""
    skipped: Skipped
    category_id: Id
    """Of persons."""
    written_category_id: Any = None
    """As the file spells it."""
    joint_order: categories.Order = None
    """Of the joints in the file."""

    @property
    def num_persons(self) -> int:
        return sum(len(image.persons) for image in self.images)


@dataclass(frozen=True)
class Annotations:
    """The content of an annotation file, whether or not its images exist."""

    records: list[Record]
    """The images, sorted by id."""
    people: People
    orders: Mapping[Id, categories.Order]
    """The categories of persons."""


def read_annotations(content: Mapping[str, Any], file: Path, skipped: Skipped) -> Annotations:
    """Read the content of an annotation file.

    Raises: DataError if it has no persons with COCO's joints; if `skipped` is strict, at the first
    unsound record.
    """
    orders = categories.find_persons(content, file, skipped)
    records = read_records(content["images"], file, skipped)
    only = categories.only_category(content, orders)
    people = read_people(content["annotations"], orders, records, file, skipped, only)
    images = sorted(records.sound.values(), key=lambda record: record.id)
    return Annotations(images, people, orders)


def read_split(root: Path, name: SplitName, strict: bool = False) -> Split:
    """Read a split below `root`, in either layout.

    Raises: DataError if it does not exist, is not COCO's keypoints, or has no labelled person; if
    `strict`, at the first unsound record.
    """
    file, folder = locate(root, name)
    content = read_json(file)
    skipped = Skipped(strict)
    read = read_annotations(content, file, skipped)
    people = read.people
    labelled = [record for record in read.records if record.id in people.persons]
    skipped.count(reasons.NO_PERSON, len(read.records) - len(labelled))
    paths = find_files(labelled, folder, skipped)
    images = [
        CocoImage(
            id=one.id,
            path=paths[one.id],
            size=one.size,
            persons=tuple(people.persons[one.id]),
            ignored=tuple(people.ignored.get(one.id, ())),
            written_id=one.written_id,
        )
        for one in labelled
        if one.id in paths
    ]
    if not images:
        raise DataError(
            f"{file}: must hold a person with a labelled keypoint whose image lies in {folder}, "
            f"but of {len(content['images'])} images none has one"
            f"{_why_none(skipped, read.orders)}{categories.other_with_joints(content, read.orders)}"
        )
    _check_pixels(images, file)
    category_id, order = next(iter(read.orders.items()))
    written = categories.id_as_written(category_id, content)
    return Split(name, tuple(images), skipped, category_id, written, order)


def _check_pixels(images: list[CocoImage], file: Path) -> None:
    """Raises: DataError if all keypoints lie between 0 and 1, as relative coordinates do."""
    persons = [person for image in images for person in image.persons]
    if all(one.keypoints[one.keypoints[:, 2] > 0, :2].max() <= 1 for one in persons):
        raise DataError(
            f"{file}: must have keypoints in pixels of the image, but all their x, y lie between "
            f"0 and 1; multiply them by its width and height"
        )


def _why_none(skipped: Skipped, orders: Mapping[Id, Any]) -> str:
    """The main reason why nothing is left, what to do about it, and all other reasons."""
    cause = skipped.cause()
    if cause is None:
        return f" ({skipped}); check that this is the right file"
    ids = " or ".join(map(str, orders))
    of_person = f"persons have category_id {ids} here: give it to their annotations, or correct "
    advice = reasons.ADVICE | {reasons.OTHER_CATEGORY: f"{of_person}categories"}
    default = "check that annotations and images belong together"
    fault = skipped.with_example(cause, skipped.counts[cause])
    others = "" if len(+skipped.counts) == 1 else f" (in all: {skipped})"
    return f": {fault}; {advice.get(cause, default)}{others}"


def describe(name: str, num_images: int, num_persons: int, skipped: Skipped) -> str:
    """One line: the numbers of images and persons, and what was skipped, repaired or doubtful."""
    return f"{name}: {num_images:,} images with {num_persons:,} labelled persons{skipped.summary()}"
