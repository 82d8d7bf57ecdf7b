"""Which file an image's `file_name` means."""

import errno
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from coco_files import CocoWriter, edit

from kptrain.annotations import reasons
from kptrain.annotations.reader import read_split
from kptrain.errors import DataError
from kptrain.files.file_names import FileNames, files_below

BY_END = reasons.BY_END
MISSING = reasons.NO_FILE
SEVERAL = reasons.SEVERAL_FILES
SHARED = reasons.SHARED_FILE


def written(writer: CocoWriter, **names: str) -> Path:
    """Image n has its file at the first name below the folder, and the second in the annotations;
    by keyword: of the file, as it is written."""
    for number, path in enumerate(names, start=1):
        picture = writer.image("train", number)
        writer.person("train", number, 10 * number)
        target = picture.parent / path
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.rename(target)
    root = writer.write()

    def rename(content: dict[str, Any]) -> None:
        for record, name in zip(content["images"], names.values(), strict=True):
            record["file_name"] = name.format(root=root)

    edit(root, rename)
    return root


def found(root: Path) -> dict[int, str]:
    split = read_split(root, "train")
    return {image.id: str(image.path.relative_to(root / "train2017")) for image in split.images}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("a.jpg", "./a.jpg"),
        ("cam 1/a.jpg", "cam 1/a.jpg"),
        ("cam 1/a.jpg", ".\\cam 1\\a.jpg"),
        ("cam 1/b/a.jpg", "cam 1//b/./a.jpg"),
        ("cam 1/a.jpg", "cam%201/a.jpg"),
        ("cam%201.jpg", "cam%201.jpg"),
        ("100%.jpg", "100%.jpg"),
        ("a.jpg", "/a.jpg"),
        ("a.jpg", "train2017/a.jpg"),
        ("cam/a.jpg", "coco\\train2017\\cam\\a.jpg"),
        ("a.jpg", "{root}/train2017/a.jpg"),
        ("A.JPG", "a.jpg"),
        (unicodedata.normalize("NFD", "größe.jpg"), unicodedata.normalize("NFC", "größe.jpg")),
    ],
)
def test_a_path_below_the_folder_is_found_however_it_is_spelt(
    writer: CocoWriter, path: str, name: str
) -> None:
    root = written(writer, **{path: name, "other.jpg": "other.jpg"})
    assert found(root) == {1: path, 2: "other.jpg"}
    assert read_split(root, "train", strict=True).skipped.repairs == {}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.jpg", "/home/me/data/a.jpg"),
        ("a.jpg", "C:\\Users\\me\\data\\a.jpg"),
        ("a.jpg", "val2017/a.jpg"),
        ("a.jpg", "../../pictures/a.jpg"),
        ("a.jpg", "s3://bucket/data/a.jpg"),
        ("cam/a.jpg", "/data/local-files/?d=set/cam/a.jpg"),
        ("cam/a.jpg", "/home/me/cam/a.jpg"),
        ("cam/a.jpg", "a.jpg"),
    ],
)
def test_a_path_of_another_folder_is_found_by_its_end_and_that_is_reported(
    writer: CocoWriter, path: str, name: str
) -> None:
    root = written(writer, **{path: name, "other.jpg": "other.jpg"})
    assert found(root) == {1: path, 2: "other.jpg"}
    skipped = read_split(root, "train").skipped
    assert skipped.repairs == {BY_END: 1}
    assert skipped.first[BY_END] == f"{name.format(root=root)}, found as {path}"
    with pytest.raises(DataError, match=f"train2017: must have no {BY_END}"):
        read_split(root, "train", strict=True)


def test_the_longest_end_that_fits_is_the_file(writer: CocoWriter) -> None:
    names = {"one/a.jpg": "/set/one/a.jpg", "two/a.jpg": "/set/two/a.jpg", "a.jpg": "a.jpg"}
    assert found(written(writer, **names)) == dict(enumerate(names, start=1))


def test_a_name_that_fits_several_files_is_left_out(writer: CocoWriter) -> None:
    root = written(writer, **{"one/a.jpg": "a.jpg", "two/a.jpg": "two/a.jpg"})
    assert found(root) == {2: "two/a.jpg"}
    assert read_split(root, "train").skipped.counts == {SEVERAL: 1}


