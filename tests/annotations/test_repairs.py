"""What a file lacks and can be had from elsewhere: it is read, counted and said."""

import codecs
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import ANNOTATIONS, GONE, CocoWriter, edit, ids, two_persons

from kptrain.annotations import reasons
from kptrain.annotations.joints import read_joints
from kptrain.annotations.reader import Person, Split, describe, read_split
from kptrain.errors import DataError

NAN = math.nan
AREA = reasons.NO_AREA
BOX = reasons.BOX_OF_OUTLINE
BOX_OF_JOINTS = reasons.BOX_OF_JOINTS
CROWD = reasons.NO_CROWD
COUNT = reasons.OTHER_COUNT
NO_ID = reasons.NO_ID
TWICE = reasons.ID_TWICE
TEXT = reasons.TEXT_ID
NESTED = reasons.NESTED
CLIPPED = reasons.CLIPPED
OUTSIDE = reasons.OUTSIDE
NO_PLACE = reasons.NO_PLACE
FLAG = reasons.UNKNOWN_FLAG


def second(split: Split) -> Person:
    """The person that was changed; both are there."""
    (image,) = split.images
    first, other = image.persons
    assert first.id == 11
    return other


@pytest.mark.parametrize("area", [GONE, None, 0, -5.0, NAN, math.inf, "large", ""])
def test_an_area_that_is_missing_is_that_of_the_box(writer: CocoWriter, area: object) -> None:
    split = read_split(two_persons(writer, area=area), "train")
    assert second(split).area == 50.0 * 60.0
    assert split.skipped.repairs == {AREA: 1}
    assert split.skipped.first == {AREA: "annotation 12"}
    assert split.skipped.counts == {}


@pytest.mark.parametrize(("area", "read"), [(-5, 3000), (GONE, 3000), (NAN, 3000), (0, 0)])
@pytest.mark.parametrize("change", [{"iscrowd": 1}, {"keypoints": [], "num_keypoints": 0}])
def test_a_masked_area_that_is_missing_or_negative_is_that_of_the_box(
    writer: CocoWriter, area: object, read: float, change: dict[str, object]
) -> None:
    split = read_split(two_persons(writer, area=area, **change), "train")
    assert split.images[0].ignored[0].area == read
    assert sum(split.skipped.repairs.values()) == bool(read)
    assert "masked annotations without an area" in split.skipped.summary() or not read


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("area", "1500.0"),
        ("bbox", ["15", "15.0", 50, "60"]),
        ("iscrowd", "0"),
        ("iscrowd", False),
        ("iscrowd", "false"),
        ("iscrowd", "False"),
    ],
)
def test_numbers_written_as_text_are_numbers(writer: CocoWriter, key: str, value: object) -> None:
    split = read_split(two_persons(writer, **{key: value}), "train", strict=True)
    person = second(split)
    assert (person.area, person.box_xywh) == (1500.0, (15.0, 15.0, 50.0, 60.0))
    assert split.skipped.repairs == {}


@pytest.mark.parametrize("iscrowd", ["1", True, 1.0, "true", " TRUE"])
def test_a_crowd_is_one_however_its_flag_is_written(writer: CocoWriter, iscrowd: object) -> None:
    split = read_split(two_persons(writer, iscrowd=iscrowd), "train", strict=True)
    assert split.skipped.counts == {reasons.CROWD: 1}
    assert split.images[0].ignored[0].is_crowd


@pytest.mark.parametrize("iscrowd", [GONE, None, ""])
def test_without_iscrowd_it_is_no_crowd(writer: CocoWriter, iscrowd: object) -> None:
    split = read_split(two_persons(writer, iscrowd=iscrowd), "train", strict=True)
    assert second(split).id == 12
    assert split.skipped.repairs == {CROWD: 1}


@pytest.mark.parametrize(("given", "repairs"), [(GONE, {}), (None, {}), (0, {COUNT: 1})])
def test_the_keypoints_count_and_not_their_number(
    writer: CocoWriter, given: object, repairs: dict[str, int]
) -> None:
    split = read_split(two_persons(writer, num_keypoints=given), "train", strict=True)
    assert second(split).id == 12
    assert split.skipped.repairs == repairs


