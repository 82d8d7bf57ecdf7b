"""COCO's `categories`: which annotations are of persons, and the order of their joints.

A category is found by its name, not by its id: that is 1 in COCO's files, but 0, "1" or 2 in
others. Names are compared without case, spaces and punctuation: "Left Eye" is left_eye.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kptrain.annotations import reasons
from kptrain.annotations.boxes import PERSON
from kptrain.annotations.joints import are_joints, in_one_list
from kptrain.annotations.skipped import Skipped
from kptrain.errors import DataError
from kptrain.files.values import Id, id_of, printable
from kptrain.keypoints import JOINTS

NAME = "person"

Order = tuple[int, ...] | None
"""For each of COCO's joints its index among the category's joints; None: the same order."""

_COCO_NAMES = ["".join(filter(str.isalnum, name)) for name in JOINTS]


@dataclass(frozen=True)
class Category:
    """A category of the file."""

    id: Id
    name: str
    joints: tuple[str, ...] | None
    """Names, in order; None if the file has none."""

    def __str__(self) -> str:
        return f"{self.name!r} (id {self.id})"


def find_persons(content: Mapping[str, Any], file: Path, skipped: Skipped) -> dict[Id, Order]:
    """The ids of the categories of persons, each with the order of its joints.

    These are the categories named person. If there is none: the only category with the names of
    COCO's joints; if no joints are named, the only category whose annotations have 17 joints, or
    COCO's id. Of several candidates, those without an annotation are dropped.
    Raises: DataError if no category or several could be the person, or if the joints are not
    COCO's.
    """
    categories = _read(content.get("categories"))
    annotations = content["annotations"]
    named = [category for category in categories if _plain(category.name) == NAME]
    if named:
        named = _used(named, annotations)
        return {person.id: _order(person, file, skipped) for person in named}
    if not categories:
        category_id = _by_annotations(annotations, file)
        skipped.repair(reasons.NO_CATEGORIES, f"category {category_id}", file, unsound=False)
        return {category_id: None}
    person = _by_joints(categories, annotations, file)
    skipped.repair(reasons.OTHER_NAME, f"category {person}", file, unsound=False)
    return {person.id: _order(person, file, skipped)}


def id_as_written(category_id: Id, content: Mapping[str, Any]) -> Any:
    """The id of a category as the file spells it, in `categories` or else in an annotation."""
    categories = content.get("categories")
    for key, entries in (("id", categories), ("category_id", content["annotations"])):
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and id_of(entry.get(key)) == category_id:
                return entry[key]
    return category_id


def _used(categories: list[Category], annotations: list[Any]) -> list[Category]:
    """The categories that have annotations; all if none has any."""
    if len(categories) < 2:
        return categories
    ids = {id_of(one.get("category_id")) for one in annotations if isinstance(one, dict)}
    return [category for category in categories if category.id in ids] or categories


def only_category(content: Mapping[str, Any], orders: Mapping[Id, Order]) -> Id | None:
    """The category of annotations that name none; None if the file has several categories."""
    categories = content.get("categories")
    are_several = isinstance(categories, list | dict) and len(categories) > 1
    return None if are_several else next(iter(orders))


def other_with_joints(content: Mapping[str, Any], orders: Mapping[Id, Order]) -> str:
    """Advice if annotations of another category than the person's have joints; else empty."""
    ids = _with_joints(content["annotations"])
    names = {category.id: str(category) for category in _read(content.get("categories"))}
    others = [names.get(one, f"id {one}") for one in ids if one not in orders]
    if not others:
        return ""
    return (
        f"; annotations of category {_shortened(others)} have 17 keypoints: if these are persons, "
        f"name it {NAME!r} and no other"
    )


def _read(categories: Any) -> list[Category]:
    """The categories that have an id and a name."""
    read = []
    for entry in categories if isinstance(categories, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            continue
        category_id = id_of(entry.get("id"))
        if category_id is not None:
            read.append(Category(category_id, entry["name"], _joint_names(entry.get("keypoints"))))
    return read


def _joint_names(joints: Any) -> tuple[str, ...] | None:
    """The names of a list of names, or of mappings with a name each; else None."""
    if not isinstance(joints, list):
        return None
    given = [joint.get("name") if isinstance(joint, dict) else joint for joint in joints]
    names = tuple(name for name in given if isinstance(name, str))
    return names if names and len(names) == len(joints) else None


def _order(person: Category, file: Path, skipped: Skipped) -> Order:
    """Raises: DataError if the joints are not COCO's."""
    if person.joints is None:
        skipped.repair(reasons.NO_JOINT_NAMES, f"category {person}", file, unsound=False)
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
    skipped.repair(reasons.OTHER_ORDER, f"category {person}", file, unsound=False)
    return order


def _by_joints(categories: list[Category], annotations: list[Any], file: Path) -> Category:
    """The person's category by its joints. Raises: DataError if none or several could be it."""
    candidates = _used([one for one in categories if _has_coco_joints(one)], annotations)
    with_names = [category for category in categories if category.joints]
    if not candidates and len(with_names) == 1:
        return with_names[0]  # whose joints are named in the error that follows
    if not with_names:
        with_joints = _with_joints(annotations)
        candidates = [category for category in categories if category.id in with_joints]
    if len(candidates) == 1:
        return candidates[0]
    fault = f"{'several have' if candidates else 'none has'} COCO's 17 keypoints"
    raise DataError(
        f"{file}: must have a category named {NAME!r}, but has "
        f"{_shortened(candidates or categories)}, of which {fault}; name one {NAME!r} in categories"
    )


def _by_annotations(annotations: list[Any], file: Path) -> Id:
    """The person's id if no category has a name. Raises: DataError if several could be it."""
    with_joints = _with_joints(annotations)
    if len(with_joints) > 1 and PERSON not in with_joints:
        raise DataError(
            f"{file}: must have a category named {NAME!r}, but names none, and annotations of "
            f"{len(with_joints)} categories have 17 keypoints, {_shortened(with_joints)}; add "
            f'"categories": [{{"id": …, "name": "{NAME}"}}]'
        )
    return PERSON if PERSON in with_joints else next(iter(with_joints), PERSON)


def _with_joints(annotations: list[Any]) -> list[Id]:
    """The categories with an annotation of 17 joints, in the order of the file."""
    ids: dict[Id, None] = {}
    for annotation in annotations:
        if isinstance(annotation, dict) and are_joints(in_one_list(annotation.get("keypoints"))):
            category_id = id_of(annotation.get("category_id"))
            if category_id is not None:
                ids[category_id] = None
    return list(ids)


def _has_coco_joints(category: Category) -> bool:
    return sorted(map(_plain, category.joints or ())) == sorted(_COCO_NAMES)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _shortened(names: Any, most: int = 20) -> str:
    names = [printable(str(name)) for name in names]
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