def test_a_file_of_another_folder_of_that_name_is_not_taken(writer: CocoWriter) -> None:
    root = written(writer, **{"one/a.jpg": "two/a.jpg", "b.jpg": "b.jpg"})
    assert found(root) == {2: "b.jpg"}
    assert read_split(root, "train").skipped.counts == {MISSING: 1}


def test_a_file_that_two_images_would_share_by_their_ends_is_neithers(writer: CocoWriter) -> None:
    names = {"a.jpg": "one/a.jpg", "b.jpg": "two/a.jpg", "c.jpg": "c.jpg"}
    root = written(writer, **names)
    assert found(root) == {3: "c.jpg"}
    skipped = read_split(root, "train").skipped
    assert skipped.counts == {SHARED: 2}
    assert skipped.first[SHARED] == "one/a.jpg, found as a.jpg"


def test_a_file_that_is_listed_under_two_ids_is_reported(writer: CocoWriter) -> None:
    root = written(writer, **{"a.jpg": "a.jpg", "b.jpg": "b.jpg", "c.jpg": "c.jpg"})

    def share(content: dict[str, Any]) -> None:
        content["images"][1]["file_name"] = "./a.jpg"

    edit(root, share)
    assert found(root) == {1: "a.jpg", 2: "a.jpg", 3: "c.jpg"}
    skipped = read_split(root, "train", strict=True).skipped
    assert skipped.doubts == {reasons.SAME_FILE: 2}
    assert f"{reasons.SAME_FILE} (first: a.jpg, id 1)" in skipped.summary()


def test_a_link_to_a_folder_is_followed_and_one_to_a_folder_above_is_not(
    writer: CocoWriter, tmp_path: Path
) -> None:
    root = written(writer, **{"a.jpg": "a.jpg", "b.jpg": "linked/b.jpg"})
    folder = root / "train2017"
    (tmp_path / "elsewhere").mkdir()
    (folder / "b.jpg").rename(tmp_path / "elsewhere" / "b.jpg")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "elsewhere")
    (folder / "up").symlink_to("..")
    (folder / "self").symlink_to("self")
    (folder / "here").symlink_to(".")
    assert found(root) == {1: "a.jpg", 2: "linked/b.jpg"}
    assert sorted(name for name, _ in files_below(folder)) == ["a.jpg", "linked/b.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(DataError, match=r"closed: must be readable, but Permission denied"):
        FileNames(tmp_path / "closed")


def test_a_folder_below_that_may_not_be_read_costs_what_is_in_it_alone(
    writer: CocoWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = written(writer, **{"a.jpg": "a.jpg", "lost+found/b.jpg": "lost+found/b.jpg"})
    scan = os.scandir

    def scan_as_no_root(path: str) -> Any:
        if path.endswith("lost+found"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr("kptrain.files.file_names.os.scandir", scan_as_no_root)
    assert found(root) == {1: "a.jpg"}
    assert read_split(root, "train").skipped.counts == {MISSING: 1}


def test_a_folder_is_read_once_however_many_names_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(200):
        (tmp_path / f"{number:012d}.jpg").touch()
    read = []

    def scan(path: str) -> Any:
        read.append(path)
        return real(path)

    real = os.scandir
    monkeypatch.setattr("kptrain.files.file_names.os.scandir", scan)
    names = FileNames(tmp_path)
    for number in range(200):
        assert names.find(f"{number:012d}.jpg") == (f"{number:012d}.jpg", "as written")
        assert names.find(f"/set/{number:012d}.jpg") == (f"{number:012d}.jpg", "by its end")
    assert read == [str(tmp_path)]


NAMES: list[str] = ["", ".", "..", "/", "\\", "a\0b", "\ud800", "%", "?d=", "//", "a/"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_file_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "b.jpg").touch()
    assert FileNames(tmp_path).find(name) == (None, "missing")


def test_a_file_whose_name_is_no_unicode_does_no_harm(writer: CocoWriter) -> None:
    root = written(writer, **{"a.jpg": "a.jpg"})
    Path(os.fsdecode(os.fsencode(root / "train2017") + b"/\xff.jpg")).touch()
    assert found(root) == {1: "a.jpg"}
    assert json.dumps(found(root))
