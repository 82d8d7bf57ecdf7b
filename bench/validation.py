"""OKS and COCO's ten numbers of as many persons as val2017 has, with as much that is ignored,
against pycocotools, which gives the same."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bench.measure import in_turns, parse_arguments, ratio, record, show, spread
from kptrain.data.pack_format import Table
from kptrain.keypoints import NUM_JOINTS
from kptrain.training.metrics import coco_numbers, oks

NUM_IMAGES, NUM_PERSONS = 2346, 6352
"""Of val2017 with a labelled keypoint. Source: COCO's person_keypoints_val2017.json."""
NUM_IGNORED, NUM_CROWDS = 4652, 227
"""Annotations of persons in val2017 without a labelled keypoint, and how many of them are crowds.
Source: likewise; some lie in the images without a labelled keypoint, here all in the others."""


def in_images(generator: np.random.Generator, count: int) -> np.ndarray:
    """(count,) images, some of them full, as COCO's are: with up to 20 persons or so."""
    share = generator.pareto(1.5, NUM_IMAGES).clip(max=5) + 0.3
    return generator.choice(NUM_IMAGES, count, p=share / share.sum())


def some_persons(generator: np.random.Generator) -> tuple[Table, np.ndarray]:
    """Persons and what is ignored, and detections near the persons."""
    extra = in_images(generator, NUM_PERSONS - NUM_IMAGES)
    images = np.sort(np.concatenate((np.arange(NUM_IMAGES), extra)))
    keypoints = np.full((NUM_PERSONS, NUM_JOINTS, 3), 2.0)
    keypoints[:, :, :2] = generator.uniform(0, 400, (NUM_PERSONS, 1, 2))
    keypoints[:, :, :2] += generator.normal(0, 40, (NUM_PERSONS, NUM_JOINTS, 2))
    boxes = generator.uniform(0, 200, (NUM_IGNORED, 4))
    empty = np.empty(0)
    table = Table(
        row=np.arange(NUM_IMAGES),
        start=empty,
        num_bytes=empty,
        stored=empty,
        zoom=empty,
        origin=empty,
        first=np.searchsorted(images, np.arange(NUM_IMAGES + 1)),
        scale=empty,
        shift=empty,
        inside=empty,
        joints=empty,
        peak_box=empty,
        keypoints=keypoints,
        area=generator.uniform(500, 40_000, NUM_PERSONS),
        person_id=np.arange(NUM_PERSONS) + 1,
        image_id=images,
        place=np.arange(NUM_PERSONS),
        ignored_keypoints=np.zeros((NUM_IGNORED, NUM_JOINTS, 3)),
        ignored_box=boxes,
        ignored_area=boxes[:, 2] * boxes[:, 3],
        ignored_is_crowd=np.arange(NUM_IGNORED) < NUM_CROWDS,
        ignored_image_id=in_images(generator, NUM_IGNORED),
        ignored_place=NUM_PERSONS + np.arange(NUM_IGNORED),
    )
    found = keypoints.copy()
    size = np.sqrt(table.area) * generator.random(NUM_PERSONS) * 0.3
    found[:, :, :2] += generator.normal(size=(NUM_PERSONS, NUM_JOINTS, 2)) * size[:, None, None]
    found[:, :, 2] = generator.random((NUM_PERSONS, NUM_JOINTS))
    return table, found


def as_coco(table: Table) -> list[dict[str, object]]:
    """Every annotation as a file of COCO's has it."""
    keypoints = np.concatenate((table.keypoints, table.ignored_keypoints))
    boxes = np.concatenate((np.zeros((NUM_PERSONS, 4)), table.ignored_box))
    area = np.concatenate((table.area, table.ignored_area))
    is_crowd = np.concatenate((np.zeros(NUM_PERSONS, dtype=bool), table.ignored_is_crowd))
    image_id = np.concatenate((table.image_id, table.ignored_image_id))
    return [
        {
            "id": row + 1,
            "image_id": int(image_id[row]),
            "category_id": 1,
            "keypoints": keypoints[row].flatten().tolist(),
            "num_keypoints": int((keypoints[row, :, 2] > 0).sum()),
            "area": float(area[row]),
            "bbox": boxes[row].tolist(),
            "iscrowd": int(is_crowd[row]),
        }
        for row in range(len(area))
    ]


def cocos_own(table: Table, found: np.ndarray) -> list[float]:
    """The same by pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": int(image)} for image in np.unique(table.image_id)],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": as_coco(table),
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
    return [float(value) for value in evaluation.stats]


def main() -> None:
    arguments = parse_arguments(__doc__)
    table, found = some_persons(np.random.default_rng(0))
    ours, theirs = list(coco_numbers(found, table).values()), cocos_own(table, found)
    apart = max(abs(one - other) for one, other in zip(ours, theirs, strict=True))
    seconds = in_turns(
        {
            "ours": lambda: (oks(found, table), coco_numbers(found, table)),
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
            ("AP of each", f"{ours[0]:.12f} {theirs[0]:.12f}"),
            ("most that any of the ten differs", f"{apart:.1g}"),
        ]
    )
    record(
        arguments,
        f"OKS and COCO's ten numbers of {NUM_PERSONS:,} persons, with {NUM_IGNORED:,} ignored "
        f"annotations, in {milliseconds} ms, {times} pycocotools; the ten differ by at most "
        f"{apart:.1g}",
    )


if __name__ == "__main__":
    main()
