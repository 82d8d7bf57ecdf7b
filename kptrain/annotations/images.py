"""The images that an annotation file lists: their ids, sizes and files."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from kptrain.annotations.reasons import (
    BY_END,
    IMAGE_ID_TWICE,
    IMAGE_TWICE,
    NO_FILE,
    NO_IMAGE_ID,
    NO_NAME,
    NO_SIZE,
    SAME_FILE,
    SEVERAL_FILES,
    SHARED_FILE,
    TEXT_ID,
    TOO_LARGE,
)
from kptrain.annotations.skipped import LeftOut
from kptrain.files.file_names import FileNames
from kptrain.files.values import Id, id_of, length_of, spelt_id_of

MOST_PIXELS = 178_956_970
"""Of an image: Pillow decodes no larger one."""


@dataclass(frozen=True)
class Record:
    """An image as listed."""

    id: int
    """Its own, or where that is no number, one that no other has."""
    file_name: str
    size: tuple[int, int]
    """(height, width) in pixels, as annotated."""
    written_id: Any
    """As the file has it."""


@dataclass
class Records:
    """The images of a file."""

    sound: dict[Id, Record] = field(default_factory=dict)
    """By the id as annotations name it."""
    unsound: set[Id] = field(default_factory=set)
    """Ids of which it is counted already that their images are left out."""

    def named(self, value: Any) -> Id | None:
        """The id that an annotation names; None if it can be none."""
        spelt = spelt_id_of(value)
        return spelt if spelt in self.sound or spelt in self.unsound else id_of(value)


def read_records(listed: list[Any], file: Path, left_out: LeftOut) -> Records:
    """Read the list of images. Raises: DataError where `left_out` is strict, at the first fault."""
    records = Records()
    by_id: dict[Id, list[dict[str, Any]]] = {}
    several = _spelt_in_several_ways(listed)
    for index, record in enumerate(listed):
        number = id_of(record.get("id")) if isinstance(record, dict) else None
        if number in several:
            number = spelt_id_of(record["id"])
        if number is None:
            left_out.add(NO_IMAGE_ID, f"images[{index}]", file)
        elif not isinstance(record.get("file_name"), str):
            left_out.add(NO_NAME, f"image {number}", file)
            records.unsound.add(number)
        else:
            by_id.setdefault(number, []).append(record)
    records.unsound -= by_id.keys()
    free = free_ids(by_id)
    for number, those in by_id.items():
        which = f"image {number}, {those[0]['file_name']}"
        if isinstance(number, str):
            left_out.repair(TEXT_ID, which, file, unsound=False)
        size = _one_size(those, which, file, left_out)
        if size is None:
            records.unsound.add(number)
        else:
            own = next(free) if isinstance(number, str) else number
            records.sound[number] = Record(own, those[0]["file_name"], size, those[0]["id"])
    return records


def _spelt_in_several_ways(listed: list[Any]) -> set[Id]:
    """The numbers that stand for several images: as "1" and "01"."""
    given = [record.get("id") for record in listed if isinstance(record, dict)]
    spelt = {(id_of(value), spelt_id_of(value)) for value in given}
    times = Counter(number for number, _ in spelt if number is not None)
    return {number for number, ways in times.items() if ways > 1}


def free_ids(taken: Any) -> Iterator[int]:
    """Ids that are not taken."""
    return (number for number in count(1) if number not in taken)


def _one_size(
    those: list[dict[str, Any]], which: str, file: Path, left_out: LeftOut
) -> tuple[int, int] | None:
    """(height, width) of the records of one id, if they are one image; None if it is left out."""
    first = those[0]
    for other in those[1:]:
        if any(other.get(key) != first.get(key) for key in ("file_name", "height", "width")):
            said = f"{which} and {other['file_name']}"
            left_out.add(IMAGE_ID_TWICE, said, file, number=len(those))
            return None
        left_out.add(IMAGE_TWICE, which, file)
    height, width = length_of(first.get("height")), length_of(first.get("width"))
    if height is None or width is None:
        left_out.add(NO_SIZE, which, file)
        return None
    if height * width > MOST_PIXELS:
        left_out.add(TOO_LARGE, which, file)
        return None
    return height, width


def find_files(records: list[Record], folder: Path, left_out: LeftOut) -> dict[int, Path]:
    """The files of images below a folder, by the images' ids; those that have none are counted."""
    names = FileNames(folder)
    found = {record.id: names.find(record.file_name) for record in records}
    users = Counter(name for name, _ in found.values() if name is not None)
    owners = Counter(name for name, how in found.values() if how == "as written")
    paths = {}
    for record in records:
        name, how = found[record.id]
        if name is None:
            reason = NO_FILE if how == "missing" else SEVERAL_FILES
            left_out.add(reason, record.file_name, folder)
        elif how == "by its end" and users[name] > 1:
            left_out.add(SHARED_FILE, f"{record.file_name}, found as {name}", folder)
        else:
            if how == "by its end":
                left_out.repair(BY_END, f"{record.file_name}, found as {name}", folder)
            elif owners[name] > 1:
                left_out.doubt(SAME_FILE, f"{record.file_name}, id {record.id}", folder)
            paths[record.id] = folder / name
    return paths
