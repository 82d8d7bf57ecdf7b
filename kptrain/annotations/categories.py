"""Which annotations are of persons, and in which order their joints come: COCO's `categories`.

A category is found by its name and not by its id, which is 1 in COCO's files, but 0, "1" or 2 in
others'. Names are compared without case, spaces and signs: "Left Eye" is left_eye.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kptrain.annotations.boxes import PERSON
from kptrain.annotations.joints import are_joints, in_one_list
from kptrain.annotations.skipped import LeftOut
from kptrain.errors import DataError
from kptrain.files.values import Id, id_of, printable
from kptrain.keypoints import JOINTS

NAME = "person"

Order = tuple[int, ...] | None
"""For each of COCO's joints where it is among a category's; None: in the same place."""

_COCO_NAMES = ["".join(filter(str.isalnum, name)) for name in JOINTS]


@dataclass(frozen=True)
class Category:
    """One of the file's."""

    id: Id
    name: str
    joints: tuple[str, ...] | None
    """Their names, in order; None where the file has none."""

    def __str__(self) -> str:
        return f"{self.name!r} (id {self.id})"


def find_persons(content: Mapping[str, Any], file: Path, left_out: LeftOut) -> dict[Id, Order]:
    """The categories that are persons by their ids, with the order of their joints.

    That is who is named person; where nobody is, the one category with COCO's joints by name; and
    where no joints are named, the one whose annotations have 17, or COCO's id. Of several that
    could be meant, those without an annotation are not.
    Raises: DataError if none or several could be meant, or if the joints are not COCO's.
    """
    categories = _read(content.get("categories"))
    annotations = content["annotations"]
    named = [category for category in categories if _plain(category.name) == NAME]
    if named:
        named = _used(named, annotations)
        return {person.id: _order(person, file, left_out) for person in named}
    if not categories:
        number = _by_annotations(annotations, file)
        said = "files without names of categories (one is taken for the person)"
        left_out.repair(said, f"category {number}", file, unsound=False)
        return {number: None}
    person = _by_joints(categories, annotations, file)
    said = "categories of another name than person (taken for it)"
    left_out.repair(said, f"category {person}", file, unsound=False)
    return {person.id: _order(person, file, left_out)}


def id_as_written(number: Id, content: Mapping[str, Any]) -> Any:
    """The id of a category as its file has it, in `categories` or else in an annotation."""
    categories = content.get("categories")
    for key, entries in (("id", categories), ("category_id", content["annotations"])):
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and id_of(entry.get(key)) == number:
                return entry[key]
    return number


def _used(categories: list[Category], annotations: list[Any]) -> list[Category]:
    """Those that annotations are of; all if none is."""
    if len(categories) < 2:
        return categories
    ids = {id_of(one.get("category_id")) for one in annotations if isinstance(one, dict)}
    return [category for category in categories if category.id in ids] or categories


def only_category(content: Mapping[str, Any], orders: Mapping[Id, Order]) -> Id | None:
    """The one of which annotations are that name none; None where they could be of several."""
    listed = content.get("categories")
    are_several = isinstance(listed, list | dict) and len(listed) > 1
    return None if are_several else next(iter(orders))


def other_with_joints(content: Mapping[str, Any], orders: Mapping[Id, Order]) -> str:
    """What to do where no person has joints, but annotations of another category do; else ''."""
    numbers = _with_joints(content["annotations"])
    named = {category.id: str(category) for category in _read(content.get("categories"))}
    found = [named.get(one, f"id {one}") for one in numbers if one not in orders]
    if not found:
        return ""
    return (
        f"; annotations of category {_shortened(found)} have 17 keypoints: if these are persons, "
        f"name it {NAME!r} and no other"
    )


def _read(categories: Any) -> list[Category]:
    """What has an id and a name."""
    found = []
    for entry in categories if isinstance(categories, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            continue
        number = id_of(entry.get("id"))
        if number is not None:
            found.append(Category(number, entry["name"], _joint_names(entry.get("keypoints"))))
    return found


def _joint_names(joints: Any) -> tuple[str, ...] | None:
    """Names, or what has a name each; None if there are none."""
    if not isinstance(joints, list):
        return None
    given = [joint.get("name") if isinstance(joint, dict) else joint for joint in joints]
    names = tuple(name for name in given if isinstance(name, str))
    return names if names and len(names) == len(joints) else None


def _order(person: Category, file: Path, left_out: LeftOut) -> Order:
    """Raises: DataError if the joints are others than COCO's."""
    if person.joints is None:
        said = "categories without names of keypoints (COCO's 17 in COCO's order are assumed)"
        left_out.repair(said, f"category {person}", file, unsound=False)
        return None
    if not _has_coco_joints(person):
        raise DataError(
            f"{file}: must have COCO's 17 keypoints, {', '.join(JOINTS)}, in any order, but "
            f"category {person} has {len(person.joints)}, {_shortened(person.joints)}; convert "
            f"them, or correct the names in categories if they are COCO's"
        )
    names = [_plain(name) for name in person.joints]
    order = tuple(map(names.index, _COCO_NAMES))
    if order == tuple(range(len(JOINTS))):
        return None
    said = "categories with COCO's keypoints in another order (sorted as COCO's)"
    left_out.repair(said, f"category {person}", file, unsound=False)
    return order


def _by_joints(categories: list[Category], annotations: list[Any], file: Path) -> Category:
    """The person where nobody is named so. Raises: DataError if none or several could be it."""
    found = _used([one for one in categories if _has_coco_joints(one)], annotations)
    with_names = [category for category in categories if category.joints]
    if not found and len(with_names) == 1:
        return with_names[0]  # refused with what it has
    if not with_names:
        with_joints = _with_joints(annotations)
        found = [category for category in categories if category.id in with_joints]
    if len(found) == 1:
        return found[0]
    those = "several have COCO's 17 keypoints" if found else "none has COCO's 17 keypoints"
    raise DataError(
        f"{file}: must have a category named {NAME!r}, but has {_listed(found or categories)}, "
        f"of which {those}; name one {NAME!r} in categories"
    )


def _by_annotations(annotations: list[Any], file: Path) -> Id:
    """The person's id where no category has a name. Raises: DataError if several could be it."""
    with_joints = _with_joints(annotations)
    if len(with_joints) > 1 and PERSON not in with_joints:
        raise DataError(
            f"{file}: must have a category named {NAME!r}, but names none, and annotations of "
            f"{len(with_joints)} categories have 17 keypoints, {_shortened(with_joints)}; add "
            f'"categories": [{{"id": …, "name": "{NAME}"}}]'
        )
    return PERSON if PERSON in with_joints else next(iter(with_joints), PERSON)


def _with_joints(annotations: list[Any]) -> list[Id]:
    """The categories with an annotation of 17 joints, in their order in the file."""
    found: dict[Id, None] = {}
    for annotation in annotations:
        if isinstance(annotation, dict) and are_joints(in_one_list(annotation.get("keypoints"))):
            number = id_of(annotation.get("category_id"))
            if number is not None:
                found[number] = None
    return list(found)


def _has_coco_joints(category: Category) -> bool:
    return sorted(map(_plain, category.joints or ())) == sorted(_COCO_NAMES)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _listed(categories: list[Category]) -> str:
    return _shortened([str(category) for category in categories])


def _shortened(names: Any, most: int = 20) -> str:
    names = [printable(str(name)) for name in names]
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
