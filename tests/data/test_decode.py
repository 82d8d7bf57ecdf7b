"""One image file to RGB pixels: every mode, the frame of the annotation, and what is unsound."""

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, ImageOps

from kptrain.annotations import reasons
from kptrain.annotations.images import MOST_PIXELS
from kptrain.data.decode import ORIENTATION_TAG, UnreadableImageError, decode_image, read_picture
from kptrain.errors import DataError

COLOUR = (200, 40, 90)
SIZE = (60, 80)
CANNOT = reasons.UNDECODED
OTHER_SIZE = reasons.OTHER_SIZE
TOO_LARGE = reasons.TOO_LARGE


def picture() -> Image.Image:
    """No two of its rotations and mirror images are alike."""
    height, width = SIZE
    y, x = np.mgrid[:height, :width]
    pixels = np.stack((3 * x, 4 * y, (x < 20) * 200), axis=2).astype(np.uint8)
    return Image.fromarray(pixels)


def with_orientation(path: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    picture().save(path, exif=exif)
    return path


def reason(path: Path, size: tuple[int, int] = SIZE) -> str:
    with pytest.raises(UnreadableImageError) as error:
        decode_image(path, size)
    return str(error.value)


def png_header(path: Path, height: int, width: int) -> Path:
    """A PNG that claims a size and holds next to nothing."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")):
        parts += [struct.pack(">I", len(data)), name, data]
        parts.append(struct.pack(">I", zlib.crc32(name + data)))
    path.write_bytes(b"".join(parts))
    return path


def test_a_jpeg_gives_the_stored_pixels_as_rgb(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture().save(path, quality=95)
    decoded = decode_image(path, SIZE)
    assert decoded.mode == "RGB"
    with Image.open(path) as stored:
        assert np.array_equal(np.asarray(decoded), np.asarray(stored))
    difference = np.asarray(decoded).astype(int) - np.asarray(picture())
    assert np.abs(difference).mean() < 5


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "1"])
def test_other_modes_become_rgb_of_the_same_colours(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.jpg"
    converted = picture().convert(mode)
    converted.save(path, "PNG")
    decoded = decode_image(path, SIZE)
    assert decoded.mode == "RGB"
    assert np.array_equal(np.asarray(decoded), np.asarray(converted.convert("RGB")))
    assert np.asarray(decoded).std() > 30


def test_a_grey_jpeg_has_three_equal_channels(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture().convert("L").save(path)
    pixels = np.asarray(decode_image(path, SIZE))
    assert pixels.shape == (*SIZE, 3)
    assert (pixels == pixels[:, :, :1]).all()
    assert np.abs(pixels[:, :, 0].astype(int) - np.asarray(picture().convert("L"))).mean() < 5


def test_a_cmyk_jpeg_keeps_its_colour(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", SIZE[::-1], COLOUR).convert("CMYK").save(path, quality=95)
    with Image.open(path) as stored:
        assert stored.mode == "CMYK"
    pixels = np.asarray(decode_image(path, SIZE)).astype(int)
    assert np.abs(pixels - COLOUR).max() <= 4


@pytest.mark.parametrize("transparency", [None, 3, bytes([0, 128, 255])])
def test_a_palette_png_named_jpg_keeps_its_colours(
    tmp_path: Path, transparency: int | bytes | None
) -> None:
    path = tmp_path / "a.jpg"
    palette = picture().quantize(32)
    palette.save(path, "PNG", **({} if transparency is None else {"transparency": transparency}))
    with Image.open(path) as stored:
        assert stored.mode == "P"
    assert np.array_equal(np.asarray(decode_image(path, SIZE)), np.asarray(palette.convert("RGB")))


def test_a_sixteen_bit_png_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    grey = np.array([[0, 257, 32896, 64250, 65535]], dtype=np.uint16)
    Image.fromarray(grey).save(path, "PNG")
    pixels = np.asarray(decode_image(path, (1, 5)))
    assert pixels[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [250] * 3, [255] * 3]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_rotation_is_left_alone_where_the_annotated_size_is_the_stored_one(
    tmp_path: Path, orientation: int
) -> None:
    path = with_orientation(tmp_path / "a.jpg", orientation)
    plain = with_orientation(tmp_path / "plain.jpg", 1)
    decoded = np.asarray(decode_image(path, SIZE))
    assert np.array_equal(decoded, np.asarray(decode_image(plain, SIZE)))


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_270),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_90),
    ],
)
def test_an_exif_rotation_is_applied_where_the_annotated_size_is_rotated(
    tmp_path: Path, orientation: int, turn: Image.Transpose
) -> None:
    path = with_orientation(tmp_path / "a.jpg", orientation)
    with Image.open(path) as stored:
        expected = np.asarray(stored.transpose(turn))
    assert np.array_equal(np.asarray(decode_image(path, SIZE[::-1])), expected)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_a_rotated_size_without_a_quarter_rotation_in_the_file_is_another_size(
    tmp_path: Path, orientation: int
) -> None:
    path = with_orientation(tmp_path / "a.jpg", orientation)
    assert reason(path, SIZE[::-1]) == OTHER_SIZE


def test_an_orientation_that_is_no_rotation_is_none(tmp_path: Path) -> None:
    path = with_orientation(tmp_path / "a.jpg", 9)
    assert reason(path, SIZE[::-1]) == OTHER_SIZE
    stored, short, text = path.read_bytes(), b"\x01\x12\x00\x03", b"\x01\x12\x00\x02"
    assert short in stored  # the tag, and the type of its value
    path.write_bytes(stored.replace(short, text))
    assert reason(path, SIZE[::-1]) == OTHER_SIZE
    assert decode_image(path, SIZE).size == SIZE[::-1]


def test_the_size_is_checked_before_anything_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture().save(path)
    path.write_bytes(path.read_bytes()[:700])  # the header is whole, the pixels are not
    assert reason(path, SIZE) == CANNOT
    assert reason(path, (61, 80)) == OTHER_SIZE


def test_files_that_hold_no_image_are_a_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("<html>404: not found</html>")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("empty.jpg", "text.jpg", "folder.jpg", "missing.jpg"):
        assert reason(tmp_path / name) == CANNOT


def test_a_header_that_claims_a_huge_image_is_a_reason_before_a_pixel_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    path = png_header(tmp_path / "a.jpg", 50_000, 50_000)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    assert reason(path, (50_000, 50_000)) == TOO_LARGE


def test_malformed_files_give_an_image_of_the_annotated_size_or_a_reason(tmp_path: Path) -> None:
    path = with_orientation(tmp_path / "a.jpg", 6)
    sound, rng = path.read_bytes(), random.Random(0)
    outcomes = set()
    for _ in range(400):
        damaged = bytearray(sound)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(rng.choice((60, len(sound))))] = rng.randrange(256)
        path.write_bytes(damaged)
        size = rng.choice((SIZE, SIZE[::-1]))
        try:
            assert decode_image(path, size).size == size[::-1]
            outcomes.add("decoded")
        except UnreadableImageError as error:
            outcomes.add(str(error))
    assert outcomes == {"decoded", CANNOT, OTHER_SIZE}


def as_file(folder: Path, numbers: np.ndarray, suffix: str) -> Path:
    path = folder / f"a{suffix}"
    Image.fromarray(numbers).save(path)
    return path


def twelve_bit_tiff(path: Path, numbers: np.ndarray) -> Path:
    """Grey of 12 bits, as cameras of laboratories write it: three bytes hold two pixels."""
    height, width = numbers.shape
    pairs = numbers.reshape(-1, 2).astype(int)
    packed = [(a >> 4, (a & 15) << 4 | b >> 8, b & 255) for a, b in pairs.tolist()]
    data = bytes(byte for three in packed for byte in three)
    tags = [(256, width), (257, height), (258, 12), (259, 1), (262, 1)]
    tags += [(273, 8), (277, 1), (278, height), (279, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    path.write_bytes(head + data + struct.pack("<H", len(tags)) + entries + bytes(4))
    return path


def sixteen_bit_rgb_png(path: Path, numbers: np.ndarray) -> Path:
    height, width, _ = numbers.shape
    lines = [b"\0" + line.astype(">u2").tobytes() for line in numbers]
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, data in (
        (b"IHDR", header),
        (b"IDAT", zlib.compress(b"".join(lines))),
        (b"IEND", b""),
    ):
        parts += [struct.pack(">I", len(data)), name, data]
        parts.append(struct.pack(">I", zlib.crc32(name + data)))
    path.write_bytes(b"".join(parts))
    return path


GREYS = np.array([[0, 1, 128, 200, 254, 255]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("numbers", "suffix"),
    [
        (GREYS.astype(np.uint16) * 257, ".png"),
        (GREYS.astype(np.uint16) * 257, ".tif"),
        (GREYS.astype(np.uint16) * 257, ".pgm"),
        (GREYS.astype(np.int32) * 257, ".tif"),
        (GREYS.astype(np.int32), ".tif"),
        (GREYS.astype(np.float32) / 255, ".tif"),
        (GREYS.astype(np.float32) / 255, ".pfm"),
        (GREYS.astype(np.float32), ".tif"),
        (GREYS.astype(np.float32) * 257, ".tif"),
        (GREYS.astype(np.float32) * 1.0015 / 255 - 0.0001, ".tif"),
        (GREYS, ".png"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.dtype} to {value.max()}",
)
def test_numbers_of_any_kind_are_read_as_the_greys_that_they_stand_for(
    tmp_path: Path, numbers: np.ndarray, suffix: str
) -> None:
    path = as_file(tmp_path, numbers, suffix)
    pixels = np.asarray(decode_image(path, (1, 6)))
    assert pixels[0].tolist() == [[grey] * 3 for grey in GREYS[0].tolist()]
    picture, count = read_picture(path)
    assert np.array_equal(np.asarray(picture), pixels)
    assert count == 1


def test_twelve_bits_that_the_file_declares_reach_white(tmp_path: Path) -> None:
    numbers = np.array([[0, 16, 2048, 4079, 4094, 4095]])
    pixels = np.asarray(decode_image(twelve_bit_tiff(tmp_path / "a.tif", numbers), (1, 6)))
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 254, 255, 255]


def test_a_colour_of_sixteen_bits_is_that_of_eight(tmp_path: Path) -> None:
    colours = np.asarray(picture())
    path = sixteen_bit_rgb_png(tmp_path / "a.png", colours.astype(np.uint16) * 257)
    assert np.array_equal(np.asarray(decode_image(path, SIZE)), colours)
    assert np.array_equal(np.asarray(read_picture(path)[0]), colours)


@pytest.mark.parametrize(
    "numbers",
    [
        np.array([[0, 70_000]], dtype=np.int32),
        np.array([[-200, 255]], dtype=np.int32),
        np.array([[0, 1e6]], dtype=np.float32),
        np.array([[-3, 1]], dtype=np.float32),
        np.array([[np.nan, 1]], dtype=np.float32),
        np.array([[0, np.inf]], dtype=np.float32),
    ],
    ids=str,
)
def test_numbers_that_do_not_say_what_white_is_are_refused_and_not_clipped(
    tmp_path: Path, numbers: np.ndarray
) -> None:
    path = as_file(tmp_path, numbers, ".tif")
    assert reason(path, (1, 2)) == reasons.UNKNOWN_WHITE
    with pytest.raises(DataError, match=reasons.UNKNOWN_WHITE):
        read_picture(path)


YCBCR = pytest.param(
    "YCbCr",
    marks=pytest.mark.skipif(
        int(PIL.__version__.partition(".")[0]) < 13, reason="Pillow before 13 reads no such TIFF"
    ),
)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", YCBCR])
def test_a_picture_without_annotations_is_read_as_one_with(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    picture().convert(mode).save(path)
    found, _ = read_picture(path)
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found), np.asarray(decode_image(path, SIZE)))
    assert np.asarray(found).std() > 30


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_a_picture_without_annotations_is_upright(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    path = with_orientation(tmp_path / f"a{suffix}", orientation)
    found, _ = read_picture(path)
    assert found.size == (SIZE if orientation in (5, 6, 7, 8) else SIZE[::-1])
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    turns |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}
    upright = picture()
    if orientation > 1:
        upright = upright.transpose(Image.Transpose[turns[orientation]])
    assert np.abs(np.asarray(found).astype(int) - np.asarray(upright)).mean() < 6


def test_the_first_picture_of_an_animation_is_read_and_how_many_there_are(tmp_path: Path) -> None:
    frames = [picture(), picture().transpose(Image.Transpose.ROTATE_180), picture()]
    for suffix in (".gif", ".png", ".webp", ".tif"):
        path = tmp_path / f"a{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        found, count = read_picture(path)
        assert count >= 2, suffix
        assert np.abs(np.asarray(found).astype(int) - np.asarray(picture())).mean() < 10


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"<html>404: not found</html>", "has an unknown format"),
        (None, "No such file or directory"),
    ],
)
def test_what_is_no_picture_is_reported_in_one_line(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_picture(path)
    assert str(error.value).startswith(f"{path}: must be a picture, but")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".tif", ".webp", ".bmp"])
def test_half_a_file_is_no_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    picture().save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"a\.\w+: must be a picture, but [^\n]*; [^\n]*$"):
        read_picture(path)


def test_pictures_are_read_up_to_the_size_at_which_training_reads_them(tmp_path: Path) -> None:
    large = tmp_path / "a.png"
    Image.new("1", (9500, 9500)).save(large)  # of which Pillow warns
    assert read_picture(large)[0].size == (9500, 9500)
    with pytest.raises(DataError, match=f"more than {MOST_PIXELS:,} pixels"):
        read_picture(png_header(large, 20_000, 20_000))


def test_odd_tags_beside_the_orientation_do_not_keep_a_picture_from_being_read(
    tmp_path: Path,
) -> None:
    path = with_orientation(tmp_path / "a.jpg", 6)
    stored = path.read_bytes()
    tag, text = struct.pack(">HHI", ORIENTATION_TAG, 3, 1), b"\1\0\0\2\0\0\0\2a\0\0\0"
    at = stored.index(tag)
    # One tag more: the width, said in a text. The segment and its count of tags grow with it.
    more = stored[: at - 2] + struct.pack(">H", 2) + text + stored[at:]
    length = stored.index(b"\xff\xe1") + 2
    grown = struct.unpack(">H", stored[length : length + 2])[0] + len(text)
    path.write_bytes(more[:length] + struct.pack(">H", grown) + more[length + 2 :])
    with Image.open(path) as image, pytest.raises(struct.error):
        ImageOps.exif_transpose(image)
    assert read_picture(path)[0].size == SIZE
    assert decode_image(path, SIZE[::-1]).size == SIZE
