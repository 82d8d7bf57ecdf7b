"""Packs: what is in them, what is left out, when they are built anew, and by whom."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL
import pytest
from coco_files import CocoWriter
from packs import SIZE, View, folders, same, settings, spoil, written
from PIL import Image

from kptrain.annotations import reasons
from kptrain.annotations.reader import CocoImage, read_split
from kptrain.config import DataSettings
from kptrain.data import pack as pack_module
from kptrain.data import pack_filling as packing
from kptrain.data.decode import decode_image
from kptrain.data.pack import cache_dir, data_folder, open_pack
from kptrain.data.pack_format import Pack
from kptrain.data.parts import input_alone, with_surroundings
from kptrain.data.views import Frame, ignore_mask, image_frame, person_frame
from kptrain.errors import DataError
from kptrain.files.layout import SplitName
from kptrain.machine.disk import reserve_images

REPOSITORY = Path(__file__).parents[2]
VIEWS = pytest.mark.parametrize("view", ["image", "person"])


def frames(root: Path, split: SplitName, view: View) -> list[tuple[CocoImage, Frame]]:
    """Every sample of a split, found without a pack."""
    found: list[tuple[CocoImage, Frame]] = []
    for image in read_split(root, split).images:
        if view == "image":
            found.append((image, image_frame(image, SIZE)))
        else:
            found += [(image, person_frame(person, SIZE)) for person in image.persons]
    return found


def cut(image: CocoImage, frame: Frame) -> np.ndarray:
    return frame.cut(decode_image(image.path, image.size))


def stored(image: CocoImage, frame: Frame, pack: Pack) -> np.ndarray:
    """What a pack must hold for a frame: only in training in the person view more than that."""
    wide = pack.shape.has_surroundings
    part = with_surroundings(frame, image.size) if wide else input_alone(frame)
    return part.cut(decode_image(image.path, image.size))


@VIEWS
@pytest.mark.parametrize("split", ["train", "val"])
def test_every_sample_holds_what_decoding_its_image_gives(
    small_coco: Path, split: SplitName, view: View
) -> None:
    pack = open_pack(settings(small_coco, view), split)
    expected = frames(small_coco, split, view)
    assert len(pack) == len(expected) > 0
    for sample, (image, frame) in enumerate(expected):
        assert np.array_equal(pack.pixels(sample), stored(image, frame, pack))
        assert pack.table.scale[sample] == pytest.approx(frame.scale)
        assert pack.table.shift[sample] == pytest.approx(frame.shift)


@VIEWS
def test_the_persons_of_a_sample_are_the_annotated_ones(small_coco: Path, view: View) -> None:
    table = open_pack(settings(small_coco, view), "train").table
    images = read_split(small_coco, "train").images
    persons = {person.id: (image, person) for image in images for person in image.persons}
    assert max(len(image.persons) for image in images) > 1
    assert table.person_id.tolist() == [p.id for image in images for p in image.persons]
    assert table.first[0] == 0
    assert table.first[-1] == len(persons)
    counts = [len(image.persons) for image in images] if view == "image" else [1] * len(persons)
    assert np.diff(table.first).tolist() == counts
    for sample, (first, end) in enumerate(zip(table.first, table.first[1:], strict=False)):
        for row in range(first, end):
            image, person = persons[table.person_id[row]]
            assert (table.image_id[row], table.area[row]) == (image.id, person.area)
            assert np.array_equal(table.keypoints[row], person.keypoints)
            moved = (person.keypoints[:, :2] + 0.5) * table.scale[sample] + table.shift[sample]
            assert table.joints[row] == pytest.approx(moved, abs=1e-3)


def test_peaks_are_looked_for_in_the_enlarged_box_or_in_the_whole_crop(small_coco: Path) -> None:
    whole = open_pack(settings(small_coco, "person"), "val").table.peak_box
    assert whole.tolist() == [[0.0, 0.0, 96.0, 64.0]] * len(whole)
    boxes = iter(open_pack(settings(small_coco, "image"), "val").table.peak_box)
    for image in read_split(small_coco, "val").images:
        scale = np.array([96, 64] * 2) / [*image.size[::-1], *image.size[::-1]]
        for person in image.persons:
            x, y, width, height = person.box_xywh
            edges = [x - width / 10, y - height / 10, x + 1.1 * width, y + 1.1 * height]
            assert next(boxes) == pytest.approx(scale * edges, abs=1e-3)


def test_regions_to_ignore_are_masked_in_the_image_view_only(small_coco: Path) -> None:
    masks = open_pack(settings(small_coco, "image"), "train").ignore
    assert masks.any()
    for mask, image in zip(masks, read_split(small_coco, "train").images, strict=True):
        assert np.array_equal(mask, ignore_mask(image, SIZE))
    assert not open_pack(settings(small_coco, "person"), "train").ignore.any()


@pytest.mark.parametrize(("split", "images"), [("train", 115), ("val", 84)])
def test_every_image_of_the_sample_of_coco_decodes(
    coco_sample: Path, split: SplitName, images: int
) -> None:
    pack = open_pack(settings(coco_sample, image_size=(64, 64)), split)
    assert len(pack) == images
    assert pack.summary.startswith(f"{split}: {images} images with ")
    assert "decoded" not in pack.summary
    assert "size" not in pack.summary
    assert pack.images.std(axis=(1, 2, 3)).min() > 5


@VIEWS
def test_unreadable_images_are_left_out_and_the_rest_stays_aligned(
    writer: CocoWriter, cache: Path, view: View
) -> None:
    root = written(writer)
    expected = [pair for pair in frames(root, "train", view) if pair[0].id in (1, 3, 5)]
    decoded = [(decode_image(image.path, image.size), image, frame) for image, frame in expected]
    spoil(root, 2, 4)
    pack = open_pack(settings(root, view), "train")
    assert len(pack) == len(expected)
    for sample, (picture, image, frame) in enumerate(decoded):
        wide = pack.shape.has_surroundings
        part = with_surroundings(frame, image.size) if wide else input_alone(frame)
        assert np.array_equal(pack.pixels(sample), part.cut(picture))
    assert pack.table.person_id.tolist() == [11, 12, 31, 32, 51, 52]
    assert pack.table.area.tolist() == [101.0, 102.0, 301.0, 302.0, 501.0, 502.0]
    assert pack.table.first.tolist() == ([0, 2, 4, 6] if view == "image" else [*range(7)])
    assert len(pack.table.scale) == len(pack.table.shift) == len(pack.ignore) == len(pack)
    assert pack.summary.startswith("train: 3 images with 6 labelled persons; ")
    assert pack.summary.endswith(f": 2 {reasons.UNDECODED} (first: 000000000002.jpg)")
    assert folders(cache) == [pack.fingerprint[:32]]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("size", [(97, 128), (96, 127), (128, 96)])
def test_an_image_of_another_size_is_named_with_both_sizes(
    writer: CocoWriter, size: tuple[int, int]
) -> None:
    root = written(writer, images=2)
    height, width = size
    paths = [root / "train2017" / f"{number:012d}.jpg" for number in (1, 2)]
    told = f".jpg, annotated as 128 x 96 (width x height), but is {width} x {height})"
    Image.new("RGB", (width, height)).save(paths[1])
    summary = open_pack(settings(root, "person"), "train").summary
    assert f"1 images of another size than annotated (first: 000000000002{told}" in summary
    Image.new("RGB", (width, height)).save(paths[0])
    with pytest.raises(DataError) as error:
        open_pack(settings(root), "train")
    said = f": 2 images of another size than annotated (first: 000000000001{told}"
    assert said in str(error.value)
    assert "correct width and height" in str(error.value)
    assert "fetch" not in str(error.value)


def test_where_no_image_is_readable_the_error_counts_and_no_folder_stays(
    writer: CocoWriter, cache: Path
) -> None:
    root = written(writer, images=3)
    spoil(root, 1, 2)
    Image.new("RGB", (8, 8)).save(root / "train2017" / "000000000003.jpg")
    with pytest.raises(DataError) as error:
        open_pack(settings(root), "train")
    message = str(error.value)
    assert message.startswith(f"{root / 'train2017'}: must hold images that can be decoded")
    for part in (
        "of 3 tried none can",
        "2 images that cannot be decoded",
        "1 images of another size than annotated",
    ):
        assert part in message
    assert folders(cache) == []


@pytest.mark.usefixtures("cache")
def test_what_pillow_warns_of_is_counted_and_not_printed(
    writer: CocoWriter, recwarn: pytest.WarningsRecorder
) -> None:
    root = written(writer, images=2)
    exif = Image.Exif()
    exif[0x010E] = "a description that ends early" * 9
    path = root / "train2017" / "000000000002.jpg"
    Image.new("RGB", (128, 96)).rotate(90, expand=True).save(path, exif=exif)
    stored = path.read_bytes()
    path.write_bytes(stored.replace(b"\x01\x0e\x00\x02\x00\x00", b"\x01\x0e\x00\x02\x7f\x00"))
    assert path.read_bytes() != stored
    with Image.open(path) as image:
        image.getexif()
    assert len(recwarn) == 1  # it is such a file
    pack = open_pack(settings(root), "train")
    assert "1 images of another size than annotated" in pack.summary
    assert len(recwarn) == 1


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("view", "limit", "persons"),
    [("image", 2, [11, 12, 21, 22]), ("person", 3, [11, 12, 21]), ("image", 99, None)],
)
def test_a_limit_counts_images_in_the_image_view_and_persons_in_the_person_view(
    writer: CocoWriter, view: View, limit: int, persons: list[int] | None
) -> None:
    root = written(writer)
    pack = open_pack(settings(root, view, limit_train=limit, limit_val=1), "train")
    assert len(pack) == min(limit, 5 if view == "image" else 10)
    assert persons is None or pack.table.person_id.tolist() == persons


def test_what_a_limit_leaves_out_is_counted(small_coco: Path) -> None:
    chosen = settings(small_coco, limit_train=3)
    assert "samples beyond data.limit_train" in open_pack(chosen, "train").summary
    assert "beyond" not in open_pack(chosen, "val").summary


def test_a_disk_too_small_is_reported_with_its_figures_and_left_as_it_was(
    cache: Path, writer: CocoWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    root = written(writer)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        said = r"must have room for 5 decoded samples \(9.23e-05 GB\), but No space left"
        with pytest.raises(DataError, match=said):
            open_pack(settings(root), "train")
    assert [path for path in (cache / "packs").iterdir() if path.is_dir()] == []
    assert len(open_pack(settings(root), "train")) == 5


@pytest.mark.usefixtures("cache")
def test_a_file_system_that_cannot_take_room_in_advance_is_asked_for_its_free_room(
    writer: CocoWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    root = written(writer)
    monkeypatch.setattr(os, "posix_fallocate", unknown)
    assert len(open_pack(settings(root), "train")) == 5
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(DataError, match=r"No space left on device \(1e-08 GB are free\)"):
        open_pack(settings(root, "person"), "train")


def test_the_room_of_a_pack_is_taken_before_it_is_filled(tmp_path: Path) -> None:
    reserve_images(tmp_path / "images.npy", (1000, 10, 10, 3))
    status = (tmp_path / "images.npy").stat()
    assert status.st_blocks * 512 >= status.st_size > 300_000


@pytest.mark.usefixtures("cache")
def test_an_error_of_the_system_is_reported_and_not_recorded_as_a_bad_image(
    writer: CocoWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    root = written(writer)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", fail)
        with pytest.raises(DataError, match=r"\.jpg: must be readable, but Input/output error"):
            open_pack(settings(root), "train")
    assert len(open_pack(settings(root), "train")) == 5


def test_the_limit_of_validation_is_its_own(small_coco: Path) -> None:
    chosen = settings(small_coco, limit_train=3, limit_val=2)
    assert (len(open_pack(chosen, "train")), len(open_pack(chosen, "val"))) == (3, 2)


@pytest.mark.usefixtures("cache")
def test_a_second_open_decodes_nothing_and_gives_the_same(
    writer: CocoWriter, request: pytest.FixtureRequest
) -> None:
    root = written(writer)
    first = open_pack(settings(root), "train")
    request.getfixturevalue("no_decoding")
    second = open_pack(settings(root), "train")
    assert same(first, second)
    with pytest.raises(AssertionError, match="decoded"):
        open_pack(settings(root, "person"), "train")


@pytest.mark.usefixtures("cache")
def test_a_pack_that_is_there_is_opened_without_a_lock(
    writer: CocoWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = written(writer)
    first = open_pack(settings(root), "train")

    def refuse(path: Path) -> None:
        raise PermissionError(path)  # as a cache that may only be read would

    monkeypatch.setattr(pack_module, "FileLock", refuse)
    assert same(open_pack(settings(root), "train"), first)


def test_the_fingerprint_differs_with_all_that_shapes_a_pack(
    small_coco: Path, writer: CocoWriter
) -> None:
    chosen: list[tuple[DataSettings, SplitName]] = [
        (settings(small_coco), "train"),
        (settings(small_coco), "val"),
        (settings(small_coco, "person"), "train"),
        (settings(small_coco, image_size=(96, 64)), "train"),
        (settings(small_coco, limit_train=4), "train"),
        (settings(written(writer)), "train"),
    ]
    assert len({open_pack(*each).fingerprint for each in chosen}) == len(chosen)
    of_the_other_split = settings(small_coco, limit_val=4)
    assert open_pack(of_the_other_split, "train").fingerprint == open_pack(*chosen[0]).fingerprint


@pytest.mark.usefixtures("cache")
def test_equal_content_below_another_root_is_the_same_pack(
    writer: CocoWriter, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = written(writer)
    first = open_pack(settings(root), "train")
    shutil.copytree(root, tmp_path / "copy")
    shutil.rmtree(root)
    request.getfixturevalue("no_decoding")
    assert same(open_pack(settings(tmp_path / "copy"), "train"), first)


def test_a_changed_annotation_and_a_changed_image_are_packed_anew(
    writer: CocoWriter, cache: Path
) -> None:
    root = written(writer)
    packs = [open_pack(settings(root), "train")]
    path = root / "annotations" / "person_keypoints_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["keypoints"][0] += 1.0
    path.write_text(json.dumps(content))
    packs.append(open_pack(settings(root), "train"))
    Image.new("RGB", (128, 96)).save(root / "train2017" / "000000000005.jpg")
    packs.append(open_pack(settings(root), "train"))
    assert folders(cache) == sorted(pack.fingerprint[:32] for pack in packs)
    assert len(folders(cache)) == 3
    moved = [pack.table.keypoints[0, 0, 0] - packs[0].table.keypoints[0, 0, 0] for pack in packs]
    assert moved == [0, 1, 1]
    assert [bool(pack.images[4].any()) for pack in packs] == [True, True, False]


def test_a_name_that_cannot_be_written_is_reported_and_the_pack_is_built(
    writer: CocoWriter,
) -> None:
    root = written(writer)
    file = root / "annotations" / "person_keypoints_train2017.json"
    content = json.loads(file.read_text())
    content["images"][0]["file_name"] = "\ud800\n.jpg"
    file.write_text(json.dumps(content))
    pack = open_pack(settings(root), "train")
    assert len(pack) == 4
    assert "(first: \\ud800\\n.jpg)" in pack.summary
    with pytest.raises(DataError, match=r"has \\ud800\\n.jpg; "):
        open_pack(settings(root, strict=True), "train")


def test_a_packs_pixels_are_mapped_and_cannot_be_written(small_coco: Path) -> None:
    images = open_pack(settings(small_coco), "train").images
    assert isinstance(images, np.memmap)
    assert images.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


KILLED = """
import os, sys
from pathlib import Path
from kptrain.data import pack
from kptrain.data import pack_filling as packing
from kptrain.config import DataSettings
packing.decode_image = lambda path, size: os._exit(9)
pack.open_pack(DataSettings(root=sys.argv[1], image_size=(64, 96)), "train")
"""


def test_what_a_killed_process_leaves_is_harmless(writer: CocoWriter, cache: Path) -> None:
    root = written(writer)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(root)], cwd=REPOSITORY, check=False)
    assert killed.returncode == 9
    (left,) = folders(cache)
    assert left.endswith(".tmp")
    pack = open_pack(settings(root), "train")
    assert folders(cache) == [pack.fingerprint[:32]]
    for sample, (image, frame) in enumerate(frames(root, "train", "image")):
        assert np.array_equal(pack.images[sample], cut(image, frame))


KILLED_LATER = """
import os, sys
from pathlib import Path
from kptrain.data import pack
from kptrain.data import pack_filling as packing
from kptrain.config import DataSettings
packing.PART, packing.usable_cores = 2, lambda: 1
decode, seen = packing.decode_image, []
def die_at_the_sixth(path, size):
    seen.append(path)
    if len(seen) == 6:
        os._exit(9)
    return decode(path, size)
