"""How good detections are: object keypoint similarity, and COCO's average precision.

Shapes: M labelled persons, K joints. Everything is in original image pixels, so a value means
the same in both views and at every sigma. Boxes are ground truth: there is one detection for
each labelled person.
"""

import contextlib
import io

import numpy as np
import torch
from jaxtyping import Float
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from kptrain.config import OUTPUT_STRIDE
from kptrain.heatmaps import decode
from kptrain.keypoints import NUM_JOINTS, OKS_SIGMAS
from kptrain.pack import Pack, Table

CATEGORY = 1
"""COCO's category of persons."""


def detect(
    heatmaps: Float[Tensor, "B K H W"], pack: Pack, samples: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find every labelled person of some samples in their heatmaps.

    Returns (m,) the persons' rows in the pack, and (m, K, 3) x, y, peak height; x and y in the
    original image.
    """
    table = pack.table
    counts = table.first[samples + 1] - table.first[samples]
    inside = np.repeat(np.arange(len(samples)), counts)
    persons = np.concatenate([np.arange(table.first[s], table.first[s + 1]) for s in samples])
    boxes = torch.from_numpy(table.peak_box[persons] / OUTPUT_STRIDE).to(heatmaps.device)
    rows = torch.from_numpy(inside).to(heatmaps.device)
    found = decode(heatmaps[rows].float(), boxes).cpu().numpy().astype(np.float64)
    scale, shift = table.scale[samples][inside], table.shift[samples][inside]
    found[:, :, :2] = (found[:, :, :2] * OUTPUT_STRIDE - shift[:, None]) / scale[:, None] - 0.5
    return persons, found


def oks(found: np.ndarray, table: Table) -> np.ndarray:
    """(M,) similarity of the detection of each person to its annotation, 0 to 1.

    Source: COCOeval.computeOks of pycocotools.
    """
    variance = (2 * np.array(OKS_SIGMAS)) ** 2
    distance = np.square(found[:, :, :2] - table.keypoints[:, :, :2]).sum(axis=2)
    error = distance / variance / (table.area[:, None] + np.spacing(1)) / 2
    labelled = table.keypoints[:, :, 2] > 0
    similarity: np.ndarray = (np.exp(-error) * labelled).sum(axis=1) / labelled.sum(axis=1)
    return similarity


def average_precision(found: np.ndarray, table: Table) -> float:
    """COCO's AP at OKS .50:.95 of (M, K, 3) detections, scored by their mean peak height."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        truth = COCO()
        truth.dataset = _annotations(table)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(_results(found, table)), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def _annotations(table: Table) -> dict[str, object]:
    return {
        "info": {},
        "images": [{"id": int(image)} for image in np.unique(table.image_id)],
        "categories": [{"id": CATEGORY, "name": "person"}],
        "annotations": [
            {
                "id": int(table.person_id[row]),
                "image_id": int(table.image_id[row]),
                "category_id": CATEGORY,
                "keypoints": table.keypoints[row].flatten().tolist(),
                "num_keypoints": int((table.keypoints[row, :, 2] > 0).sum()),
                "area": float(table.area[row]),
                "bbox": _around(table.keypoints[row]),
                "iscrowd": 0,
            }
            for row in range(len(table.area))
        ],
    }


def _around(keypoints: np.ndarray) -> list[float]:
    """A box that COCOeval asks for, and reads only for persons without keypoints."""
    low, high = keypoints[:, :2].min(axis=0), keypoints[:, :2].max(axis=0)
    return [*low.tolist(), *(high - low).tolist()]


def _results(found: np.ndarray, table: Table) -> list[dict[str, object]]:
    return [
        {
            "image_id": int(table.image_id[row]),
            "category_id": CATEGORY,
            "keypoints": _with_score(found[row]),
            "score": float(found[row, :, 2].mean()),
        }
        for row in range(len(found))
    ]


def _with_score(joints: np.ndarray) -> list[float]:
    assert joints.shape == (NUM_JOINTS, 3)
    numbers: list[float] = joints.flatten().tolist()
    return numbers
