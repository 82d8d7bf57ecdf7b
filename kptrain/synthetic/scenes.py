"""Random scenes with synthetic persons, and their annotations in COCO's format.

Frame: pixels, x right and y down, edges of the image at 0 and at its width and height. A keypoint
is stored as the index of the pixel that it lies in, as COCO does.
Segmentation, box and area are of a person's whole silhouette inside the image, including parts that
are hidden by other objects.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kptrain.keypoints import JOINTS
from kptrain.synthetic import scenery
from kptrain.synthetic.figures import GROUPS, Figure, random_figure, shown_on
from kptrain.synthetic.poses import Floats

SIZES_WH = ((160, 128), (128, 160), (160, 160), (192, 128))

SHARE_EMPTY = 0.05
SHARE_CROWD = 0.05
SHARE_GREY = 0.04
SHARE_CUT_OFF = 0.15
SHARE_BEHIND_OBJECT = 0.15
SHARE_IN_FRONT = 0.25  # of the smaller persons: in front of the large one
SHARE_UNLABELLED = 0.17  # of the smaller persons; the large one is always labelled
SHARE_HIDDEN_FACE_LABELLED = 0.5  # of persons: joints behind their own head have v = 1, not 0
SHARE_BY_OTHERS = (0.65, 0.25, 0.10)  # of images with 0, 1, 2 persons beside the large one

Annotation = dict[str, Any]


@dataclass(frozen=True)
class Person:
    """A placed figure, and how it is labelled."""

    figure: Figure
    is_labelled: bool
    labels_hidden_face: bool
    is_behind_object: bool


@dataclass(frozen=True)
class Scene:
    """An image, mode RGB or L, and its annotations without their ids."""

    image: Image.Image
    annotations: list[Annotation]


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw an image without persons, or with one large person, and maybe others and a crowd."""
    size_wh = SIZES_WH[rng.integers(len(SIZES_WH))]
    canvas = scenery.Canvas(scenery.random_background(rng, size_wh))
    scenery.draw_furniture(rng, canvas, size_wh)
    annotations = []
    if rng.random() >= SHARE_EMPTY:
        crowd = _random_crowd(rng, size_wh) if rng.random() < SHARE_CROWD else []
        persons = _random_persons(rng, size_wh)
        _draw_persons(rng, canvas, crowd, persons)
        labels = np.asarray(canvas.labels)
        annotations = [_person_annotation(k, p, labels, size_wh) for k, p in enumerate(persons)]
        annotations += [_crowd_annotation(crowd, size_wh)] if crowd else []
    return Scene(_finished(rng, canvas.picture), annotations)


def _random_persons(rng: np.random.Generator, size_wh: tuple[int, int]) -> list[Person]:
    """Return the persons of a scene from back to front."""
    large = _random_person(rng, size_wh, rng.uniform(0.6, 0.97), 1.0, [])
    behind: list[Person] = []
    before: list[Person] = []
    for _ in range(rng.choice(len(SHARE_BY_OTHERS), p=SHARE_BY_OTHERS)):
        taken = [person.figure for person in (large, *behind, *before)]
        share_labelled = 1.0 - SHARE_UNLABELLED
        person = _random_person(rng, size_wh, rng.uniform(0.28, 0.6), share_labelled, taken)
        (before if rng.random() < SHARE_IN_FRONT else behind).append(person)
    return [*behind, large, *before]


def _random_person(
    rng: np.random.Generator,
    size_wh: tuple[int, int],
    height: float,
    share_labelled: float,
    taken: list[Figure],
) -> Person:
    """Return a person whose body height is `height` times the image's."""
    place = _cut_off if rng.random() < SHARE_CUT_OFF else _inside
    figure = random_figure(rng)
    placings = [place(rng, figure, size_wh, height * size_wh[1]) for _ in range(4)]
    return Person(
        figure=min(placings, key=lambda placed: _overlap(placed, taken)),
        is_labelled=bool(rng.random() < share_labelled),
        labels_hidden_face=bool(rng.random() < SHARE_HIDDEN_FACE_LABELLED),
        is_behind_object=bool(rng.random() < SHARE_BEHIND_OBJECT),
    )