@pytest.mark.parametrize("box", [GONE, None, [1, 2, -3, 4], [20, 20, 0, 30]])
@pytest.mark.parametrize("crowd", [0, 1])
def test_a_box_that_is_missing_is_that_of_the_outline(
    writer: CocoWriter, box: object, crowd: int
) -> None:
    outline = [[20, 30, 60, 30, 60, 70, 20, 70]]
    split = read_split(two_persons(writer, bbox=box, segmentation=outline, iscrowd=crowd), "train")
    if crowd and box == [20, 20, 0, 30]:  # COCO has such; nothing is learnt of it
        assert split.images[0].ignored[0].box_xywh == (20.0, 20.0, 0.0, 30.0)
        assert split.skipped.repairs == {}
        return
    found = split.images[0].ignored[0] if crowd else second(split)
    assert found.box_xywh == (20.0, 30.0, 40.0, 40.0)
    assert split.skipped.repairs == {BOX: 1}


FOREIGN: list[Any] = [
    *(GONE, None, "text", [1, 2, 3], [1, NAN, 3, 4], [20, 20, 0, 30], [20, 20, 30, 0]),
    *([-60, -40, 10, 10], [130, 20, 20, 20], [20, 96, 50, 60], [0, 0, 3, 3]),
    *([30, 30, 1e-9, 40], [30, 30, 40, 0.5], [90, 15, 9, 60]),
]
"""None of it holds a joint of the writer's persons, which lie in 20 to 60 and 20 to 70."""


@pytest.mark.parametrize("box", FOREIGN)
@pytest.mark.parametrize("outline", [[], [[90, 80, 95, 80, 95, 90]]], ids=["none", "foreign"])
def test_a_box_without_the_persons_joints_is_that_of_the_joints(
    writer: CocoWriter, box: object, outline: object
) -> None:
    split = read_split(two_persons(writer, bbox=box, segmentation=outline, area=None), "train")
    assert second(split).box_xywh == (20.0, 20.0, 41.0, 51.0)
    assert second(split).area == 41.0 * 51.0
    assert split.skipped.repairs == {BOX_OF_JOINTS: 1, AREA: 1}


def test_a_box_that_is_near_the_persons_joints_is_kept(writer: CocoWriter) -> None:
    """Of COCO's val2017, person 2159429 has its only joint 8 px below its box."""
    joint = [80, 44, 1] + [0] * 48
    split = read_split(two_persons(writer, bbox=[2, 0, 102, 35], keypoints=joint), "train")
    assert second(split).box_xywh == (2.0, 0.0, 102.0, 35.0)
    assert BOX_OF_JOINTS not in split.skipped.repairs


@pytest.mark.parametrize("box", [[20, 20, 0, 30], [90, 80, 9, 9]])
def test_a_person_of_one_joint_and_a_box_without_it_is_masked(
    writer: CocoWriter, box: object
) -> None:
    split = read_split(two_persons(writer, bbox=box, keypoints=[30, 30, 2] + [0] * 48), "train")
    assert ids(split.images) == {1: [11]}
    assert split.skipped.counts == {reasons.EMPTY_BOX: 1}


@pytest.mark.parametrize("value", [GONE, None, 1.5, True, "", [1]])
def test_an_annotation_without_an_id_gets_one_of_its_own(writer: CocoWriter, value: object) -> None:
    split = read_split(two_persons(writer, id=value), "train")
    assert second(split).id == 1
    assert split.skipped.repairs == {NO_ID: 1}
    assert split.skipped.first == {NO_ID: "annotations[1]"}


def test_two_annotations_with_one_id_are_two_persons(writer: CocoWriter) -> None:
    writer.image("train", 1)
    writer.image("train", 2)
    for image in (1, 2):  # ids that begin anew with each image
        for number in (1, 2, 3):
            writer.person("train", image, number, area=100.0 * image + number)
    writer.person("train", 1, 4)
    split = read_split(writer.write(), "train")
    assert ids(split.images) == {1: [1, 2, 3, 4], 2: [5, 6, 7]}
    areas = [person.area for image in split.images for person in image.persons]
    assert areas == [101.0, 102.0, 103.0, 1500.0, 201.0, 202.0, 203.0]
    assert split.skipped.repairs == {TWICE: 3}
    assert split.skipped.first == {TWICE: "annotation 1"}


