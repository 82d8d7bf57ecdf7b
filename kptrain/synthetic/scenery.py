"""Backgrounds and objects of synthetic scenes, and the canvas for drawing.

Frame: pixels of the finished image, x right and y down. The canvas has OVERSAMPLING pixels for
each of them along both axes, and is averaged down at the end.
Letters: h, w of the finished image, H, W of the canvas, P = points of an outline.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kptrain.synthetic.figures import CIRCLE, GROUPS, Colour, Figure, random_colour, shaded
from kptrain.synthetic.poses import Floats

OVERSAMPLING = 2


class Canvas:
    """A picture, and a label for each pixel: which part of which person it shows.

    A label is 0 for objects, and `first_label(person)` + the part's index in GROUPS for persons.
    """

    def __init__(self, background: Image.Image) -> None:
        self.picture = background.copy()
        self.labels = Image.new("L", self.picture.size)
        self._draw_picture = ImageDraw.Draw(self.picture)
        self._draw_labels = ImageDraw.Draw(self.labels)

    def polygon(self, outline_xy: Floats, colour: Colour, label: int = 0) -> None:
        """Fill an outline [P, 2] with a colour, edged a little darker."""
        points = canvas_points(outline_xy)
        self._draw_picture.polygon(points, fill=colour, outline=shaded(colour, 0.72))
        self._draw_labels.polygon(points, fill=label)

    def person(self, figure: Figure, first_label: int) -> None:
        """Draw a placed figure over the picture."""
        for part in figure.parts:
            self.polygon(part.outline_xy, part.colour, first_label + GROUPS.index(part.group))

    def unlabelled(self, figure: Figure) -> None:
        """Draw a placed figure without labels, such as one of a crowd."""
        for part in figure.parts:
            self.polygon(part.outline_xy, part.colour)


def first_label(person: int) -> int:
    """Return the label of the first group of the person with this index."""
    return 1 + person * len(GROUPS)


def canvas_points(outline_xy: Floats) -> list[tuple[int, int]]:
    """Return the canvas pixels that hold the points of an outline.

    Pillow truncates fractions; subtracting half a pixel, for centres at whole numbers, would shift
    all shapes up and to the left.
    """
    return [(int(x), int(y)) for x, y in np.floor(outline_xy * OVERSAMPLING).tolist()]


def silhouette(figures: list[Figure], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of the figures, [H, W], including parts behind other objects."""
    image = Image.new("L", _canvas_size(size_wh))
    draw = ImageDraw.Draw(image)
    for part in (part for figure in figures for part in figure.parts):
        draw.polygon(canvas_points(part.outline_xy), fill=1)
    mask: NDArray[np.bool_] = np.asarray(image) > 0
    return mask


def random_background(rng: np.random.Generator, size_wh: tuple[int, int]) -> Image.Image:
    """Return a wall with a shade and a pattern, and a floor, of the size of the canvas."""
    width, height = size_wh
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    wall, corner, floor = (np.array(random_colour(rng, 0.45)) for _ in range(3))
    slope = rng.uniform(0.0, 1.0)
    share = (slope * x / width + (1 - slope) * y / height)[..., None]
    picture = wall + rng.uniform(0.2, 1.0) * share * (corner - wall)
    picture += _random_pattern(rng, x, y)[..., None]
    horizon = int(height * rng.uniform(0.45, 1.1))
    picture[horizon:] = floor * np.linspace(0.75, 1.1, max(height - horizon, 0))[:, None, None]
    picture += _blotches(rng, size_wh)[..., None]
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    return image.resize(_canvas_size(size_wh), Image.Resampling.BICUBIC)


def _random_pattern(rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    """Return what a plain, striped, tiled or boarded wall adds to its colour; all [h, w]."""
    period, strength = rng.uniform(5.0, 25.0), rng.uniform(8.0, 30.0)
    tilt = rng.uniform(-0.4, 0.4)
    across, along = x + tilt * y, y - tilt * x
    pattern: Floats = np.zeros_like(x)
    kind = rng.choice(["plain", "striped", "tiled", "boarded"])
    if kind == "striped":
        pattern = np.sin(2 * np.pi * across / period)
    elif kind == "tiled":
        pattern = (across // period + along // period) % 2
    elif kind == "boarded":
        pattern = ((along / period) % 1.0 < 0.12).astype(np.float64)
    return strength * pattern


def _blotches(rng: np.random.Generator, size_wh: tuple[int, int]) -> NDArray[np.float32]:
    """Return soft light and dark spots, [h, w]."""
    coarse = Image.fromarray(rng.normal(0.0, rng.uniform(2.0, 22.0), (7, 9)).astype(np.float32))
    return np.asarray(coarse.resize(size_wh, Image.Resampling.BICUBIC), np.float32)


def _canvas_size(size_wh: tuple[int, int]) -> tuple[int, int]:
    return size_wh[0] * OVERSAMPLING, size_wh[1] * OVERSAMPLING


def draw_furniture(rng: np.random.Generator, canvas: Canvas, size_wh: tuple[int, int]) -> None:
    """Draw a few objects of random size at random places."""
    for _ in range(rng.integers(1, 7)):
        centre = rng.uniform(0.0, 1.0, 2) * size_wh
        draw_object(rng, canvas, centre, rng.uniform(0.08, 0.5) * min(size_wh))


def draw_object(rng: np.random.Generator, canvas: Canvas, centre_xy: Floats, extent: float) -> None:
    """Draw one object, a box, a ball, a bush or a pole, about `extent` pixels large."""
    kind = rng.choice(["box", "ball", "bush", "pole"], p=[0.45, 0.2, 0.2, 0.15])
    colour = random_colour(rng, 0.75)
    half = 0.5 * extent * rng.uniform(0.6, 1.4, 2)
    if kind == "bush":
        for _ in range(6):
            middle = centre_xy + rng.uniform(-0.6, 0.6, 2) * half
            tone = shaded(colour, rng.uniform(0.75, 1.15))
            canvas.polygon(middle + CIRCLE * half * rng.uniform(0.35, 0.6), tone)
        return
    if kind == "pole":
        half = half * [0.2, 2.0]
    shape = CIRCLE if kind == "ball" else np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    canvas.polygon(centre_xy + shape * half, colour)
    canvas.polygon(centre_xy + (0.6 * shape - [0.0, 0.2]) * half, shaded(colour, 1.15))