packing.decode_image = die_at_the_sixth
pack.open_pack(DataSettings(root=sys.argv[1], image_size=(64, 96)), "train")
"""


def test_a_pack_whose_process_was_killed_is_resumed_and_comes_out_the_same(
    writer: CocoWriter, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = written(writer, images=8)
    spoil(root, 2)
    script = [sys.executable, "-c", KILLED_LATER, str(root)]
    assert subprocess.run(script, cwd=REPOSITORY, check=False).returncode == 9
    (left,) = folders(cache)
    told = json.loads((cache / "packs" / left / "progress.json").read_text())
    failures = {"1": reasons.UNDECODED}
    assert told == {"num_images": 4, "failures": failures, "pillow": PIL.__version__}
    decoded: list[str] = []

    def noted(path: Path, size: tuple[int, int]) -> Image.Image:
        decoded.append(path.name)
        return decode_image(path, size)

    monkeypatch.setattr(packing, "decode_image", noted)
    pack = open_pack(settings(root), "train")
    assert sorted(decoded) == [f"{number:012d}.jpg" for number in (5, 6, 7, 8)]
    assert "1 images that cannot be decoded" in pack.summary
    assert folders(cache) == [pack.fingerprint[:32]]
    monkeypatch.setenv("KPTRAIN_CACHE", str(tmp_path / "other"))
    assert same(pack, open_pack(settings(root), "train"))
    assert [path.name for path in sorted((cache / "packs" / folders(cache)[0]).iterdir())] == [
        "about.json",
        "ignore.npy",
        "images.npy",
        "table.npz",
    ]


@pytest.mark.parametrize("note", ["", "{", '{"num_images": 3, "failures": {}, "pillow": "0.1"}'])
def test_a_note_that_is_torn_or_of_another_pillow_counts_as_none(
    writer: CocoWriter, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: str
) -> None:
    root = written(writer, images=8)
    script = [sys.executable, "-c", KILLED_LATER, str(root)]
    assert subprocess.run(script, cwd=REPOSITORY, check=False).returncode == 9
    (left,) = folders(cache)
    images = np.lib.format.open_memmap(cache / "packs" / left / "images.npy", "r+")
    images[:] = 7
    (cache / "packs" / left / "progress.json").write_text(note)
    pack = open_pack(settings(root), "train")
    monkeypatch.setenv("KPTRAIN_CACHE", str(tmp_path / "other"))
    assert same(pack, open_pack(settings(root), "train"))


AT_ONCE = """
import hashlib, os, sys, time
from pathlib import Path
from kptrain.data import pack
from kptrain.data import pack_filling as packing
from kptrain.config import DataSettings
root, meeting = sys.argv[1], Path(sys.argv[2])
decode = packing.decode_image
def logged(path, size):
    with (meeting / "log").open("a") as log:
        log.write(f"{os.getpid()} {path.name}\\n")
    time.sleep(0.1)
    return decode(path, size)