def _inside(
    rng: np.random.Generator, figure: Figure, size_wh: tuple[int, int], height_px: float
) -> Figure:
    """Place a figure completely inside the image, smaller than `height_px` if necessary."""
    low, high = figure.corners_xy()
    scale = min(height_px, *(0.98 * np.array(size_wh) / (high - low)))
    free = size_wh - scale * (high - low)
    # Feet stand low in most photographs.
    return figure.placed(scale, free * rng.uniform(0, 1, 2) ** [1.0, 0.5] - scale * low)


def _cut_off(
    rng: np.random.Generator, figure: Figure, size_wh: tuple[int, int], height_px: float
) -> Figure:
    """Place a figure across the left, right or lower edge, at least 55 % of it inside."""
    edge = rng.choice(["left", "right", "lower"], p=[0.3, 0.3, 0.4])
    low, high = figure.corners_xy()
    scale = height_px * (1.25 if edge == "lower" else 1.0)
    box = scale * (high - low)
    corner = (size_wh - box) * rng.uniform(0, 1, 2)
    outside = rng.uniform(0.2, 0.45)
    if edge == "left":
        corner[0] = -outside * box[0]
    else:
        axis = 0 if edge == "right" else 1
        corner[axis] = size_wh[axis] - (1 - outside) * box[axis]
    return figure.placed(scale, corner - scale * low)


def _overlap(figure: Figure, others: list[Figure]) -> float:
    """Return the share of the figure's box that boxes of others cover, summed over them."""
    low, high = figure.corners_xy()
    covered = 0.0
    for other_low, other_high in (other.corners_xy() for other in others):
        sides = np.minimum(high, other_high) - np.maximum(low, other_low)
        covered += float(np.prod(np.maximum(sides, 0.0)) / np.prod(high - low))
    return covered


def _random_crowd(rng: np.random.Generator, size_wh: tuple[int, int]) -> list[Figure]:
    """Return a row of 6 to 10 small figures that overlap."""
    count = rng.integers(6, 11)
    height_px = rng.uniform(0.18, 0.28) * size_wh[1]
    start_xy = np.array([rng.uniform(0.1, 0.4) * size_wh[0], rng.uniform(0.3, 0.6) * size_wh[1]])
    steps = np.arange(count)[:, None] * [0.26 * height_px, 0.0]
    places = start_xy + steps + rng.normal(0.0, 0.06 * height_px, (count, 2))
    return [random_figure(rng).placed(height_px, place) for place in places]


def _draw_persons(
    rng: np.random.Generator, canvas: scenery.Canvas, crowd: list[Figure], persons: list[Person]
) -> None:
    for figure in crowd:
        canvas.unlabelled(figure)
    for index, person in enumerate(persons):
        canvas.person(person.figure, scenery.first_label(index))
        if person.is_behind_object:
            joint_xy = person.figure.joints_xy[rng.integers(5, len(JOINTS))]
            low, high = person.figure.corners_xy()
            scenery.draw_object(rng, canvas, joint_xy, rng.uniform(0.15, 0.4) * (high[1] - low[1]))


