"""The annotations of persons in a file: each once, with a unique id, in an image of the file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kptrain.annotations import reasons
from kptrain.annotations.categories import Order
from kptrain.annotations.images import Record, Records, free_ids
from kptrain.annotations.skipped import Skipped
from kptrain.files.values import Id, id_of


@dataclass(frozen=True)
class Annotation:
    """An annotation of a person."""

    content: dict[str, Any]
    place: int
    """Its index in the file."""
    which: str
    """Its id or its index, for messages."""
    id: int
    image: Record
    order: Order


def annotations_of_persons(
    annotations: list[Any],
    orders: Mapping[Id, Order],
    records: Records,
    file: Path,
    skipped: Skipped,
    only: Id | None,
) -> Iterator[Annotation]:
    """Yield the annotations of persons.

    orders: the categories of persons, with the order of their joints.
    only: the category of annotations that name none.

    Raises: DataError where `skipped` is strict, at the first fault.
    """
    ids = _Ids(annotations)
    for place, annotation in enumerate(annotations):
        which = f"annotations[{place}]"
        if not isinstance(annotation, dict):
            skipped.add(reasons.NOT_A_MAPPING, which, file)
            continue
        names_none = annotation.get("category_id") in (None, "")
        category = only if names_none else id_of(annotation.get("category_id"))
        if category is None or category not in orders:
            skipped.count(reasons.OTHER_CATEGORY)
            continue
        given = id_of(annotation.get("id"))
        which = which if given is None else f"annotation {given}"
        if given is not None and ids.first.get(given) == annotation:
            skipped.add(reasons.TWICE, which, file)
            continue
        image_id = records.id_of(annotation.get("image_id"))
        image = None if image_id is None else records.sound.get(image_id)
        if image_id in records.unsound:
            skipped.count(reasons.OF_SKIPPED)
        elif image is None:
            skipped.add(reasons.NOT_LISTED, which, file)
        else:
            number, repair = ids.number(given, annotation)
            if repair:
                skipped.repair(repair, which, file, unsound=repair != reasons.TEXT_ID)
            if names_none:
                skipped.repair(reasons.NO_CATEGORY, which, file, unsound=False)
            yield Annotation(annotation, place, which, number, image, orders[category])


class _Ids:
    """Gives each annotation a unique id."""

    def __init__(self, annotations: list[Any]) -> None:
        given = (id_of(one.get("id")) for one in annotations if isinstance(one, dict))
        self._free = free_ids({number for number in given if number is not None})
        self.first: dict[Id, dict[str, Any]] = {}
        """The first annotation of each id."""

    def number(self, given: Id | None, annotation: dict[str, Any]) -> tuple[int, str | None]:
        """A unique id, and the reason if it is not the given one."""
        if given is None:
            return next(self._free), reasons.NO_ID
        if given in self.first:
            return next(self._free), reasons.ID_TWICE
        self.first[given] = annotation
        return (next(self._free), reasons.TEXT_ID) if isinstance(given, str) else (given, None)
