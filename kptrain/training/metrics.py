"""Metrics of detections: object keypoint similarity (OKS), and COCO's ten numbers.

Shapes: M labelled persons, A annotations (persons and ignored regions), K joints, T thresholds
of similarity, R ranges of area; of images with equally many of both: I images, D detections, G
annotations. Positions are in original image pixels, so a value means the same in both views and at
every sigma. Boxes are ground truth: there is one detection for each labelled person.

Source: COCOeval of pycocotools, which takes seconds where this takes milliseconds; tests compare
the two.
"""

from dataclasses import dataclass

import numpy as np

from kptrain.data.pack_format import Table
from kptrain.errors import DataError
from kptrain.keypoints import COCO_NUMBERS, OKS_SIGMAS

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
ALL, MEDIUM, LARGE = 0, 1, 2
AREAS = np.array([[0, 1e5**2], [32**2, 96**2], [96**2, 1e5**2]])
"""(R, 2) square pixels, both ends included."""
MOST_DETECTIONS = 20
"""Per image; of more, COCO counts those with the highest scores."""


def similarity(found: np.ndarray, persons: np.ndarray, table: Table) -> np.ndarray:
    """(m,) OKS of (m, K, 3) detections with the labelled persons in these rows of the table."""
    return _similarity(found, table.keypoints[persons], np.zeros((1, 4)), table.area[persons])


def oks(found: np.ndarray, table: Table) -> np.ndarray:
    """(M,) OKS of each person's detection with its annotation, 0 to 1."""
    return similarity(found, np.arange(len(found)), table)


def _similarity(
    found: np.ndarray, keypoints: np.ndarray, box_xywh: np.ndarray, area: np.ndarray
) -> np.ndarray:
    """OKS of (..., K, 3) detections with annotations (...).

    If an annotation has no labelled joint, the error of a joint is its distance from the box
    enlarged threefold about its centre, 0 inside it.
    """
    variance = (2 * np.array(OKS_SIGMAS)) ** 2
    labelled: np.ndarray = keypoints[..., 2].astype(bool)
    is_labelled = labelled.sum(axis=-1, keepdims=True) > 0
    low, size = box_xywh[..., None, :2], box_xywh[..., None, 2:]
    below, above = (low - size) - found[..., :2], found[..., :2] - (low + 2 * size)
    outside = np.maximum(below, 0) + np.maximum(above, 0)
    apart = np.where(is_labelled[..., None], found[..., :2] - keypoints[..., :2], outside)
    error = np.square(apart).sum(axis=-1) / variance / (area[..., None] + np.spacing(1)) / 2
    counted = labelled | ~is_labelled
    value: np.ndarray = (np.exp(-error) * counted).sum(axis=-1) / counted.sum(axis=-1)
    return value


def check_metric(metric: str, table: Table) -> None:
    """Raises: DataError if the validation split has no person of the size that the metric needs."""
    for ending, area in (("_m", MEDIUM), ("_l", LARGE)):
        low, high = AREAS[area]
        if metric.endswith(ending) and not ((table.area >= low) & (table.area <= high)).any():
            raise DataError(
                f"checkpoint.metric: {metric} must have validation persons to be measured on, of "
                f"an area from {low:g} to {high:g} square pixels, but there is none; choose "
                f"another metric, such as {metric.removesuffix(ending)}"
            )


def coco_numbers(found: np.ndarray, table: Table) -> dict[str, float]:
    """COCO's ten numbers of (M, K, 3) detections; a score is the mean of the keypoint scores.

    A number is -1 if no person is in its range of areas, as in COCO.
    """
    truth = _Truth.of(table)
    scores = found[:, :, 2].mean(axis=1)
    # COCO's order: by image, then by descending score; ties in the order of the file.
    in_images = np.lexsort((-scores, table.image_id))
    images, first = np.unique(table.image_id[in_images], return_index=True)
    counts = np.stack((np.diff(first, append=len(found)), truth.num_in(images)), axis=1)
    shape = (len(AREAS), len(THRESHOLDS), len(found))
    is_true, is_ignored = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    is_counted = np.zeros(len(found), dtype=bool)
    for both in np.unique(counts, axis=0):  # images with equal counts at once
        which = (counts == both).all(axis=1)
        places = (first[which][:, None] + np.arange(both[0]))[:, :MOST_DETECTIONS]
        is_counted[places] = True
        matched = _match(found[in_images[places]], truth.of_images(images[which]))
        is_true[:, :, places], is_ignored[:, :, places] = matched
    by_score = np.argsort(-scores[in_images][is_counted], kind="stable")
    order = np.flatnonzero(is_counted)[by_score]
    precision, recall = _curves(is_true[..., order], is_ignored[..., order], truth.num_persons())
    return dict(zip(COCO_NUMBERS, [*_ten(precision), *_ten(recall)], strict=True))


