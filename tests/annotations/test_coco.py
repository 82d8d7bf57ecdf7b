"""COCO's annotations: both layouts, every reason to leave something out, and what is not COCO."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import ANNOTATIONS, GONE, CocoWriter, edit, ids, to_fiftyone, two_persons
from hypothesis import given, settings
from hypothesis.strategies import integers
from pycocotools import mask as coco_mask

from kptrain.annotations import reasons
from kptrain.annotations.boxes import draw_outline, is_outline
from kptrain.annotations.reader import CocoImage, describe, read_split
from kptrain.annotations.skipped import Skipped
from kptrain.errors import DataError
from kptrain.files.layout import SplitName
from kptrain.resolve import find_root

NAN = math.nan
ENDLESS = 10**400
UNLABELLED = reasons.UNLABELLED


def content(image: CocoImage) -> tuple[Any, ...]:
    people = [vars(one) | {"keypoints": one.keypoints.tolist()} for one in image.persons]
    people += [vars(one) | {"keypoints": one.keypoints.tolist()} for one in image.ignored]
    return image.id, image.path.name, image.path.read_bytes(), image.size, people


def test_both_layouts_are_read_to_the_same_content(writer: CocoWriter) -> None:
    splits: tuple[SplitName, ...] = ("train", "val")
    for number, split in enumerate(splits):
        writer.image(split, 10 + number)
        writer.person(split, 10 + number, 100 + number)
        writer.person(split, 10 + number, 200 + number, iscrowd=1)
    root = writer.write()
    before = {split: read_split(root, split) for split in splits}
    kept = {split: [content(image) for image in before[split].images] for split in splits}
    to_fiftyone(root)
    assert not (root / "annotations").exists()
    for split in splits:
        after = read_split(root, split)
        assert [content(image) for image in after.images] == kept[split]
        assert after.skipped == before[split].skipped
    assert kept["train"] != kept["val"]


def test_an_image_and_a_person_are_as_annotated(writer: CocoWriter) -> None:
    joints = np.array([[3.0 * joint, 5.5, joint % 3] for joint in range(17)])
    keypoints, box = joints.flatten().tolist(), [1.5, 2, 30.25, 20]
    writer.image("train", 7, size=(40, 60))
    writer.person("train", 7, 71, keypoints=keypoints, num_keypoints=11, bbox=box, area=321.5)
    split = read_split(writer.write(), "train")
    (image,) = split.images
    (person,) = image.persons
    assert (image.id, image.size, image.ignored) == (7, (40, 60), ())
    assert image.path == writer.root / "train2017" / "000000000007.jpg"
    assert (person.id, person.box_xywh, person.area) == (71, (1.5, 2.0, 30.25, 20.0), 321.5)
    assert np.array_equal(person.keypoints, joints)
    assert (split.name, split.skipped, split.num_persons) == ("train", Skipped(), 1)


def test_images_come_by_id_and_their_persons_in_the_order_of_the_file(writer: CocoWriter) -> None:
    for image, persons in ((30, (303, 301)), (4, (41,)), (200, (2, 1))):
        writer.image("train", image)
        for person in persons:
            writer.person("train", image, person)
    images = read_split(writer.write(), "train").images
    assert list(ids(images).items()) == [(4, [41]), (30, [303, 301]), (200, [2, 1])]


@pytest.mark.parametrize(
    ("split", "images", "persons", "crowds", "unlabelled"),
    [("train", 115, 324, 10, 115), ("val", 84, 236, 9, 125)],
)
def test_the_sample_of_coco_is_counted_as_it_is(
    coco_sample: Path, split: SplitName, images: int, persons: int, crowds: int, unlabelled: int
) -> None:
    found = read_split(coco_sample, split)
    assert (len(found.images), found.num_persons) == (images, persons)
    assert found.skipped.counts == {reasons.CROWD: crowds, UNLABELLED: unlabelled}
    assert found.skipped.repairs == {}
    assert sum(len(image.ignored) for image in found.images) == crowds + unlabelled


def test_where_neither_layout_is_there_the_error_names_both(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read_split(tmp_path, "val")
    for part in (
        str(tmp_path),
        "val split",
        "annotations/person_keypoints_val2017.json and val2017",
        "raw/person_keypoints_val2017.json and validation/data",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["train/_annotations.coco.json"], "found train/_annotations.coco.json: move"),
        (["annotations/person_keypoints_default.json"], "person_keypoints_default.json: move"),
        (["valid/a.json", "train/b.json"], "found train/b.json: move"),
        (["coco/annotations/person_keypoints_train2017.json"], "{root}/coco: name that folder"),
        (["raw/person_keypoints_train2017.json"], "but no folder train/data: move"),
        ([], "there is no .json file below"),
    ],
)
def test_what_could_be_the_annotations_is_named_with_where_they_belong(
    tmp_path: Path, files: list[str], said: str
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
        (tmp_path / file).parents[1].joinpath("train2017").mkdir(exist_ok=True)
    with pytest.raises(DataError) as error:
        read_split(tmp_path, "train")
    assert said.format(root=tmp_path) in str(error.value)
    assert (f"to {ANNOTATIONS}, and" in str(error.value)) == ("found" in said or "default" in said)


def test_an_annotation_file_is_no_folder_and_the_one_to_name_is_given(writer: CocoWriter) -> None:
    path = two_persons(writer) / ANNOTATIONS
    with pytest.raises(DataError, match=r"train2017\.json' is a file; name the folder that holds"):
        find_root(str(path))


def test_a_missing_split_is_named(writer: CocoWriter) -> None:
    root = two_persons(writer)
    assert len(read_split(root, "train").images) == 1
    with pytest.raises(DataError, match="must hold the val split"):
        read_split(root, "val")


def test_annotations_without_their_image_folder_are_not_a_layout(writer: CocoWriter) -> None:
    root = two_persons(writer)
    (root / "train2017").rename(root / "elsewhere")
    with pytest.raises(DataError, match="neither layout is there"):
        read_split(root, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "must be readable JSON, but is empty"),
        (b"\n<html>not found</html>", "must be readable JSON, but is a web page"),
        (b"\xff\xfe\x00\x80", "must be readable JSON"),
        (b"[1, 2]", "has no list 'images'"),
        (b'{"images": []}', "has no list 'annotations'"),
        (b'{"images": [], "annotations": {"1": 2}}', "has no list 'annotations'"),
        (b'{"images": null, "annotations": []}', "has no list 'images'"),
        (b"[" * 100_000, "must be readable JSON, but is nested too deeply"),
        (b"null", "it is null; convert it"),
        (b'[{"image_id": 1, "score": 1}]', "first is a mapping with image_id (a number), score"),
        (b'{"coco": {"images": [], "annotations": []}}', "'coco'"),
        (b"\x1f\x8b\x08\x00", "is compressed (gzip); unpack it"),
        (b"PK\x03\x04\x14", "is compressed (zip); unpack it"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b'<?xml version="1.0"?><annotations/>', "is XML; export it as COCO keypoints"),
        (b"\0" * 9, "is empty"),
        # Python 3.13 names the comma, others what follows it.
        (b'{"images": [],\n "annotations": [1,]}', "line 2 column "),
        (b'{"images": [], // none\n "annotations": []}', "line 1 column 16: "),
        (b"{'images': []}", "line 1 column 2: "),
        (b'{"images": [1' + b"0" * 5000 + b"]}", "has a number of more digits than any id"),
    ],
)
def test_a_file_that_is_not_cocos_json_is_named(
    writer: CocoWriter, text: bytes, message: str
) -> None:
    path = two_persons(writer) / ANNOTATIONS
    path.write_bytes(text)
    with pytest.raises(DataError) as error:
        read_split(writer.root, "train")
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}: must be")
    assert "\n" not in str(error.value)
    assert ("correct it there" in str(error.value)) == ("line" in message)
    assert "set_int_max_str_digits" not in str(error.value)


def test_half_a_file_is_named(writer: CocoWriter) -> None:
    path = two_persons(writer) / ANNOTATIONS
    whole = path.read_bytes()
    for size in range(1, len(whole), len(whole) // 20):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="must be readable JSON, but is cut short"):
            read_split(writer.root, "train")


def test_without_any_labelled_person_the_error_counts_what_was_there(writer: CocoWriter) -> None:
    for number in (1, 2, 3):
        writer.image("train", number)
    writer.person("train", 1, 11, keypoints=[0] * 51)
    writer.person("train", 2, 21, iscrowd=1)
    with pytest.raises(DataError) as error:
        read_split(writer.write(), "train")
    message = str(error.value)
    assert f"{writer.root / ANNOTATIONS}: must hold a person with a labelled keypoint" in message
    assert "of 3 images none has one" in message
    for count in ("3 images without a labelled keypoint", "1 crowds (masked)", f"1 {UNLABELLED}"):
        assert count in message


def test_keypoints_as_shares_of_the_image_are_refused(writer: CocoWriter) -> None:
    writer.image("train", 1)
    for number in (1, 2):
        writer.person("train", 1, number, keypoints=[0.25, 0.5, 2] * 17)
    with pytest.raises(DataError, match=r"train2017\.json: must have keypoints in pixels"):
        read_split(writer.write(), "train")


def test_boxes_as_shares_of_the_image_are_those_of_the_joints(writer: CocoWriter) -> None:
    writer.image("train", 1)
    writer.person("train", 1, 1, bbox=[0.1, 0.2, 0.5, 0.75])
    ((person,),) = (image.persons for image in read_split(writer.write(), "train").images)
    assert person.box_xywh == (20.0, 20.0, 41.0, 51.0)


def test_a_file_that_lists_nothing_is_named(writer: CocoWriter) -> None:
    path = two_persons(writer) / ANNOTATIONS
    path.write_text('{"images": [], "annotations": []}')
    with pytest.raises(DataError, match="of 0 images"):
        read_split(writer.root, "train")


JOINTS = [30.0, 30.0, 2.0] * 17
UNREAD: list[tuple[str, str, list[object]]] = [
    (reasons.NOT_LISTED, "image_id", [GONE, None, [1], "one", 99, True]),
    (reasons.NO_BOX, "bbox", [GONE, None, []]),
    (reasons.MALFORMED_BOX, "bbox", [7, "text", [1, 2, 3]]),
    (reasons.MALFORMED_BOX, "bbox", [[1, 2, 3, "four"], [1, 2, None, 4]]),
    (reasons.MALFORMED_BOX, "bbox", [[1, NAN, 3, 4], [1, 2, math.inf, 4]]),
    (reasons.MALFORMED_BOX, "bbox", [[ENDLESS, 2, 3, 4], [1, 2, -3, 4]]),
    (reasons.MALFORMED_BOX, "bbox", [[1, 2, 50_000, 9], [1, 2, 9, 50_000]]),
    (reasons.MALFORMED_BOX, "bbox", [[-50_000, 2, 9, 9], [1, -50_000, 9, 9]]),
    (reasons.MALFORMED_BOX, "bbox", [[-60, -40, 10, 10], [-9, 9, 9, 9]]),
    (reasons.MALFORMED_BOX, "bbox", [[128, 9, 9, 9], [9, 96, 9, 9]]),
]
"""Of these not even the place is known."""
MASKED: list[tuple[str, str, list[object]]] = [
    (reasons.NOT_17, "keypoints", [[2] * 50, [2] * 54, [2] * 15, [[2, 2, 2]] * 16]),
    (reasons.MALFORMED_KEYPOINTS, "keypoints", [{"nose": [1, 2, 2]}, 7, "a" * 51]),
    (
        reasons.MALFORMED_CROWD,
        "iscrowd",
        ["no", [1], {"a": 1}, NAN, -1, 0.5, 2, "2"],
    ),
]


def each(
    malformed: list[tuple[str, str, list[object]]],
) -> list[tuple[str, str, object]]:
    return [(reason, key, value) for reason, key, values in malformed for value in values]


@pytest.mark.parametrize(("reason", "key", "value"), each(UNREAD))
def test_an_annotation_that_cannot_be_read_is_left_out_and_counted(
    writer: CocoWriter, reason: str, key: str, value: object
) -> None:
    one_joint = [30, 30, 2] + [0] * 48  # which is no place
    split = read_split(two_persons(writer, keypoints=one_joint, **{key: value}), "train")
    assert split.skipped.counts == {reason: 1}
    assert split.skipped.first[reason] == "annotation 12"
    assert ids(split.images) == {1: [11]}
    assert split.images[0].ignored == ()


@pytest.mark.parametrize(("reason", "key", "value"), each(MASKED))
def test_a_person_of_whom_the_place_alone_is_sound_is_masked_and_counted(
    writer: CocoWriter, reason: str, key: str, value: object
) -> None:
    split = read_split(two_persons(writer, **{key: value}), "train")
    assert split.skipped.counts == {reason: 1}
    assert split.skipped.first[reason].startswith("annotation 12")
    assert ids(split.images) == {1: [11]}
    assert [region.segmentation for region in split.images[0].ignored] == [[]]


@pytest.mark.parametrize(("reason", "key", "value"), [each(UNREAD)[0], each(MASKED)[0]])
def test_strict_refuses_at_the_first_that_is_unsound(
    writer: CocoWriter, reason: str, key: str, value: object
) -> None:
    root = two_persons(writer, **{key: value})
    with pytest.raises(DataError) as error:
        read_split(root, "train", strict=True)
    assert str(error.value).startswith(f"{root / ANNOTATIONS}: must have no {reason}")
    assert "has annotation 12" in str(error.value)


def test_strict_takes_what_coco_has_crowds_other_categories_and_unlabelled_persons(
    writer: CocoWriter,
) -> None:
    writer.image("train", 2)
    writer.person("train", 2, 21, iscrowd=1, keypoints=[0] * 51)
    writer.person("train", 2, 22, keypoints=[0] * 51)
    split = read_split(two_persons(writer, category_id=2), "train", strict=True)
    assert sum(split.skipped.counts.values()) == 4
    assert split.skipped.fault is None


@pytest.mark.parametrize("category", [2, "person", [1]])
def test_an_annotation_of_another_category_is_left_out_and_counted(
    writer: CocoWriter, category: object
) -> None:
    split = read_split(two_persons(writer, category_id=category), "train")
    assert split.skipped.counts == {reasons.OTHER_CATEGORY: 1}


@pytest.mark.parametrize("annotation", [None, "person", 12, [12]])
def test_an_annotation_that_is_no_mapping_is_left_out_and_counted(
    writer: CocoWriter, annotation: object
) -> None:
    root = two_persons(writer)
    edit(root, lambda content: content["annotations"].append(annotation))
    split = read_split(root, "train")
    assert split.skipped.counts == {reasons.NOT_A_MAPPING: 1}
    assert ids(split.images) == {1: [11, 12]}


@pytest.mark.parametrize("keypoints", [GONE, None, [], [0] * 51, [30.0, 30.0, 0] * 17])
def test_a_person_without_a_labelled_keypoint_is_masked_and_counted(
    writer: CocoWriter, keypoints: object
) -> None:
    outline = [[1, 1, 20, 1, 20, 20]]
    changes = {"keypoints": keypoints, "segmentation": outline, "iscrowd": GONE, "area": GONE}
    split = read_split(two_persons(writer, **changes), "train")
    assert split.skipped.counts == {UNLABELLED: 1}
    assert ids(split.images) == {1: [11]}
    (ignored,) = split.images[0].ignored
    assert (ignored.segmentation, ignored.box_xywh) == (outline, (15.0, 15.0, 50.0, 60.0))


def test_a_crowd_is_masked_and_counted_even_with_keypoints(writer: CocoWriter) -> None:
    outline = {"size": [96, 128], "counts": [0, 96 * 128]}
    split = read_split(two_persons(writer, iscrowd=1, segmentation=outline), "train")
    assert split.skipped.counts == {reasons.CROWD: 1}
    assert ids(split.images) == {1: [11]}
    assert split.images[0].ignored[0].segmentation == outline


@pytest.mark.parametrize(
    "outline",
    [
        7,
        "text",
        [[]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, NAN]],
        [[1, 2, 3, 4, 5, "6"]],
        [1, 2, 3, 4, 5, 6],
        {"size": [96, 128]},
        {"counts": [0, 12288]},
        {"size": 12288, "counts": [0, 12288]},
        {"size": [96, 128], "counts": [0, -12288]},
        {"size": [96, 128], "counts": [0, "12288"]},
        {"size": [96, 128], "counts": 12288},
        {"size": [9, 9], "counts": [0, 81]},
        {"size": [8 * 10**9, 10**9], "counts": [0, 4]},
        {"size": [96, 128], "counts": [0, 12289]},
        {"size": [96, 128], "counts": [0, 2**40]},
        {"size": [96, 128], "counts": "not run lengths"},
        {"size": [96, 128], "counts": "o" * 1000},
        {"size": [96, 128], "counts": ""},
        {"size": [96, 128], "counts": "0P20"},
        [[1e9, 2, 3, 4, 5, 6]],
        [[1, 2, 3, 4, 5, 6, 7]],
    ],
)
def test_a_malformed_outline_is_counted_and_its_box_is_masked(
    writer: CocoWriter, outline: object
) -> None:
    split = read_split(two_persons(writer, iscrowd=1, segmentation=outline), "train")
    assert split.skipped.counts == {reasons.CROWD: 1, reasons.MALFORMED_OUTLINE: 1}
    assert split.images[0].ignored[0].segmentation == []


def test_images_without_a_labelled_keypoint_and_without_a_file_are_counted_apart(
    writer: CocoWriter,
) -> None:
    for number in range(1, 7):
        path = writer.image("train", number)
        if number in (1, 2, 3):
            writer.person("train", number, 10 * number)
        if number in (3, 5):
            path.unlink()
    split = read_split(writer.write(), "train")
    assert ids(split.images) == {1: [10], 2: [20]}
    assert split.skipped.counts == {
        reasons.NO_PERSON: 3,
        reasons.NO_FILE: 1,
    }


@pytest.mark.parametrize("name", ["../outside.jpg", "other/inside.jpg", "{root}/outside.jpg", ".."])
def test_a_file_name_that_leaves_its_folder_counts_as_missing(
    writer: CocoWriter, name: str
) -> None:
    writer.image("train", 2)
    writer.person("train", 2, 21)
    root = two_persons(writer)
    picture = root / "train2017" / "000000000002.jpg"
    (root / "train2017" / "sub").mkdir()
    for other in (root / "outside.jpg", root / "train2017" / "sub" / "inside.jpg"):
        other.write_bytes(picture.read_bytes())

    def rename(content: dict[str, Any]) -> None:
        content["images"][0]["file_name"] = name.format(root=root)

    edit(root, rename)
    split = read_split(root, "train")
    assert ids(split.images) == {1: [11, 12]}
    assert split.skipped.counts == {reasons.NO_FILE: 1}


def test_a_folder_and_a_dangling_link_count_as_missing(writer: CocoWriter) -> None:
    for number in (2, 3):
        path = writer.image("train", number)
        writer.person("train", number, 10 * number)
        path.unlink()
        path.mkdir() if number == 2 else path.symlink_to(writer.root / "moved.jpg")
    split = read_split(two_persons(writer), "train")
    assert ids(split.images) == {1: [11, 12]}
    assert split.skipped.counts == {reasons.NO_FILE: 2}


NO_IMAGE_ID = reasons.NO_IMAGE_ID
NO_NAME = reasons.NO_NAME
NO_SIZE = reasons.NO_SIZE


@pytest.mark.parametrize(
    ("reason", "key", "value"),
    [
        (NO_IMAGE_ID, "id", GONE),
        (NO_IMAGE_ID, "id", ""),
        (NO_IMAGE_ID, "id", True),
        (NO_IMAGE_ID, "id", 1.5),
        (NO_NAME, "file_name", GONE),
        (NO_NAME, "file_name", None),
        (NO_NAME, "file_name", ["a.jpg"]),
        (NO_SIZE, "height", GONE),
        (NO_SIZE, "height", 0),
        (NO_SIZE, "width", None),
        (NO_SIZE, "width", "wide"),
        (NO_SIZE, "width", NAN),
        (NO_SIZE, "width", 128.5),
    ],
)
def test_an_image_without_id_name_or_size_is_left_out_and_counted(
    writer: CocoWriter, reason: str, key: str, value: object
) -> None:
    root = two_persons(writer)
    record = {"id": 2, "file_name": "000000000001.jpg", "height": 96, "width": 128} | {key: value}
    sound = {name: entry for name, entry in record.items() if entry is not GONE}
    edit(root, lambda content: content["images"].append(sound))
    split = read_split(root, "train")
    assert ids(split.images) == {1: [11, 12]}
    assert split.skipped.counts == {reason: 1}


@pytest.mark.parametrize("record", [None, "1.jpg", 12, [12]])
def test_an_image_that_is_no_mapping_is_left_out_and_counted(
    writer: CocoWriter, record: object
) -> None:
    root = two_persons(writer)
    edit(root, lambda content: content["images"].insert(0, record))
    assert str(read_split(root, "train").skipped) == ("1 images without an id (first: images[0])")


def test_an_image_listed_twice_is_read_once_and_counted(writer: CocoWriter) -> None:
    root = two_persons(writer)
    edit(root, lambda content: content["images"].extend(content["images"]))
    split = read_split(root, "train")
    assert [image.id for image in split.images] == [1]
    assert split.skipped.counts == {reasons.IMAGE_TWICE: 1}


def test_a_description_says_what_was_found_and_what_was_left_out() -> None:
    skipped = Skipped()
    assert describe("val", 2346, 6352, skipped) == "val: 2,346 images with 6,352 labelled persons"
    for which in ("3", "4"):
        skipped.add("b", which, Path("b.json"))
    skipped.count("a", 1200)
    skipped.count("c", 0)
    assert describe("val", 1, 2, skipped).startswith("val: 1 images with 2 labelled persons; ")
    assert describe("val", 1, 2, skipped).endswith(": 1,200 a, 2 b (first: 3)")


def test_an_image_that_is_annotated_as_larger_than_any_is_left_out_before_it_is_drawn(
    writer: CocoWriter,
) -> None:
    root = two_persons(writer)
    record = {"id": 2, "file_name": "000000000001.jpg", "height": 10**6, "width": 10**6}
    edit(root, lambda content: content["images"].append(record))
    assert str(read_split(root, "train").skipped) == (
        "1 images too large to be real (first: image 2, 000000000001.jpg)"
    )


@settings(max_examples=60, deadline=None)
@given(seed=integers(0, 2**32))
def test_whatever_runs_an_outline_claims_it_is_drawn_or_refused(seed: int) -> None:
    """pycocotools writes beyond its memory at runs that do not fit the size."""
    draw = np.random.default_rng(seed)
    size = (int(draw.integers(1, 40)), int(draw.integers(1, 40)))
    mask = np.asfortranarray(draw.random(size) < draw.random(), dtype=np.uint8)
    runs = coco_mask.encode(mask)["counts"].decode()
    assert is_outline({"size": list(size), "counts": runs}, size)
    assert np.array_equal(draw_outline({"size": list(size), "counts": runs}, size), mask)
    spoiled = list(runs)
    for _ in range(draw.integers(1, 4)):
        spoiled[draw.integers(len(spoiled))] = chr(draw.integers(40, 120))
    outline = {"size": list(size), "counts": "".join(spoiled[: draw.integers(1, 200)])}
    if is_outline(outline, size):
        assert draw_outline(outline, size).shape == size