def test_an_annotation_that_is_repeated_whole_is_read_once(writer: CocoWriter) -> None:
    root = two_persons(writer)
    edit(root, lambda content: content["annotations"].extend(content["annotations"]))
    split = read_split(root, "train")
    assert ids(split.images) == {1: [11, 12]}
    assert split.skipped.counts == {reasons.TWICE: 2}


@pytest.mark.parametrize("other", ["b-7", -1, 2**100])
def test_ids_of_text_and_of_odd_numbers_lead_from_annotations_to_images(
    writer: CocoWriter, other: object
) -> None:
    def as_text(content: dict[str, Any]) -> None:
        for number, (image, annotation) in enumerate(
            zip(content["images"], content["annotations"], strict=True)
        ):
            image["id"] = annotation["image_id"] = ["3", other, "a-1"][number]
            annotation["id"] = ["11", "x", 1][number]

    for number in (1, 2, 3):
        writer.image("train", number)
        writer.person("train", number, number, area=float(number))
    root = writer.write()
    edit(root, as_text)
    split = read_split(root, "train", strict=True)
    assert ids(split.images) == {1: [2], 2: [1], 3: [11]}
    files = {image.path.name: image.persons[0].area for image in split.images}
    assert files == {f"{number:012d}.jpg": number for number in (1, 2, 3)}
    assert split.skipped.repairs == {TEXT: 3}


@pytest.mark.parametrize("own", [0, "0", "000", 0.0])
@pytest.mark.parametrize("named", [0, "0", 0.0])
def test_ids_begin_at_0_and_are_numbers_however_they_are_written(
    writer: CocoWriter, own: object, named: object
) -> None:
    def renumber(content: dict[str, Any]) -> None:
        content["images"][0]["id"] = own
        content["annotations"][0] |= {"image_id": named, "id": "0"}
        del content["annotations"][1]

    root = two_persons(writer)
    edit(root, renumber)
    assert ids(read_split(root, "train", strict=True).images) == {0: [0]}


@pytest.mark.parametrize("others", [("01", "001"), ("1", "01"), (1, "000000000001")])
def test_ids_that_differ_in_leading_zeros_alone_are_of_two_images(
    writer: CocoWriter, others: tuple[object, object]
) -> None:
    def rename(content: dict[str, Any]) -> None:
        pairs = zip(content["images"], content["annotations"], others, strict=True)
        for image, annotation, number in pairs:
            image["id"] = annotation["image_id"] = number

    for number in (1, 2):
        writer.image("train", number)
        writer.person("train", number, number, area=float(number))
    root = writer.write()
    edit(root, rename)
    images = read_split(root, "train", strict=True).images
    files = {image.path.name: image.persons[0].area for image in images}
    assert files == {f"{number:012d}.jpg": number for number in (1, 2)}


@pytest.mark.parametrize(("own", "named"), [("000000000009", 9), (9, "000000000009"), ("09", "9")])
def test_leading_zeros_are_nothing_where_no_other_image_has_the_number(
    writer: CocoWriter, own: object, named: object
) -> None:
    def rename(content: dict[str, Any]) -> None:
        content["images"][0]["id"] = own
        for annotation in content["annotations"]:
            annotation["image_id"] = named

    root = two_persons(writer)
    edit(root, rename)
    split = read_split(root, "train", strict=True)
    assert ids(split.images) == {9: [11, 12]}
    assert split.skipped.repairs == {}


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8, "utf-16", "utf-16-le", "utf-32"])
def test_a_file_in_another_encoding_is_read_to_the_same(
    writer: CocoWriter, mark: bytes | str
) -> None:
    path = two_persons(writer) / ANNOTATIONS
    before = read_split(writer.root, "train")
    text = path.read_text()
    path.write_bytes(mark + text.encode() if isinstance(mark, bytes) else text.encode(mark))
    after = read_split(writer.root, "train", strict=True)
    assert ids(after.images) == ids(before.images) == {1: [11, 12]}