@dataclass(frozen=True)
class _Truth:
    """Annotations: of a table, sorted by image and the order of the file, (A, ...); or of images
    with equally many annotations, (I, G, ...)."""

    image_id: np.ndarray
    keypoints: np.ndarray
    box_xywh: np.ndarray
    area: np.ndarray
    is_crowd: np.ndarray
    is_ignored: np.ndarray
    """(R, A) or (R, I, G) bool: a detection that matches it does not count."""

    @classmethod
    def of(cls, table: Table) -> "_Truth":
        """All annotations of the images with a labelled person."""
        num_persons = len(table.area)
        image_id = np.concatenate((table.image_id, table.ignored_image_id))
        place = np.concatenate((table.place, table.ignored_place))
        order = np.lexsort((place, image_id))
        area = np.concatenate((table.area, table.ignored_area))[order]
        is_outside = (area < AREAS[:, :1]) | (area > AREAS[:, 1:])
        boxes = np.concatenate((np.zeros((num_persons, 4)), table.ignored_box))
        is_crowd = np.concatenate((np.zeros(num_persons, dtype=bool), table.ignored_is_crowd))
        return cls(
            image_id=image_id[order],
            keypoints=np.concatenate((table.keypoints, table.ignored_keypoints))[order],
            box_xywh=boxes[order],
            area=area,
            is_crowd=is_crowd[order],
            is_ignored=is_outside | (order >= num_persons),
        )

    def num_in(self, images: np.ndarray) -> np.ndarray:
        """The number of annotations of each image."""
        count: np.ndarray = np.searchsorted(self.image_id, images, side="right")
        return count - np.searchsorted(self.image_id, images)

    def of_images(self, images: np.ndarray) -> "_Truth":
        """The annotations of images with equally many."""
        rows = np.flatnonzero(np.isin(self.image_id, images)).reshape(len(images), -1)
        return _Truth(
            image_id=self.image_id[rows],
            keypoints=self.keypoints[rows],
            box_xywh=self.box_xywh[rows],
            area=self.area[rows],
            is_crowd=self.is_crowd[rows],
            is_ignored=self.is_ignored[:, rows],
        )

    def num_persons(self) -> np.ndarray:
        """(R,) the number of annotations to be found."""
        count: np.ndarray = (~self.is_ignored).sum(axis=1)
        return count


def _match(found: np.ndarray, truth: _Truth) -> tuple[np.ndarray, np.ndarray]:
    """(R, T, I, D) bool, twice: which of (I, D, K, 3) detections, best score first, match a person,
    and which are ignored.

    A detection matches the most similar unmatched person, the last of equals, if the similarity
    reaches the threshold; else an ignored annotation by the same rule, where a crowd can be matched
    any number of times. An unmatched detection whose extent is outside the range of areas is
    ignored.
    """
    similar = _similarity(
        found[:, :, None],
        truth.keypoints[:, None],
        truth.box_xywh[:, None],
        truth.area[:, None],
    )
    num_images, num_detections, num_annotations = similar.shape
    is_ignored, shape = truth.is_ignored[:, None], (len(AREAS), len(THRESHOLDS), num_images)
    is_free = np.ones((*shape, num_annotations), dtype=bool)
    is_true = np.zeros((*shape, num_detections), dtype=bool)
    is_dropped = np.zeros_like(is_true)
    for number in range(num_detections):
        person, is_match = _best(similar[:, number], is_free & ~is_ignored)
        other, is_other = _best(similar[:, number], is_free & is_ignored)
        is_true[..., number] = is_match
        is_dropped[..., number] = is_other & ~is_match
        taken = np.where(is_match, person, other)
        is_crowd = truth.is_crowd[np.arange(num_images), taken]
        where = np.nonzero(is_match | (is_other & ~is_crowd))
        is_free[(*where, taken[where])] = False
    area = np.prod(np.ptp(found[..., :2], axis=2), axis=-1)
    is_outside = (area < AREAS[:, 0, None, None]) | (area > AREAS[:, 1, None, None])
    return is_true, is_dropped | (~is_true & is_outside[:, None])


def _best(similar: np.ndarray, is_open: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R, T, I) the most similar of the open annotations (R, T, I, G), the last of equals, and
    whether its similarity reaches the threshold."""
    value = np.where(is_open, similar, -1.0)
    best = value.shape[-1] - 1 - value[..., ::-1].argmax(axis=-1)
    least = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    return best, np.take_along_axis(value, best[..., None], axis=-1)[..., 0] >= least


def _curves(
    is_true: np.ndarray, is_ignored: np.ndarray, num_persons: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The precision at each recall (R, T, recalls) and the final recall (R, T) of (R, T, D)
    detections, best score first; NaN for a range without persons."""
    precision = np.full((*is_true.shape[:2], len(RECALLS)), np.nan)
    recall = np.full(is_true.shape[:2], np.nan)
    for area, threshold in np.ndindex(*is_true.shape[:2]):
        if not num_persons[area]:
            continue
        counted = ~is_ignored[area, threshold]
        num_true = np.cumsum(is_true[area, threshold] & counted, dtype=np.float64)
        num_false = np.cumsum(~is_true[area, threshold] & counted, dtype=np.float64)
        reached = num_true / num_persons[area]
        value = num_true / (num_false + num_true + np.spacing(1))
        envelope = np.append(np.maximum.accumulate(value[::-1])[::-1], 0.0)
        precision[area, threshold] = envelope[np.searchsorted(reached, RECALLS, side="left")]
        recall[area, threshold] = reached[-1]
    return precision, recall


def _ten(values: np.ndarray) -> list[float]:
    """Five numbers of precision or recall: all thresholds, .50, .75, medium, large."""
    means = [values[ALL], values[ALL, 0], values[ALL, 5], values[MEDIUM], values[LARGE]]
    return [-1.0 if np.isnan(part).any() else float(part.mean()) for part in means]
