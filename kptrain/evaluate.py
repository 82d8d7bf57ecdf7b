"""How good detections are: object keypoint similarity, and COCO's average precision.

Shapes: M labelled persons, K joints, T thresholds of similarity, I images. Positions are in
original image pixels, so a value means the same in both views and at every sigma. Boxes are ground
truth: there is one detection for each labelled person.

Source: COCOeval of pycocotools, which takes seconds where this takes milliseconds; tests hold the
two together.
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from kptrain.config import OUTPUT_STRIDE
from kptrain.device import send
from kptrain.heatmaps import decode
from kptrain.keypoints import OKS_SIGMAS
from kptrain.pack_files import Pack, Table

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MOST_DETECTIONS = 20
"""In an image; of more, COCO takes the highest scores."""


def persons_of(samples: np.ndarray, table: Table) -> tuple[np.ndarray, np.ndarray]:
    """(m,) the rows of the samples' persons, and (m,) in which of the samples each is."""
    counts = table.first[samples + 1] - table.first[samples]
    inside = np.repeat(np.arange(len(samples)), counts)
    before = np.cumsum(counts) - counts
    return table.first[samples][inside] + np.arange(len(inside)) - before[inside], inside


def find_peaks(
    heatmaps: Float[Tensor, "B K h w"], samples: np.ndarray, table: Table
) -> Float[Tensor, "m K 3"]:
    """Find every person of some samples: x, y in the input and peak height, on the device."""
    persons, inside = persons_of(samples, table)
    boxes = send(table.peak_box[persons] / OUTPUT_STRIDE, heatmaps.device)
    return decode(heatmaps[send(inside, heatmaps.device)], boxes)


def in_original(peaks: Float[Tensor, "m K 3"], samples: np.ndarray, table: Table) -> np.ndarray:
    """(m, K, 3) float64: the peaks of some samples with x and y in the original image."""
    _, inside = persons_of(samples, table)
    found = peaks.cpu().numpy().astype(np.float64)
    scale, shift = table.scale[samples][inside], table.shift[samples][inside]
    found[:, :, :2] = (found[:, :, :2] * OUTPUT_STRIDE - shift[:, None]) / scale[:, None] - 0.5
    return found


def detect(
    heatmaps: Float[Tensor, "B K h w"], pack: Pack, samples: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find every labelled person of some samples in their heatmaps.

    Returns (m,) the persons' rows in the pack, and (m, K, 3) x, y, peak height; x and y in the
    original image.
    """
    peaks = find_peaks(heatmaps, samples, pack.table)
    return persons_of(samples, pack.table)[0], in_original(peaks, samples, pack.table)


def oks(found: np.ndarray, table: Table) -> np.ndarray:
    """(M,) similarity of the detection of each person to its annotation, 0 to 1."""
    rows = np.arange(len(found))
    return similarity(found, rows, table)


def similarity(found: np.ndarray, truth: np.ndarray, table: Table) -> np.ndarray:
    """OKS of (..., K, 3) detections to the persons in rows (...) of the table."""
    variance = (2 * np.array(OKS_SIGMAS)) ** 2
    keypoints = table.keypoints[truth]
    distance = np.square(found[..., :2] - keypoints[..., :2]).sum(axis=-1)
    error = distance / variance / (table.area[truth][..., None] + np.spacing(1)) / 2
    labelled = keypoints[..., 2] > 0
    similarity: np.ndarray = (np.exp(-error) * labelled).sum(axis=-1) / labelled.sum(axis=-1)
    return similarity


def average_precision(found: np.ndarray, table: Table) -> float:
    """COCO's AP at OKS .50:.95 of (M, K, 3) detections, scored by their mean peak height."""
    scores = found[:, :, 2].mean(axis=1)
    # COCO's order: by image, in an image by falling score; ties as they come.
    in_images = np.lexsort((-scores, table.image_id))
    _, first, counts = np.unique(table.image_id[in_images], return_index=True, return_counts=True)
    is_true = np.zeros((len(THRESHOLDS), len(found)), dtype=bool)
    counted = np.zeros(len(found), dtype=bool)
    for count in np.unique(counts):  # images with equally many persons at once
        places = first[counts == count][:, None] + np.arange(count)
        kept = places[:, :MOST_DETECTIONS]
        counted[kept] = True
        detected, truth = in_images[kept], np.sort(in_images[places], axis=1)
        matched = similarity(found[detected][:, :, None], truth[:, None], table)
        is_true[:, kept] = _matched(matched)
    by_score = np.argsort(-scores[in_images][counted], kind="stable")
    return float(_precision_at_recalls(is_true[:, counted][:, by_score], len(found)).mean())


def _matched(similarity: np.ndarray) -> np.ndarray:
    """(T, I, D) bool: which detections, best score first, get a person of their own.

    `similarity` is (I, D, G). Each detection takes the free person that it is most similar to, the
    last of equals, if that is similar enough.
    """
    num_images, num_detections, num_persons = similarity.shape
    is_free = np.ones((len(THRESHOLDS), num_images, num_persons), dtype=bool)
    is_true = np.zeros((len(THRESHOLDS), num_images, num_detections), dtype=bool)
    for number in range(num_detections):
        open_to = np.where(is_free, similarity[:, number], -1.0)
        best = num_persons - 1 - open_to[:, :, ::-1].argmax(axis=2)
        value = np.take_along_axis(open_to, best[:, :, None], axis=2)[:, :, 0]
        is_true[:, :, number] = value >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
        threshold, image = np.nonzero(is_true[:, :, number])
        is_free[threshold, image, best[threshold, image]] = False
    return is_true


def _precision_at_recalls(is_true: np.ndarray, num_persons: int) -> np.ndarray:
    """(T, R) precision of (T, D) detections, best score first, at which a recall is reached."""
    num_true = np.cumsum(is_true, axis=1, dtype=np.float64)
    recall = num_true / num_persons
    precision = num_true / np.arange(1, is_true.shape[1] + 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    found = np.zeros((len(is_true), len(RECALLS)))
    for row in range(len(is_true)):
        places = np.searchsorted(recall[row], RECALLS, side="left")
        reached = places < is_true.shape[1]
        found[row, reached] = envelope[row, places[reached]]
    return found
