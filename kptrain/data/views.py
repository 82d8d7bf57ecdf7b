"""The two views, from image to network input: the whole image stretched, or a crop of one person.

Shapes: K joints; a size is (height, width). Two frames:
- original: a keypoint's x, y is the index of a pixel, as COCO stores it;
- input: continuous pixels of the network's input, pixel i covers [i, i + 1).
A map from the original to the input frame is scale and shift: `input = (original + 0.5) * scale
+ shift`; neither view rotates.
"""

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from PIL import Image, ImageDraw

from kptrain.annotations.boxes import draw_outline
from kptrain.annotations.reader import CocoImage, Ignored, Person
from kptrain.config import OUTPUT_STRIDE

PERSON_MARGIN = 1.25
"""A person's crop is its box enlarged by this factor. Source: Xiao et al. 2018, section 3.2."""
PEAK_MARGIN = 1.2
"""In the image view a person's joints are searched in its box enlarged by this factor."""
LONGEST_CROP = 4096
"""Original pixels. A longer side is first reduced by a whole factor: otherwise the crop of a person
11,000 pixels high would be larger than Pillow allows. No image of COCO is half as long."""

Box = tuple[float, float, float, float]
"""x, y, width, height in original pixels, as COCO has them."""


@dataclass(frozen=True)
class Frame:
    """A rectangle of the original image, stretched over the whole input."""

    x: float
    y: float
    width: float
    height: float
    size: tuple[int, int]

    @property
    def scale(self) -> np.ndarray:
        """(2,) input pixels per original pixel, along x and y."""
        return np.array([self.size[1] / self.width, self.size[0] / self.height])

    @property
    def shift(self) -> np.ndarray:
        shift: np.ndarray = -np.array([self.x, self.y]) * self.scale
        return shift

    def keypoints_in(self, keypoints: np.ndarray) -> np.ndarray:
        """(K, 3) original keypoints to (K, 2) of the input."""
        moved: np.ndarray = (keypoints[:, :2] + 0.5) * self.scale + self.shift
        return moved

    def box_in(self, box_xywh: Box, margin: float) -> np.ndarray:
        """An original box, enlarged about its centre, as (x0, y0, x1, y1) of the input."""
        x, y, width, height = box_xywh
        centre = np.array([x + width / 2, y + height / 2])
        half = margin / 2 * np.array([width, height])
        corners: np.ndarray = np.stack((centre - half, centre + half)) * self.scale + self.shift
        return corners.reshape(4)

    def edges(self, image_size: tuple[int, int]) -> np.ndarray:
        """x0, y0, x1, y1 of an image of (height, width), also outside of the input."""
        corners: np.ndarray = np.array([[0, 0], image_size[::-1]]) * self.scale + self.shift
        return corners.reshape(4)

    def inside(self, image_size: tuple[int, int]) -> np.ndarray:
        """x0, y0, x1, y1 of an image of (height, width) in the input; all 0 if it lies outside."""
        corners = self.edges(image_size).reshape(2, 2)
        clipped: np.ndarray = np.clip(corners, 0, self.size[::-1]).reshape(4)
        is_empty = clipped[0] >= clipped[2] or clipped[1] >= clipped[3]
        return np.zeros(4) if is_empty else clipped

    def cut(self, image: Image.Image) -> np.ndarray:
        """The rectangle's pixels as (H, W, 3) uint8; black outside the image."""
        if max(self.width, self.height) > LONGEST_CROP:
            return self._cut_reduced(image)
        height, width = self.size
        left, top, right, bottom = self._whole_pixels()
        around = image.crop((left, top, right, bottom))
        box = (self.x - left, self.y - top, self.x - left + self.width, self.y - top + self.height)
        pixels: np.ndarray = np.asarray(
            around.resize((width, height), Image.Resampling.BILINEAR, box=box)
        )
        return pixels

    def _cut_reduced(self, image: Image.Image) -> np.ndarray:
        """As `cut`, from the part inside the image, first reduced by a whole factor."""
        left, top, right, bottom = self._whole_pixels()
        left, top = max(left, 0), max(top, 0)
        right, bottom = min(right, image.width), min(bottom, image.height)
        if right <= left or bottom <= top:
            return np.zeros((*self.size, 3), dtype=np.uint8)
        across, down = ceil(self.width / LONGEST_CROP), ceil(self.height / LONGEST_CROP)
        reduced = image.reduce((across, down), (left, top, right, bottom))
        x, y = (self.x - left) / across, (self.y - top) / down
        return Frame(x, y, self.width / across, self.height / down, self.size).cut(reduced)

    def _whole_pixels(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of all pixels that the rectangle touches."""
        right, bottom = self.x + self.width, self.y + self.height
        return floor(self.x), floor(self.y), ceil(right), ceil(bottom)


def image_frame(image: CocoImage, size: tuple[int, int]) -> Frame:
    """The whole image, stretched."""
    return Frame(0.0, 0.0, float(image.size[1]), float(image.size[0]), size)


def person_frame(person: Person, size: tuple[int, int]) -> Frame:
    """The person's box, widened to the input's aspect, then enlarged."""
    return box_frame(person.box_xywh, size, PERSON_MARGIN)


def box_frame(box_xywh: Box, size: tuple[int, int], margin: float) -> Frame:
    """A box, widened to the input's aspect, then enlarged by a factor about its centre."""
    x, y, width, height = box_xywh
    aspect = size[1] / size[0]
    crop_width = max(width, height * aspect) * margin
    crop_height = max(height, width / aspect) * margin
    left = x + width / 2 - crop_width / 2
    top = y + height / 2 - crop_height / 2
    return Frame(left, top, crop_width, crop_height, size)


def ignore_mask(image: CocoImage, size: tuple[int, int]) -> np.ndarray:
    """(H/4, W/4) bool: heatmap pixels of the stretched image that are masked in the loss."""
    height, width = size[0] // OUTPUT_STRIDE, size[1] // OUTPUT_STRIDE
    mask = np.zeros((height, width), dtype=bool)
    for region in image.ignored:
        covered = Image.fromarray(_region(region, image).astype(np.uint8) * 255)
        small = covered.resize((width, height), Image.Resampling.BOX)
        mask |= np.asarray(small) >= 128
    return mask


def _region(region: Ignored, image: CocoImage) -> np.ndarray:
    """(h, w) bool: the annotated outline, or the box less the boxes of labelled persons."""
    if region.segmentation:
        return np.asarray(draw_outline(region.segmentation, image.size), dtype=bool)
    height, width = image.size
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for box, value in ((region.box_xywh, 1), *((p.box_xywh, 0) for p in image.persons)):
        x, y, box_width, box_height = box
        # Pillow draws the last column and row too; at least one pixel of each.
        draw.rectangle((x, y, x + max(box_width - 1, 0), y + max(box_height - 1, 0)), fill=value)
    return np.asarray(canvas, dtype=bool)
