"""What a data set is known by: pictures that are replaced are other data, a copy is the same."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from coco_files import CocoWriter, to_fiftyone
from packs import View, folders, settings, written
from PIL import Image, ImageOps

from kptrain.annotations.reader import CocoImage
from kptrain.data import fingerprint as source
from kptrain.data import pack as pack_module
from kptrain.data import pack_builder as packing
from kptrain.data.pack import open_pack, pack_fingerprint
from kptrain.errors import DataError

REPOSITORY = Path(__file__).parents[2]


def as_bitmaps(root: Path) -> list[Path]:
    """Store every image so that all of a size are as many bytes; the names stay."""
    paths = sorted((root / "train2017").iterdir())
    for path in paths:
        Image.open(path).save(path, "BMP")
    return paths


def invert(path: Path) -> None:
    num_bytes = path.stat().st_size
    ImageOps.invert(Image.open(path)).save(path, "BMP")
    assert path.stat().st_size == num_bytes


@pytest.mark.parametrize("times", ["new", "kept"])
def test_a_picture_replaced_by_one_as_large_is_packed_anew(
    writer: CocoWriter, cache: Path, times: str
) -> None:
    root = written(writer, images=3)
    paths = as_bitmaps(root)
    before = open_pack(settings(root), "train")
    status = paths[1].stat()
    invert(paths[1])
    if times == "kept":
        os.utime(paths[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    after = open_pack(settings(root), "train")
    changed = [bool((a != b).any()) for a, b in zip(before.images, after.images, strict=True)]
    assert changed == [False, True, False]
    assert len(folders(cache)) == 2
    assert pack_fingerprint(settings(root), "train") == after.fingerprint != before.fingerprint


def test_a_picture_that_comes_back_is_the_first_data_again(
    writer: CocoWriter, cache: Path, request: pytest.FixtureRequest
) -> None:
    root = written(writer, images=2)
    paths = as_bitmaps(root)
    before = open_pack(settings(root), "train").fingerprint
    invert(paths[0])
    assert open_pack(settings(root), "train").fingerprint != before
    invert(paths[0])
    request.getfixturevalue("no_decoding")
    assert open_pack(settings(root), "train").fingerprint == before
    assert len(folders(cache)) == 2


@pytest.mark.usefixtures("cache")
def test_a_copy_another_layout_and_new_times_are_the_same_data(
    writer: CocoWriter, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for number in (1, 2):
        writer.image("val", number)
        writer.person("val", number, number)
    root = written(writer, images=2)
    before = open_pack(settings(root), "train").fingerprint
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)
    to_fiftyone(copy)
    for path in (root / "train2017").iterdir():
        os.utime(path, (1, 1))
    (root / "train2017" / "notes.txt").write_text("not an image of the set")
    request.getfixturevalue("no_decoding")
    for place in (root, copy):
        assert open_pack(settings(place), "train").fingerprint == before


@pytest.mark.usefixtures("cache")
def test_files_are_read_once_for_all_that_ask_and_not_beyond_a_limit(
    writer: CocoWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = written(writer, images=4)
    read: list[int] = []
    original = source._hash

    def noted(image: CocoImage) -> bytes:
        read.append(image.id)
        return original(image)

    monkeypatch.setattr(source, "_hash", noted)
    prints = [pack_fingerprint(settings(root, limit_train=2), "train") for _ in range(2)]
    assert sorted(read) == [1, 2]
    open_pack(settings(root, limit_train=2), "train")
    prints.append(pack_fingerprint(settings(root, limit_train=2), "train"))
    assert sorted(read) == [1, 2]
    assert len(set(prints)) == 1
    for size in ((96, 64), (64, 64)):
        views: tuple[View, ...] = ("image", "person")
        for view in views:
            pack_fingerprint(settings(root, view, image_size=size), "train")
    assert sorted(read) == [1, 1, 2, 2, 3, 4]


def test_a_note_that_is_torn_counts_as_none(writer: CocoWriter, cache: Path) -> None:
    root = written(writer, images=2)
    before = pack_fingerprint(settings(root), "train")
    (note,) = (cache / "packs").glob("*.files")
    for text in (b"", b"00ff", b"\xff" * 64, b"z" * 64):
        note.write_bytes(text)
        assert pack_fingerprint(settings(root), "train") == before


def test_pictures_in_sub_folders_are_identified_by_their_content(
    writer: CocoWriter, cache: Path
) -> None:
    root = written(writer, images=2)
    paths = as_bitmaps(root)
    (root / "train2017" / "one").mkdir()
    moved = paths[0].rename(root / "train2017" / "one" / paths[0].name)
    before = open_pack(settings(root), "train").fingerprint
    invert(moved)
    assert open_pack(settings(root), "train").fingerprint != before
    assert len(folders(cache)) == 2


@pytest.mark.usefixtures("cache")
def test_a_file_that_may_not_be_read_is_named(
    writer: CocoWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = written(writer, images=2)

    def refuse(path: Path) -> bytes:
        if path.suffix == ".jpg":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"\.jpg: must be readable, but Permission denied"):
        pack_fingerprint(settings(root), "train")


def test_pictures_that_change_while_they_are_packed_are_reported_and_no_pack_stays(
    writer: CocoWriter, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = written(writer, images=2)
    paths = as_bitmaps(root)
    build = packing.build_pack

    def build_and_change(*arguments: object) -> None:
        build(*arguments)  # type: ignore[arg-type]
        time.sleep(0.01)
        invert(paths[1])

    with monkeypatch.context() as patch:
        patch.setattr(pack_module, "build_pack", build_and_change)
        with pytest.raises(DataError, match=r"coco: must not change while its images"):
            open_pack(settings(root), "train")
    assert folders(cache) == []
    pixels = np.asarray(Image.open(paths[1]).resize((96, 64), Image.Resampling.BILINEAR))
    assert np.array_equal(open_pack(settings(root), "train").images[1], pixels)


ASKS = """
import sys
from kptrain.config import DataSettings
from kptrain.data.pack import pack_fingerprint
print(pack_fingerprint(DataSettings(root=sys.argv[1], image_size=(64, 96)), "train"))
"""


@pytest.mark.usefixtures("cache")
def test_a_cache_that_cannot_be_written_costs_reading_alone(
    writer: CocoWriter, tmp_path: Path
) -> None:
    root = written(writer, images=2)
    before = pack_fingerprint(settings(root), "train")
    (tmp_path / "file").touch()
    environment = {**os.environ, "KPTRAIN_CACHE": str(tmp_path / "file" / "below")}
    asked = subprocess.run(
        [sys.executable, "-c", ASKS, str(root)],
        cwd=REPOSITORY,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (asked.stdout.strip(), asked.stderr) == (before, "")
