"""Where nothing is left to learn from, the error says what was wrong with most, and what helps."""

from pathlib import Path
from typing import Any

import pytest
from coco_files import GONE, CocoWriter, edit

from kptrain.annotations import reasons
from kptrain.annotations.reader import read_split
from kptrain.errors import DataError

ONE_JOINT = [30, 30, 2] + [0] * 48
"""No box can be taken from it."""


def written(writer: CocoWriter, **changes: object) -> Path:
    """Three images with a person each, all changed alike, and one without a person."""
    for number in (1, 2, 3, 4):
        writer.image("train", number)
    for number in (1, 2, 3):
        changed = {key: value for key, value in changes.items() if value is not GONE}
        writer.person("train", number, 10 * number, **changed)
    root = writer.write()

    def take_away(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            for key in [key for key, value in changes.items() if value is GONE]:
                del annotation[key]

    edit(root, take_away)
    return root


def refused(root: Path) -> str:
    with pytest.raises(DataError) as error:
        read_split(root, "train")
    message = str(error.value)
    assert "\n" not in message
    assert "of 4 images none has one: " in message
    return message


@pytest.mark.parametrize(
    ("reason", "changes", "first"),
    [
        (reasons.NOT_17, {"keypoints": [30.0, 30.0, 2.0] * 5}, "annotation 10, with 5"),
        (reasons.NOT_17, {"keypoints": [30.0] * 35}, "annotation 10, with 35 numbers"),
        (reasons.NOT_17, {"keypoints": [[30.0, 30.0, 2]] * 5}, "annotation 10, with 5"),
        (reasons.NO_FLAGS, {"keypoints": [30.0, 30.0] * 17}, "annotation 10"),
        (reasons.NO_FLAGS, {"keypoints": [[30.0, 30.0]] * 17}, "annotation 10"),
        (reasons.MALFORMED_KEYPOINTS, {"keypoints": [{"x": 30, "y": 30}] * 17}, "annotation 10"),
        (reasons.MALFORMED_KEYPOINTS, {"keypoints": [[30.0] * 17] * 3}, "annotation 10"),
        (reasons.MALFORMED_KEYPOINTS, {"keypoints": {"nose": [1, 2, 2]}}, "annotation 10"),
        (reasons.OTHER_CATEGORY, {"category_id": 0}, None),
        (reasons.NO_BOX, {"bbox": GONE, "keypoints": ONE_JOINT}, "annotation 10"),
        (reasons.MALFORMED_BOX, {"bbox": [1, 2, 3], "keypoints": ONE_JOINT}, "annotation 10"),
        (reasons.EMPTY_BOX, {"bbox": [1, 2, 0, 0], "keypoints": ONE_JOINT}, "annotation 10"),
        (reasons.NOT_LISTED, {"image_id": "one"}, "annotation 10"),
        (reasons.UNLABELLED, {"keypoints": [0] * 51}, None),
        (reasons.UNKNOWN_FLAG, {"keypoints": [30, 30, 3] * 17}, "annotation 10"),
        (reasons.OUTSIDE, {"keypoints": [3000, 30, 2] * 17}, "annotation 10"),
        (reasons.NO_PLACE, {"keypoints": [None, None, 2] * 17}, "annotation 10"),
        (reasons.CROWD, {"iscrowd": 1}, None),
        (reasons.MALFORMED_CROWD, {"iscrowd": "no"}, "annotation 10"),
    ],
)
def test_the_cause_comes_first_with_its_first_and_with_what_helps(
    writer: CocoWriter, reason: str, changes: dict[str, object], first: str | None
) -> None:
    message = refused(written(writer, **changes))
    _, _, told = message.partition("none has one: ")
    number = 51 if reason.startswith("joints") else 3
    expected = f"{number} {reason}" + ("" if first is None else f" (first: {first})")
    assert told.startswith(f"{expected}; ")
    advice = reasons.ADVICE.get(reason, "persons have category_id 1 here")
    assert advice in told


@pytest.mark.parametrize(
    ("reason", "key", "value"),
    [
        (reasons.NO_NAME, "file_name", None),
        (reasons.NO_IMAGE_ID, "id", None),
        (reasons.NO_SIZE, "height", None),
        (reasons.TOO_LARGE, "height", 10**9),
        (reasons.IMAGE_ID_TWICE, "id", 7),
        (reasons.NO_FILE, "file_name", "gone.jpg"),
    ],
)
def test_a_cause_in_the_images_is_reported_before_what_follows_for_annotations(
    writer: CocoWriter, reason: str, key: str, value: object
) -> None:
    root = written(writer)

    def change(content: dict[str, Any]) -> None:
        for record in content["images"]:
            record[key] = value
        for annotation in content["annotations"]:
            annotation["image_id"] = (value or 5) if key == "id" else annotation["image_id"]
        content["annotations"] *= 2  # more of them than images
        for number, annotation in enumerate(content["annotations"]):
            content["annotations"][number] = annotation | {"id": number}

    edit(root, change)
    message = refused(root)
    _, _, told = message.partition("none has one: ")
    assert told[2:].startswith(f"{reason} (first: ")
    assert reasons.ADVICE[reason] in told


def test_a_name_that_fits_several_files_or_two_images_is_the_cause(writer: CocoWriter) -> None:
    root = written(writer)
    folder = root / "train2017"
    for sub in ("one", "two"):
        (folder / sub).mkdir()
        (folder / sub / "a.jpg").write_bytes((folder / "000000000001.jpg").read_bytes())

    def rename(content: dict[str, Any], name: str = "a.jpg") -> None:
        for number, record in enumerate(content["images"]):
            record["file_name"] = name.format(number)

    edit(root, rename)
    assert f": 3 {reasons.SEVERAL_FILES} (first: a.jpg); write file_name" in refused(root)
    edit(root, lambda content: rename(content, "{}/000000000001.jpg"))
    assert f": 3 {reasons.SHARED_FILE} (first: 0/000000000001.jpg" in refused(root)


def test_annotations_that_are_no_mappings_are_the_cause(writer: CocoWriter) -> None:
    root = written(writer)
    edit(root, lambda content: content.update(annotations=[1, 2, 3]))
    assert f": 3 {reasons.NOT_A_MAPPING} (first: annotations[0]); write" in refused(root)
