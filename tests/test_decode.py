"""One image file to RGB pixels: every mode, the frame of the annotation, and what is unsound."""

import random
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kptrain.decode import ORIENTATION_TAG, UnreadableImageError, decode_image

COLOUR = (200, 40, 90)
SIZE = (60, 80)
CANNOT = "images that cannot be decoded"
OTHER_SIZE = "images of another size than annotated"
TOO_LARGE = "images too large to be real"


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
def test_an_exif_rotation_is_applied_where_the_annotated_size_is_turned(
    tmp_path: Path, orientation: int, turn: Image.Transpose
) -> None:
    path = with_orientation(tmp_path / "a.jpg", orientation)
    with Image.open(path) as stored:
        expected = np.asarray(stored.transpose(turn))
    assert np.array_equal(np.asarray(decode_image(path, SIZE[::-1])), expected)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_a_turned_size_without_a_quarter_turn_in_the_file_is_another_size(
    tmp_path: Path, orientation: int
) -> None:
    path = with_orientation(tmp_path / "a.jpg", orientation)
    assert reason(path, SIZE[::-1]) == OTHER_SIZE


def test_an_orientation_that_is_no_turn_is_none(tmp_path: Path) -> None:
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


def test_a_header_that_claims_a_huge_image_is_a_reason_within_a_second(tmp_path: Path) -> None:
    path = png_header(tmp_path / "a.jpg", 50_000, 50_000)
    start = time.monotonic()
    assert reason(path, (50_000, 50_000)) == TOO_LARGE
    assert time.monotonic() - start < 1


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