def _finished(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """Return the picture at its own size, grainy, in a few cases grey."""
    small = np.asarray(picture.reduce(scenery.OVERSAMPLING), np.float32)
    grain = rng.standard_normal(small.shape, np.float32) * np.float32(rng.uniform(0.0, 7.0))
    image = Image.fromarray(np.clip(small + grain, 0, 255).astype(np.uint8))
    return image.convert("L") if rng.random() < SHARE_GREY else image


def _person_annotation(
    index: int, person: Person, labels: NDArray[np.uint8], size_wh: tuple[int, int]
) -> Annotation:
    keypoints = np.zeros((len(JOINTS), 3), dtype=np.int64)
    if person.is_labelled:
        keypoints = _keypoints(index, person, labels, size_wh)
    outlines = [clipped(part.outline_xy, size_wh) for part in person.figure.parts]
    return {
        "segmentation": [xy.round(2).ravel().tolist() for xy in outlines if len(xy) >= 3],
        "num_keypoints": int(np.count_nonzero(keypoints[:, 2])),
        "iscrowd": 0,
        "keypoints": keypoints.ravel().tolist(),
        **_extent(scenery.silhouette([person.figure], size_wh), scenery.OVERSAMPLING),
    }


def _keypoints(
    index: int, person: Person, labels: NDArray[np.uint8], size_wh: tuple[int, int]
) -> NDArray[np.int64]:
    """Return [J, 3]: x, y and v = 2 if visible, 1 if hidden; all 0 if not labelled."""
    keypoints = np.zeros((len(JOINTS), 3), dtype=np.int64)
    for joint, name in enumerate(JOINTS):
        xy = person.figure.joints_xy[joint]
        is_behind_head = person.figure.behind_head[joint]
        is_inside = bool(np.all(xy >= 0) and np.all(xy < size_wh))
        if not is_inside or (is_behind_head and not person.labels_hidden_face):
            continue
        column, row = np.floor(xy * scenery.OVERSAMPLING).astype(int)
        own = {scenery.first_label(index) + GROUPS.index(group) for group in shown_on(name)}
        is_seen = int(labels[row, column]) in own and not is_behind_head
        keypoints[joint] = (*np.floor(xy).astype(int), 2 if is_seen else 1)
    return keypoints


def _crowd_annotation(crowd: list[Figure], size_wh: tuple[int, int]) -> Annotation:
    # One canvas pixel per pixel is enough: COCO's masks of crowds are coarse too.
    mask = scenery.silhouette(crowd, size_wh)[:: scenery.OVERSAMPLING, :: scenery.OVERSAMPLING]
    return {
        "segmentation": {"counts": run_lengths(mask), "size": list(mask.shape)},
        "num_keypoints": 0,
        "iscrowd": 1,
        "keypoints": [0] * (3 * len(JOINTS)),
        **_extent(mask, 1),
    }


def _extent(mask: NDArray[np.bool_], sampling: int) -> Annotation:
    """Return area and box, in pixels, of a mask with `sampling` samples a pixel along each axis."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    x, y = columns[0], rows[0]
    box = np.array([x, y, columns[-1] + 1 - x, rows[-1] + 1 - y]) / sampling
    return {"area": float(np.count_nonzero(mask)) / sampling**2, "bbox": box.tolist()}


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Return lengths of the runs of a mask [H, W] down its columns, the first one of zeros."""
    flat = mask.ravel(order="F")
    edges = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
    lengths: list[int] = np.diff(edges).tolist()
    return [0, *lengths] if flat[0] else lengths


def clipped(outline_xy: Floats, size_wh: tuple[int, int]) -> Floats:
    """Return the part of a convex outline [P, 2] inside the image; [0, 2] where there is none.

    Source: Sutherland and Hodgman, Reentrant polygon clipping, 1974, one edge at a time.
    """
    if np.all(outline_xy >= 0) and np.all(outline_xy <= size_wh):
        return outline_xy
    for axis, sign, limit in ((0, 1, 0), (0, -1, size_wh[0]), (1, 1, 0), (1, -1, size_wh[1])):
        kept: list[Floats] = []
        inwards = sign * (outline_xy[:, axis] - limit)
        for k in range(len(outline_xy)):
            if (inwards[k - 1] < 0) != (inwards[k] < 0):
                share = inwards[k - 1] / (inwards[k - 1] - inwards[k])
                kept.append(outline_xy[k - 1] + share * (outline_xy[k] - outline_xy[k - 1]))
            if inwards[k] >= 0:
                kept.append(outline_xy[k])
        outline_xy = np.array(kept).reshape(-1, 2)
    return outline_xy