def test_keypoints_with_a_list_for_each_are_the_same_as_in_one_list(writer: CocoWriter) -> None:
    root = two_persons(writer)
    before = second(read_split(root, "train")).keypoints

    def nest(content: dict[str, Any]) -> None:
        joints = content["annotations"][1]["keypoints"]
        content["annotations"][1]["keypoints"] = np.reshape(joints, (17, 3)).tolist()

    edit(root, nest)
    split = read_split(root, "train", strict=True)
    assert np.array_equal(second(split).keypoints, before)
    assert split.skipped.repairs == {NESTED: 1}


@pytest.mark.parametrize(("area", "doubts"), [(0.1, 1), (29, 1), (151, 0), (3000, 0), (12001, 1)])
def test_an_area_that_does_not_fit_its_box_is_reported_and_used_as_it_is(
    writer: CocoWriter, area: float, doubts: int
) -> None:
    split = read_split(two_persons(writer, area=area), "train", strict=True)
    assert second(split).area == area
    assert sum(split.skipped.doubts.values()) == doubts
    said = f"persons whose area does not fit their box (first: annotation 12, {area:g} in a box of"
    assert (said in describe("train", 1, 2, split.skipped)) == bool(doubts)
    assert split.skipped.repairs == split.skipped.counts == {}


def test_a_file_in_no_unicode_is_named(writer: CocoWriter) -> None:
    path = two_persons(writer) / ANNOTATIONS
    path.write_bytes(path.read_text().replace("person", "größe").encode("latin-1"))
    with pytest.raises(DataError, match=r"must be JSON in UTF-8, but .*; save it as UTF-8"):
        read_split(writer.root, "train")


SIZE = (96, 128)
"""Of the writer's images."""


@pytest.mark.parametrize(
    ("joint", "read", "reason"),
    [
        ((-0.4, 30, 2), (0, 30, 2), CLIPPED),
        ((128.4, 30, 1), (128, 30, 1), CLIPPED),
        ((30, 97, 2), (30, 96, 2), CLIPPED),
        ((-1, -1, 2), (0, 0, 2), CLIPPED),
        ((-1.01, 30, 2), (0, 0, 0), OUTSIDE),
        ((30, 97.5, 2), (0, 0, 0), OUTSIDE),
        ((1e30, 30, 2), (0, 0, 0), OUTSIDE),
        ((NAN, 30, 2), (0, 0, 0), NO_PLACE),
        ((None, None, 1), (0, 0, 0), NO_PLACE),
        ((30, math.inf, 2), (0, 0, 0), NO_PLACE),
        ((10**400, 30, 2), (0, 0, 0), NO_PLACE),
        ((30, 30, 3), (0, 0, 0), FLAG),
        ((30, 30, -1), (0, 0, 0), FLAG),
        ((30, 30, None), (0, 0, 0), FLAG),
        ((30, 30, 0.9), (0, 0, 0), FLAG),
        ((0, 0, 2), (0, 0, 2), None),
        ((128, 96, 2), (128, 96, 2), None),
        (("30.5", "4", "2"), (30.5, 4, 2), None),
        ((30, 40, 0), (30, 40, 0), None),
        ((NAN, NAN, 0), (0, 0, 0), None),
        ((-50, 1e300, 0), (0, 0, 0), None),
        ((None, "?", 0), (0, 0, 0), None),
    ],
)
def test_what_is_unsound_in_a_joint_costs_the_joint_and_not_the_person(
    writer: CocoWriter, joint: Any, read: tuple[float, ...], reason: str | None
) -> None:
    sound = [20.0, 25.0, 2.0]
    keypoints = [*sound * 4, *joint, *sound * 12]
    split = read_split(two_persons(writer, keypoints=keypoints, num_keypoints=GONE), "train")
    found = second(split).keypoints
    assert found[4].tolist() == list(read)
    assert np.delete(found, 4, axis=0).tolist() == [sound] * 16
    assert split.skipped.counts + split.skipped.repairs == ({} if reason is None else {reason: 1})
    assert (split.skipped.counts == {}) == (reason in (None, CLIPPED))


@pytest.mark.parametrize("joint", [(-9, 9, 2), (NAN, 9, 2), (9, 9, 3)])
def test_a_person_with_no_sound_joint_is_masked(writer: CocoWriter, joint: Any) -> None:
    split = read_split(two_persons(writer, keypoints=[*joint] * 17), "train")
    assert ids(split.images) == {1: [11]}
    assert len(split.images[0].ignored) == 1
    assert sorted(split.skipped.counts.values()) == [1, 17]


