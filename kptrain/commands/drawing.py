"""Draws a model's predictions: annotated joints, predicted joints and heatmaps, side by side.

Letters: n = persons, 17 = joints, h w = the input image, hm wm = its heatmaps, H W = a cell.
Frame: the input image's pixels, x right, y down, continuous: pixel i covers [i, i + 1). The
heatmaps cover the same extent. A cell shows the image enlarged or reduced by a whole factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from PIL import Image, ImageDraw, ImageFont, ImageOps

from kptrain.keypoints import JOINTS, SKELETON
from kptrain.machine.disk import replacing

FAINT_SCORE = 0.1
"""A predicted joint that scores less is drawn hollow and without its limbs."""

Colour = tuple[int, int, int]
COLOURS: dict[str, Colour] = {
    "left": (255, 152, 28),
    "right": (64, 176, 255),
    "middle": (242, 242, 242),
}
OUTLINE: Colour = (16, 16, 20)
PAGE: Colour = (24, 24, 28)
TEXT: Colour = (232, 232, 232)
QUIET: Colour = (160, 160, 166)

# Black, red, orange, cream: each brighter than the last, so that brightness alone shows the value.
FIRE = np.array([[0, 0, 0], [132, 18, 30], [244, 128, 16], [255, 214, 96], [255, 252, 236]])
BACKDROP = 0.4  # brightness of the grey image under the heatmaps, always below that of a peak

TITLES = ("true", "predicted", "heatmaps")
SHORTER_SIDE_PX = 192
LONGER_SIDE_PX = 2048
GAP_PX = 8
HEADER_PX = 24
CAPTION_PX = 24
TITLE_SIZE = 15
CAPTION_SIZE = 12
FINE = 4  # skeletons are drawn enlarged by this factor and then reduced, for smooth edges
BAND_PIXELS = 2**20  # drawn in bands, because the enlarged layer has 16 times as many pixels


@dataclass(frozen=True)
class Example:
    """One validation sample; all numbers are finite."""

    image: UInt8[np.ndarray, "h w 3"]
    true: Float32[np.ndarray, "n 17 3"]
    """x, y, labelled (above 0)."""
    predicted: Float32[np.ndarray, "n 17 3"]
    """x, y, keypoint score."""
    heatmaps: Float32[np.ndarray, "17 hm wm"]
    """The network's output."""


class Cell(NamedTuple):
    """One picture of the page, and the line under it."""

    picture: Image.Image
    caption: str


def draw_examples(
    examples: Sequence[Example], path: Path, titles: tuple[str, str, str] = TITLES
) -> None:
    """Write a PNG with one row per example; if writing fails, an existing file stays.

    Raises:
        ValueError: there is no example.
    """
    if not examples:
        raise ValueError("draw_examples: at least one example is needed, but got none")
    page = _page([(_true_cell(e), _predicted_cell(e), _heatmap_cell(e)) for e in examples], titles)
    with replacing(path) as temporary:
        # The lowest bit of a photograph is noise, and a sixth of the file.
        ImageOps.posterize(page, 7).save(temporary, format="PNG")


def draw_persons(image: Image.Image, found: Float64[np.ndarray, "n 17 3"]) -> Image.Image:
    """The RGB image with each person's joints; those with a low score are hollow.

    A small image is enlarged, and a large one reduced, by a whole factor, so that the marks have a
    constant size and the memory is limited.

    found: x, y as indices of the image's pixels, and keypoint score.
    """
    xy = (found[..., :2] + 0.5).astype(np.float32)
    everywhere = np.ones(found.shape[:2], dtype=bool)
    return _with_skeletons(image, xy, everywhere, found[..., 2] >= FAINT_SCORE)