packing.decode_image = logged
(meeting / f"ready-{os.getpid()}").touch()
while not (meeting / "go").exists():
    time.sleep(0.005)
opened = pack.open_pack(DataSettings(root=root, image_size=(64, 96)), "train")
print(opened.fingerprint, opened.summary, hashlib.sha256(opened.images.tobytes()).hexdigest(),
      hashlib.sha256(opened.table.joints.tobytes()).hexdigest())
"""


def test_two_processes_at_once_build_one_pack_and_both_get_it(
    writer: CocoWriter, cache: Path, tmp_path: Path
) -> None:
    root, meeting = written(writer, images=8), tmp_path / "meeting"
    meeting.mkdir()
    command = [sys.executable, "-c", AT_ONCE, str(root), str(meeting)]
    processes = [
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    deadline = time.monotonic() + 60
    while len(list(meeting.glob("ready-*"))) < 2:
        assert time.monotonic() < deadline, "a process does not start"
        time.sleep(0.01)
    (meeting / "go").touch()
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    log = [line.split() for line in (meeting / "log").read_text().splitlines()]
    assert len({process for process, _ in log}) == 1
    assert sorted(name for _, name in log) == [f"{number:012d}.jpg" for number in range(1, 9)]
    pack = open_pack(settings(root), "train")
    assert answers[0] == answers[1]
    assert answers[0].startswith(f"{pack.fingerprint} {pack.summary} ")
    assert folders(cache) == [pack.fingerprint[:32]]


def test_data_must_be_resolved_before_it_is_packed() -> None:
    with pytest.raises(DataError, match=r"data\.root: must be resolved first, but got None"):
        open_pack(DataSettings(), "train")


def test_embedded_data_are_those_of_the_cache(
    small_coco: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def drawn(cache: Path, _: bool) -> Path:
        asked.append(cache)
        return small_coco

    monkeypatch.setattr(pack_module, "embedded_root", drawn)
    assert data_folder(settings("embedded")) == small_coco
    assert asked == [cache_dir()]


def test_the_cache_is_where_the_user_says_or_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPTRAIN_CACHE", "here")
    assert cache_dir() == Path.cwd() / "here"
    monkeypatch.delenv("KPTRAIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "kptrain"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "home" / ".cache" / "kptrain"


def test_a_cache_that_is_a_file_is_named(
    writer: CocoWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").touch()
    monkeypatch.setenv("KPTRAIN_CACHE", os.fspath(tmp_path / "cache"))
    with pytest.raises(DataError, match="KPTRAIN_CACHE: must be a folder"):
        open_pack(settings(written(writer)), "train")


def test_a_cache_that_cannot_be_created_is_reported_for_the_synthetic_set_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KPTRAIN_CACHE", "/proc/none/kptrain")
    with pytest.raises(DataError, match=r"^/proc/none/kptrain: must be .* with KPTRAIN_CACHE$"):
        data_folder(settings("embedded"))