def test_sound_joints_are_read_as_they_are() -> None:
    draw = np.random.default_rng(1)
    for _ in range(50):
        joints = np.stack((draw.random(17) * 128, draw.random(17) * 96, draw.integers(0, 3, 17)), 1)
        found, faults = read_joints(joints.flatten().tolist(), SIZE)
        assert np.array_equal(found, joints)
        assert not faults


UNSOUND = {
    "area": None,
    "id": 11,
    "keypoints": [-0.4, 30, 2] * 17,
    "bbox": None,
}
SOUND = {"iscrowd": None, "num_keypoints": 3, "id": "twelve", "area": "1500"}


@pytest.mark.parametrize("key", [*UNSOUND])
def test_strict_refuses_what_is_guessed(writer: CocoWriter, key: str) -> None:
    outline = [[20, 30, 60, 30, 60, 70, 20, 70]]
    root = two_persons(writer, **{"segmentation": outline, key: UNSOUND[key]})
    assert len(read_split(root, "train").images[0].persons) == 2
    with pytest.raises(DataError, match=r"json: must have no .* where data\.strict is true"):
        read_split(root, "train", strict=True)


@pytest.mark.parametrize("key", [*SOUND])
def test_strict_takes_what_can_mean_only_one_thing(writer: CocoWriter, key: str) -> None:
    split = read_split(two_persons(writer, **{key: SOUND[key]}), "train", strict=True)
    assert split.num_persons == 2


def test_a_description_says_what_was_repaired(writer: CocoWriter) -> None:
    split = read_split(two_persons(writer, area=None, iscrowd=None), "train")
    assert describe("train", 1, 2, split.skipped).endswith(
        f": 1 {CROWD} (first: annotation 12), 1 {AREA} (first: annotation 12)"
    )


def test_keypoints_as_shares_of_the_image_are_refused(writer: CocoWriter) -> None:
    shares = [0.25, 0.5, 2] * 17
    root = two_persons(writer, keypoints=shares)
    assert ids(read_split(root, "train").images) == {1: [11, 12]}
    edit(root, lambda content: content["annotations"][0].update(keypoints=[0, 1.0, 1] * 17))
    with pytest.raises(DataError, match=r"train2017\.json: must have keypoints in pixels"):
        read_split(root, "train")


def write_ids(root: Path, *numbers: object) -> None:
    """Give the images of a training split ids, in their order."""

    def change(content: dict[str, Any]) -> None:
        for record, number in zip(content["images"], numbers, strict=True):
            record["id"] = number

    edit(root, change)


def test_images_that_share_an_id_are_left_out_as_their_annotations_could_be_of_either(
    writer: CocoWriter,
) -> None:
    for number in (1, 2, 3):
        writer.image("train", number)
        writer.person("train", number, 10 * number)
    root = writer.write()
    write_ids(root, 1, 1, 3)
    split = read_split(root, "train")
    assert ids(split.images) == {3: [30]}
    assert split.skipped.counts == {
        reasons.IMAGE_ID_TWICE: 2,
        reasons.OF_SKIPPED: 1,
        reasons.NOT_LISTED: 1,
    }
    with pytest.raises(DataError, match=r"image 1, 000000000001\.jpg and 000000000002\.jpg"):
        read_split(root, "train", strict=True)


def test_json_lists_are_named(writer: CocoWriter) -> None:
    path = two_persons(writer) / ANNOTATIONS
    path.write_text(json.dumps([1]))
    with pytest.raises(DataError, match="has no list 'images'"):
        read_split(writer.root, "train")


@pytest.mark.parametrize("name", ["a\nb\x1b[31m.jpg", "long" * 1250 + ".jpg"])
def test_a_name_is_printed_in_one_line_and_shortened(writer: CocoWriter, name: str) -> None:
    for number in (1, 2):
        writer.image("train", number)
        writer.person("train", number, number)
    root = writer.write()
    edit(root, lambda content: content["images"][1].update(file_name=name))
    (said,) = read_split(root, "train").skipped.first.values()
    assert said.isprintable()
    assert said.endswith(".jpg")
    assert len(said) < 250
