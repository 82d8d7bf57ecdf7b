"""Packs that are damaged, disks that are full, folders that may only be read, unsound data."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL
import pytest
from coco_files import CocoWriter
from packs import folders, same, settings, spoil, written

from kptrain.data import pack_format as pack_files
from kptrain.data.pack import open_pack
from kptrain.errors import DataError

REPOSITORY = Path(__file__).parents[2]


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["images.npy", "ignore.npy", "table.npz", "about.json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "emptied", "removed"])
def test_a_damaged_pack_is_noticed_and_built_anew(
    writer: CocoWriter, cache: Path, name: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = written(writer)
    pack = open_pack(settings(root), "train")
    path = cache / "packs" / pack.fingerprint[:32] / name
    before = path.read_bytes()
    path.unlink()  # and not in place: what is mapped here stays as it is
    if how == "flipped":
        path.write_bytes(before)
        flip(path, before.index(b'"sizes"') if name == "about.json" else len(before) // 2)
    elif how == "cut":
        path.write_bytes(before[:-7])
    elif how == "emptied":
        path.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        again = open_pack(settings(root), "train")
    assert "it is built again" in caplog.text
    assert same(again, pack)
    if name == "about.json":  # which has the times of the others
        about, then = json.loads(path.read_bytes()), json.loads(before)
        assert about.pop("times").keys() == then.pop("times").keys()
        assert about == then
    else:
        assert path.read_bytes() == before
    assert folders(cache) == [pack.fingerprint[:32]]


@pytest.mark.usefixtures("cache")
def test_a_sound_pack_passes_every_check(
    writer: CocoWriter, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    root = written(writer)
    pack = open_pack(settings(root), "train")
    request.getfixturevalue("no_decoding")
    assert same(open_pack(settings(root), "train", verify=True), pack)
    assert caplog.text == ""


@pytest.mark.usefixtures("cache")
def test_a_pack_is_read_whole_once_after_it_was_copied_and_else_where_it_is_asked_for(
    writer: CocoWriter, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = written(writer)
    pack = open_pack(settings(root), "train")
    images = cache / "packs" / pack.fingerprint[:32] / "images.npy"
    read: list[str] = []

    def noting(path: Path, progress: bool) -> list[int]:
        read.append(path.name)
        return real(path, progress)

    real = pack_files._checksums
    monkeypatch.setattr(pack_files, "_checksums", noting)
    open_pack(settings(root), "train")
    assert read == []
    os.utime(images)  # as a copy has it
    open_pack(settings(root), "train")
    assert read == ["images.npy"]
    open_pack(settings(root), "train")
    assert read == ["images.npy"]
    open_pack(settings(root), "train", verify=True)
    assert read == ["images.npy", "images.npy", "ignore.npy", "table.npz"]


def test_damage_that_left_size_and_time_is_found_where_it_is_looked_for(
    writer: CocoWriter, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = written(writer)
    pack = open_pack(settings(root), "train")
    images = cache / "packs" / pack.fingerprint[:32] / "images.npy"
    time = images.stat().st_mtime_ns
    damaged = images.with_suffix(".damaged")  # what is mapped here stays as it is
    damaged.write_bytes(images.read_bytes())
    flip(damaged, damaged.stat().st_size // 2)
    damaged.replace(images)
    os.utime(images, ns=(time, time))
    assert not same(open_pack(settings(root), "train"), pack)
    assert same(open_pack(settings(root), "train", verify=True), pack)
    assert "images.npy is not as it was written; it is built again" in caplog.text


@pytest.mark.parametrize("how", ["another shape", "no file", "cut", "no note"])
def test_an_unfinished_pack_that_is_damaged_is_begun_anew(
    writer: CocoWriter, cache: Path, how: str
) -> None:
    root = written(writer)
    pack = open_pack(settings(root), "train")
    folder = cache / "packs" / pack.fingerprint[:32]
    unfinished = folder.with_suffix(".tmp")
    folder.rename(unfinished)
    told: object = {"num_images": 5, "failures": {}, "pillow": PIL.__version__}
    images = unfinished / "images.npy"
    before = images.read_bytes()
    images.unlink()  # and not in place: what is mapped here stays as it is
    if how == "another shape":
        np.save(images, np.zeros((1, 2, 3), np.uint8))
    elif how == "cut":
        images.write_bytes(before[:-9])
    elif how == "no note":
        told = [1, 2]
    (unfinished / "progress.json").write_text(json.dumps(told))
    assert same(open_pack(settings(root), "train"), pack)


FULL = """
import resource, signal, sys
from kptrain.data import pack
from kptrain.config import DataSettings
from kptrain.errors import DataError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
room = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
try:
    pack.open_pack(DataSettings(root=sys.argv[1], image_size=(64, 96)), "train")
except DataError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("room", [50_000, 95_000], ids=["images", "table"])
def test_where_no_file_can_grow_packing_says_so_and_the_next_one_resumes(
    writer: CocoWriter, cache: Path, room: int
) -> None:
    for number in range(100, 400):
        writer.person("train", 1, number)
    root = written(writer)
    command = [sys.executable, "-c", FULL, str(root), str(room)]
    told = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert "File too large" in told.stderr
    assert "KPTRAIN_CACHE" in told.stderr
    assert "Traceback" not in told.stderr
    assert [name for name in folders(cache) if not name.endswith(".tmp")] == []
    assert len(open_pack(settings(root), "train")) == 5


UNPRIVILEGED = """
import os, sys
from kptrain.data import pack
from kptrain.config import DataSettings
from kptrain.errors import DataError
import encodings.cp437  # before the right to read Python itself may be gone
os.setgid(65534), os.setuid(65534)
try:
    opened = pack.open_pack(DataSettings(root=sys.argv[1], image_size=(64, 96)), "train")
    print(len(opened))
except DataError as error:
    sys.exit(str(error))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_cache_that_may_only_be_read_gives_its_packs_and_refuses_new_ones(
    writer: CocoWriter, cache: Path, tmp_path: Path
) -> None:
    root = written(writer)
    for folder in (tmp_path, *(above for above in tmp_path.parents if "pytest-of" in str(above))):
        folder.chmod(0o755)
    cache.mkdir()

    def as_another_user() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", UNPRIVILEGED, str(root)]
        return subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)

    told = as_another_user().stderr
    assert f"{cache / 'packs'}: must be a folder to read and write" in told
    assert "Permission denied" in told
    assert len(told.splitlines()) == 1
    open_pack(settings(root), "train")
    done = as_another_user()
    assert (done.stdout, done.stderr) == ("5\n", "")


@pytest.mark.usefixtures("cache")
def test_strict_refuses_an_unreadable_image_whether_or_not_it_is_packed_already(
    writer: CocoWriter,
) -> None:
    root = written(writer)
    spoil(root, 2, 4)
    said = r"train2017: must have no images that cannot be decoded .* has 000000000002\.jpg"
    for _ in range(2):
        with pytest.raises(DataError, match=said):
            open_pack(settings(root, strict=True), "train")
        assert len(open_pack(settings(root), "train")) == 3


@pytest.mark.usefixtures("cache")
def test_strict_is_the_same_pack_where_all_is_sound(writer: CocoWriter) -> None:
    root = written(writer)
    assert same(open_pack(settings(root, strict=True), "train"), open_pack(settings(root), "train"))
