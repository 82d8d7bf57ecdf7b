"""OKS and AP of as many persons as val2017 has, against pycocotools, which gives the same."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bench.measure import in_turns, parse_arguments, ratio, record, show, spread
from kptrain.evaluate import average_precision, oks
from kptrain.keypoints import NUM_JOINTS
from kptrain.pack_files import Table

NUM_IMAGES, NUM_PERSONS = 2346, 6352
"""Of val2017 with a labelled keypoint. Source: COCO's person_keypoints_val2017.json."""


def some_persons(generator: np.random.Generator) -> tuple[Table, np.ndarray]:
    """Persons spread over images as unevenly as COCO's, and detections near them."""
    share = generator.pareto(1.5, NUM_IMAGES) + 0.3
    extra = generator.choice(NUM_IMAGES, NUM_PERSONS - NUM_IMAGES, p=share / share.sum())
    images = np.sort(np.concatenate((np.arange(NUM_IMAGES), extra)))
    keypoints = np.full((NUM_PERSONS, NUM_JOINTS, 3), 2.0)
    keypoints[:, :, :2] = generator.uniform(0, 400, (NUM_PERSONS, 1, 2))
    keypoints[:, :, :2] += generator.normal(0, 40, (NUM_PERSONS, NUM_JOINTS, 2))
    empty = np.empty(0)
    first = np.searchsorted(images, np.arange(NUM_IMAGES + 1))
    table = Table(
        row=np.arange(NUM_IMAGES),
        first=first,
        scale=empty,
        shift=empty,
        inside=empty,
        joints=empty,
        peak_box=empty,
        keypoints=keypoints,
        area=generator.uniform(500, 40_000, NUM_PERSONS),
        person_id=np.arange(NUM_PERSONS) + 1,
        image_id=images,
    )
    found = keypoints.copy()
    size = np.sqrt(table.area) * generator.random(NUM_PERSONS) * 0.3
    found[:, :, :2] += generator.normal(size=(NUM_PERSONS, NUM_JOINTS, 2)) * size[:, None, None]
    found[:, :, 2] = generator.random((NUM_PERSONS, NUM_JOINTS))
    return table, found


def cocos_own(table: Table, found: np.ndarray) -> float:
    """The same by pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": int(image)} for image in np.unique(table.image_id)],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [
                {
                    "id": int(table.person_id[row]),
                    "image_id": int(table.image_id[row]),
                    "category_id": 1,
                    "keypoints": table.keypoints[row].flatten().tolist(),
                    "num_keypoints": NUM_JOINTS,
                    "area": float(table.area[row]),
                    "bbox": [0.0, 0.0, 1.0, 1.0],
                    "iscrowd": 0,
                }
                for row in range(NUM_PERSONS)
            ],
        }
        truth.createIndex()
        results = [
            {
                "image_id": int(table.image_id[row]),
                "category_id": 1,
                "keypoints": found[row].flatten().tolist(),
                "score": float(found[row, :, 2].mean()),
            }
            for row in range(NUM_PERSONS)
        ]
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def main() -> None:
    arguments = parse_arguments(__doc__)
    table, found = some_persons(np.random.default_rng(0))
    values = average_precision(found, table), cocos_own(table, found)
    seconds = in_turns(
        {
            "ours": lambda: (oks(found, table), average_precision(found, table)),
            "pycocotools": lambda: cocos_own(table, found),
        },
        arguments.repetitions,
    )
    milliseconds = spread([1e3 * s for s in seconds["ours"]], 0)
    times = ratio(seconds["pycocotools"], seconds["ours"])
    show(
        [
            ("ours, ms", milliseconds),
            ("pycocotools, ms", spread([1e3 * s for s in seconds["pycocotools"]], 0)),
            ("pycocotools / ours", times),
            ("AP of each", f"{values[0]:.12f} {values[1]:.12f}"),
        ]
    )
    record(
        arguments,
        f"OKS and AP of {NUM_PERSONS:,} persons in {milliseconds} ms, {times} pycocotools; "
        f"AP differs by {abs(values[0] - values[1]):.1g}",
    )


if __name__ == "__main__":
    main()
