"""Who is a person in a file, and in which order its joints come."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import CocoWriter

from kptrain.annotations import reasons
from kptrain.annotations.reader import Split, read_split
from kptrain.errors import DataError
from kptrain.keypoints import JOINTS

H36M = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis"),
    *("thorax", "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder"),
    *("left_shoulder", "left_elbow", "left_wrist", "nose"),
)
AP_10K = (
    *("left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow"),
    *("left_front_paw", "right_shoulder", "right_elbow", "right_front_paw", "left_hip"),
    *("left_knee", "left_back_paw", "right_hip", "right_knee", "right_back_paw"),
)


def category(number: object, name: str, joints: Sequence[str] | None = JOINTS) -> dict[str, Any]:
    named = {} if joints is None else {"keypoints": list(joints)}
    return {"id": number, "name": name, **named}


def written(
    writer: CocoWriter, categories: list[dict[str, Any]] | None, of: Sequence[object] = (1, 2)
) -> Path:
    """One image with persons 11, 12, … of those categories; the file lists others, or none."""
    if of:
        writer.image("train", 1)
    for number, one in enumerate(of, start=11):
        writer.person("train", 1, number, category_id=one)
    root = writer.write()
    path = root / "annotations" / "person_keypoints_train2017.json"
    content = json.loads(path.read_text())
    del content["categories"]
    if categories is not None:
        content["categories"] = categories
    path.write_text(json.dumps(content))
    return root


def persons(split: Split) -> list[int]:
    return [person.id for image in split.images for person in image.persons]


@pytest.mark.parametrize("number", [0, 2, "2", "person", 90])
@pytest.mark.parametrize("name", ["person", "Person", " PERSON"])
def test_a_person_is_found_by_name_whatever_its_id(
    writer: CocoWriter, number: object, name: str
) -> None:
    root = written(writer, [category(1, "dog"), category(number, name)], of=(1, number, 1))
    split = read_split(root, "train")
    assert persons(split) == [12]
    assert split.skipped.counts == {reasons.OTHER_CATEGORY: 2}
    assert split.skipped.repairs == {}


@pytest.mark.parametrize("of", [("2", 2), (2.0, 2)])
def test_a_category_is_the_same_as_number_and_as_text(
    writer: CocoWriter, of: Sequence[object]
) -> None:
    root = written(writer, [category(2, "person")], of=of)
    assert persons(read_split(root, "train", strict=True)) == [11, 12]


@pytest.mark.parametrize("name", ["pedestrian", "human", "skeleton"])
def test_the_one_category_with_cocos_joints_is_the_person_under_any_name(
    writer: CocoWriter, name: str
) -> None:
    root = written(writer, [category(1, "ball", None), category(2, name)])
    split = read_split(root, "train", strict=True)
    assert persons(split) == [12]
    (said,) = split.skipped.repairs
    assert split.skipped.first[said] == f"category {name!r} (id 2)"


def test_where_no_joints_are_named_the_one_category_with_17_is_the_person(
    writer: CocoWriter,
) -> None:
    writer.image("train", 1)
    writer.person("train", 1, 10, category_id=1, keypoints=[1, 2, 2])
    root = written(writer, [category(1, "ball", None), category(2, "human", None)], of=(2,))
    assert persons(read_split(root, "train")) == [11]


@pytest.mark.parametrize(
    ("categories", "of", "found"),
    [
        (None, (1, 2), [11]),
        ([], (1, 2), [11]),
        (None, (0, 0), [11, 12]),
        (None, ("7", 7), [11, 12]),
    ],
)
def test_without_categories_cocos_id_or_the_only_one_is_the_person(
    writer: CocoWriter,
    categories: list[dict[str, Any]] | None,
    of: Sequence[object],
    found: list[int],
) -> None:
    split = read_split(written(writer, categories, of=of), "train", strict=True)
    assert persons(split) == found
    assert sum(split.skipped.repairs.values()) == 1


@pytest.mark.parametrize(
    "categories",
    [
        [category(1, "dog"), category(2, "human")],
        [category(1, "dog", None), category(2, "human", None)],
    ],
)
def test_who_could_be_one_of_two_is_asked_for_by_name(
    writer: CocoWriter, categories: list[dict[str, Any]]
) -> None:
    with pytest.raises(DataError, match=r"train2017\.json: .*'dog' \(id 1\), 'human' \(id 2\)"):
        read_split(written(writer, categories), "train")


def test_of_two_categories_without_names_one_is_asked_for(writer: CocoWriter) -> None:
    with pytest.raises(DataError, match="2 categories have 17 keypoints, 3, 4"):
        read_split(written(writer, None, of=(3, 4)), "train")


def test_two_categories_named_person_are_both_read_each_in_its_order(writer: CocoWriter) -> None:
    categories = [category(1, "person"), category(2, "Person", JOINTS[::-1])]
    one, other = read_split(written(writer, categories), "train").images[0].persons
    assert np.array_equal(one.keypoints, other.keypoints[::-1])


@pytest.mark.parametrize("name", ["person", "human"])
def test_a_category_without_an_annotation_does_not_count(writer: CocoWriter, name: str) -> None:
    joints = H36M if name == "person" else JOINTS
    root = written(writer, [category(0, name, joints), category(1, name)], of=(1, 1))
    assert persons(read_split(root, "train")) == [11, 12]


def test_names_of_joints_are_read_where_each_joint_is_an_object(writer: CocoWriter) -> None:
    one: dict[str, Any] = category(1, "person")
    one["keypoints"] = [{"id": n, "name": name} for n, name in enumerate(JOINTS[::-1])]
    split = read_split(written(writer, [one], of=(1,)), "train")
    assert split.joint_order == tuple(reversed(range(17)))
    one["keypoints"] = [{"name": name} for name in H36M]
    with pytest.raises(DataError, match="has 17, right_ankle, right_knee"):
        read_split(written(writer, [one], of=()), "train")


@pytest.mark.parametrize("spelt", [str, str.upper, lambda name: name.replace("_", " ").title()])
def test_cocos_joints_in_another_order_are_sorted(writer: CocoWriter, spelt: Any) -> None:
    order = np.random.default_rng(0).permutation(17)
    placed = np.stack((np.arange(17.0), np.arange(17.0), np.full(17, 2.0)), axis=1)
    writer.image("train", 1)
    writer.person("train", 1, 10, keypoints=placed[order].flatten().tolist())
    writer.person("train", 1, 20, iscrowd=1, keypoints=placed[order].flatten().tolist())
    names = [spelt(JOINTS[joint]) for joint in order]
    split = read_split(written(writer, [category(1, "person", names)], of=()), "train", strict=True)
    assert np.array_equal(split.images[0].persons[0].keypoints, placed)
    assert np.array_equal(split.images[0].ignored[0].keypoints, placed)
    assert split.skipped.repairs == {reasons.OTHER_ORDER: 1}


@pytest.mark.parametrize(
    "joints",
    [H36M, AP_10K, JOINTS[:5], (*JOINTS, "neck"), (*JOINTS[:16], "nose"), tuple("abcde")],
    ids=["H36M", "AP-10K", "5", "18", "twice", "letters"],
)
@pytest.mark.parametrize("name", ["person", "animal"])
def test_another_skeleton_is_refused_with_what_was_found_and_what_is_wanted(
    writer: CocoWriter, joints: Sequence[str], name: str
) -> None:
    with pytest.raises(DataError) as error:
        read_split(written(writer, [category(1, name, joints)]), "train")
    message = str(error.value)
    for part in (f"category {name!r} (id 1) has {len(joints)}, {', '.join(joints)}", *JOINTS):
        assert part in message
    assert "\n" not in message


def test_joints_without_names_are_taken_in_cocos_order(writer: CocoWriter) -> None:
    split = read_split(written(writer, [category(1, "person", None)]), "train", strict=True)
    assert persons(split) == [11]
    assert len(split.skipped.repairs) == 1


@pytest.mark.parametrize("given", [None, ""])
def test_an_annotation_without_a_category_is_of_the_only_one(
    writer: CocoWriter, given: object
) -> None:
    root = written(writer, [category(4, "person")], of=(4, given))
    split = read_split(root, "train", strict=True)
    assert persons(split) == [11, 12]
    assert split.skipped.repairs == {reasons.NO_CATEGORY: 1}
    of_two = written(writer, [category(4, "person"), category(1, "dog", None)], of=())
    assert persons(read_split(of_two, "train")) == [11]


def test_where_persons_have_boxes_alone_the_category_with_the_joints_is_named(
    writer: CocoWriter,
) -> None:
    writer.image("train", 1)
    writer.person("train", 1, 11, keypoints=[])
    writer.person("train", 1, 12, category_id=2)
    root = written(writer, [category(1, "person", None), category(2, "skeleton")], of=())
    with pytest.raises(DataError, match=r"of category 'skeleton' \(id 2\) have 17 keypoints"):
        read_split(root, "train")


@pytest.mark.parametrize("entry", [None, 7, "person", {"id": 1}, {"name": "person"}, [1]])
def test_a_malformed_entry_of_the_categories_is_none(writer: CocoWriter, entry: Any) -> None:
    split = read_split(written(writer, [entry, category(2, "person")]), "train")
    assert persons(split) == [12]
    without = read_split(written(writer, [entry], of=()), "train")
    assert persons(without) == [11]
