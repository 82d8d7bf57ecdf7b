"""The images that an annotation file lists: their ids, sizes and files."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from kptrain.annotations import reasons
from kptrain.annotations.skipped import Skipped
from kptrain.files.file_names import FileNames
from kptrain.files.values import Id, id_of, length_of, spelt_id_of

MOST_PIXELS = 178_956_970
"""The largest image that Pillow decodes."""


@dataclass(frozen=True)
class Record:
    """An image as the file lists it."""

    id: int
    """The file's; if that is no number, one that no other image has."""
    file_name: str
    size: tuple[int, int]
    """(height, width) in pixels, as annotated."""
    written_id: Any
    """The id as the file spells it."""


@dataclass
class Records:
    """The images of an annotation file."""

    sound: dict[Id, Record] = field(default_factory=dict)
    """By the id that annotations refer to."""
    unsound: set[Id] = field(default_factory=set)
    """Ids of images that are skipped and counted."""

    def id_of(self, value: Any) -> Id | None:
        """The id that an annotation's `image_id` stands for; None if it is no id."""
        spelt = spelt_id_of(value)
        return spelt if spelt in self.sound or spelt in self.unsound else id_of(value)


def read_records(images: list[Any], file: Path, skipped: Skipped) -> Records:
    """Read the list of images. Raises: DataError where `skipped` is strict, at the first fault."""
    records = Records()
    by_id: dict[Id, list[dict[str, Any]]] = {}
    several = _spelt_in_several_ways(images)
    for index, record in enumerate(images):
        image_id = id_of(record.get("id")) if isinstance(record, dict) else None
        if image_id in several:
            image_id = spelt_id_of(record["id"])
        if image_id is None:
            skipped.add(reasons.NO_IMAGE_ID, f"images[{index}]", file)
        elif not isinstance(record.get("file_name"), str):
            skipped.add(reasons.NO_NAME, f"image {image_id}", file)
            records.unsound.add(image_id)
        else:
            by_id.setdefault(image_id, []).append(record)
    records.unsound -= by_id.keys()
    free = free_ids(by_id)
    for image_id, entries in by_id.items():
        first = entries[0]
        which = f"image {image_id}, {first['file_name']}"
        if isinstance(image_id, str):
            skipped.repair(reasons.TEXT_ID, which, file, unsound=False)
        size = _one_size(entries, which, file, skipped)
        if size is None:
            records.unsound.add(image_id)
        else:
            number = next(free) if isinstance(image_id, str) else image_id
            records.sound[image_id] = Record(number, first["file_name"], size, first["id"])
    return records


def _spelt_in_several_ways(images: list[Any]) -> set[Id]:
    """The numbers that are spelt in several ways ("1" and "01"), which are several images."""
    given = [record.get("id") for record in images if isinstance(record, dict)]
    spelt = {(id_of(value), spelt_id_of(value)) for value in given}
    times = Counter(number for number, _ in spelt if number is not None)
    return {number for number, ways in times.items() if ways > 1}


def free_ids(taken: Any) -> Iterator[int]:
    """Numbers from 1 that are not taken."""
    return (number for number in count(1) if number not in taken)


def _one_size(
    entries: list[dict[str, Any]], which: str, file: Path, skipped: Skipped
) -> tuple[int, int] | None:
    """(height, width) of the entries of one id, if they are one image; None if it is skipped."""
    first = entries[0]
    for other in entries[1:]:
        if any(other.get(key) != first.get(key) for key in ("file_name", "height", "width")):
            both = f"{which} and {other['file_name']}"
            skipped.add(reasons.IMAGE_ID_TWICE, both, file, number=len(entries))
            return None
        skipped.add(reasons.IMAGE_TWICE, which, file)
    height, width = length_of(first.get("height")), length_of(first.get("width"))
    if height is None or width is None:
        skipped.add(reasons.NO_SIZE, which, file)
        return None
    if height * width > MOST_PIXELS:
        skipped.add(reasons.TOO_LARGE, which, file)
        return None
    return height, width


def find_files(records: list[Record], folder: Path, skipped: Skipped) -> dict[int, Path]:
    """The files of images below a folder, by image id; images without one are counted."""
    names = FileNames(folder)
    found = {record.id: names.find(record.file_name) for record in records}
    users = Counter(name for name, _ in found.values() if name is not None)
    owners = Counter(name for name, how in found.values() if how == "as written")
    paths = {}
    for record in records:
        name, how = found[record.id]
        if name is None:
            reason = reasons.NO_FILE if how == "missing" else reasons.SEVERAL_FILES
            skipped.add(reason, record.file_name, folder)
        elif how == "by its end" and users[name] > 1:
            skipped.add(reasons.SHARED_FILE, f"{record.file_name}, found as {name}", folder)
        else:
            if how == "by its end":
                skipped.repair(reasons.BY_END, f"{record.file_name}, found as {name}", folder)
            elif owners[name] > 1:
                skipped.doubt(reasons.SAME_FILE, f"{record.file_name}, id {record.id}", folder)
            paths[record.id] = folder / name
    return paths