def _page(rows: Sequence[tuple[Cell, Cell, Cell]], titles: tuple[str, str, str]) -> Image.Image:
    """Lay the cells out under a header; columns are as wide as the widest image."""
    column = GAP_PX + max(row[0].picture.width for row in rows)
    height = HEADER_PX + sum(row[0].picture.height + CAPTION_PX for row in rows)
    page = Image.new("RGB", (3 * column + GAP_PX, height), PAGE)
    draw = ImageDraw.Draw(page)
    _header(draw, column, titles)
    top = HEADER_PX
    for row in rows:
        bottom = top + row[0].picture.height
        for index, (picture, caption) in enumerate(row):
            left = GAP_PX + index * column
            page.paste(picture, (left, top))
            _write(draw, (left, bottom + CAPTION_SIZE // 2 + 2), caption, QUIET)
        top = bottom + CAPTION_PX
    return page


def _header(draw: ImageDraw.ImageDraw, column: int, titles: tuple[str, str, str]) -> None:
    """Write the columns' titles, and a legend at their right ends."""
    middle = HEADER_PX // 2
    for index, title in enumerate(titles):
        _write(draw, (GAP_PX + index * column, middle), title, TEXT, size=TITLE_SIZE)
    _write(draw, (column - 36, middle), "left", COLOURS["left"], anchor="rm")
    _write(draw, (column, middle), "right", COLOURS["right"], anchor="rm")
    _write(draw, (2 * column, middle), f"hollow: below {FAINT_SCORE}", QUIET, anchor="rm")


def _write(
    draw: ImageDraw.ImageDraw,
    xy: tuple[int, int],
    text: str,
    colour: Colour,
    anchor: str = "lm",
    size: int = CAPTION_SIZE,
) -> None:
    draw.text(xy, text, fill=colour, font=ImageFont.load_default(size=size), anchor=anchor)


def _true_cell(example: Example) -> Cell:
    labelled = example.true[..., 2] > 0
    image = Image.fromarray(example.image)
    picture = _with_skeletons(image, example.true[..., :2], labelled, labelled)
    return Cell(picture, f"persons: {len(labelled)}, labelled joints: {labelled.sum()}")


def _predicted_cell(example: Example) -> Cell:
    score = example.predicted[..., 2]
    everywhere = np.ones_like(score, dtype=bool)
    image, xy = Image.fromarray(example.image), example.predicted[..., :2]
    picture = _with_skeletons(image, xy, everywhere, score >= FAINT_SCORE)
    return Cell(picture, f"mean score: {score.mean():.2f}" if score.size else "")


def _heatmap_cell(example: Example) -> Cell:
    """Lay the highest of the 17 heatmaps over the image, relative to the highest peak."""
    highest = example.heatmaps.max(axis=0)
    peak = float(highest.max())
    grey = _resized(Image.fromarray(example.image)).convert("L")
    # Reversed because Pillow counts (width, height); both pictures span the same extent.
    smooth = Image.fromarray(highest).resize(grey.size, Image.Resampling.BICUBIC)
    strength = np.clip(np.asarray(smooth) / peak, 0, 1) if peak > 0 else np.zeros(grey.size[::-1])
    share = np.sqrt(strength)[..., None]
    overlay = (1 - share) * BACKDROP * np.asarray(grey)[..., None] + share * _fire(strength)
    return Cell(Image.fromarray(overlay.round().astype(np.uint8)), f"highest peak: {peak:.2f}")


def _fire(strength: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W 3"]:
    """Return the colours, 0 to 255, of values from 0 to 1."""
    stops = np.linspace(0, 1, len(FIRE))
    return np.stack([np.interp(strength, stops, channel) for channel in FIRE.T], axis=-1)


def _factor(size: tuple[int, int]) -> float:
    """The scale of a picture: a whole number to enlarge it, the inverse of one to reduce it."""
    shorter, longer = min(size), max(size)
    if longer > LONGER_SIDE_PX:
        return 1 / ceil(longer / LONGER_SIDE_PX)
    return float(min(ceil(SHORTER_SIDE_PX / shorter), LONGER_SIDE_PX // longer))


def _resized(image: Image.Image) -> Image.Image:
    factor = _factor(image.size)
    if factor < 1:
        return image.reduce(round(1 / factor))
    size = (round(image.width * factor), round(image.height * factor))
    return image.resize(size, Image.Resampling.BICUBIC)


def _with_skeletons(
    image: Image.Image,
    xy: Float32[np.ndarray, "n 17 2"],
    shown: Bool[np.ndarray, "n 17"],
    confident: Bool[np.ndarray, "n 17"],
) -> Image.Image:
    """Resize the image and draw the shown joints; those that are not confident are hollow."""
    picture = _resized(image)
    fine_xy = xy * (_factor(image.size) * FINE)
    most_rows = max(1, BAND_PIXELS // picture.width)
    for top in range(0, picture.height, most_rows):
        rows = min(most_rows, picture.height - top)
        layer = Image.new("RGBA", (picture.width * FINE, rows * FINE))
        draw = ImageDraw.Draw(layer)
        for person in range(len(xy)):
            within = fine_xy[person] - np.array([0, top * FINE], dtype=np.float32)
            _draw_person(draw, within, shown[person], confident[person])
        layer = layer.reduce(FINE)
        picture.paste(layer, (0, top), mask=layer)
    return picture


def _draw_person(
    draw: ImageDraw.ImageDraw,
    xy: Float32[np.ndarray, "17 2"],
    shown: Bool[np.ndarray, "17"],
    confident: Bool[np.ndarray, "17"],
) -> None:
    """Draw in layer pixels: limbs first, and a dark edge around everything for contrast."""
    if not shown.any():
        return
    # Thinner for small persons, whose joints would merge otherwise.
    unit = FINE * float(
        np.clip(
            np.ptp(xy[confident if confident.any() else shown], axis=0).max() / FINE / 80, 0.7, 1.4
        )
    )
    limbs = [limb for limb in SKELETON if confident[list(limb)].all()]
    for a, b in limbs:
        draw.line(xy[[a, b]].ravel().tolist(), OUTLINE, round(2.6 * unit))
    for a, b in limbs:
        draw.line(xy[[a, b]].ravel().tolist(), _limb_colour(a, b), round(1.4 * unit))
    for joint in np.flatnonzero(shown).tolist():
        _draw_dot(
            draw, xy[joint].tolist(), unit, COLOURS[_side(joint)], is_hollow=not confident[joint]
        )


def _draw_dot(
    draw: ImageDraw.ImageDraw, centre: list[float], unit: float, colour: Colour, is_hollow: bool
) -> None:
    if is_hollow:
        draw.circle(centre, 3.4 * unit, outline=OUTLINE, width=round(1.2 * unit))
        draw.circle(centre, 2.8 * unit, outline=colour, width=round(1.1 * unit))
    else:
        draw.circle(centre, 2.8 * unit, fill=OUTLINE)
        draw.circle(centre, 2.1 * unit, fill=colour)


def _side(joint: int) -> str:
    side, _, place = JOINTS[joint].partition("_")
    return side if place else "middle"


def _limb_colour(a: int, b: int) -> Colour:
    """The colour of the limb's side; a limb between left and right has the middle's colour."""
    sides = {_side(a), _side(b)} - {"middle"}
    return COLOURS[sides.pop() if len(sides) == 1 else "middle"]
