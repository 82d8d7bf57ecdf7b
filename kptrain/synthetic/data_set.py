"""A synthetic data set in COCO's files, for users without COCO.

It is loaded by the same code as COCO. Each image has its own random generator, so it does not
depend on the number of images.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from kptrain.keypoints import JOINTS, SKELETON
from kptrain.machine.progress import track
from kptrain.synthetic.scenes import Scene, draw_scene

EMBEDDED_VERSION = 1
"""Must be raised whenever the images or annotations change: other versions are not read."""

NUM_TRAIN = 640
NUM_VAL = 128
SEED = 20170
JPEG_QUALITY = 90
SPLITS = ("train2017", "val2017")
CATEGORY = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(JOINTS)}
CATEGORY["skeleton"] = [[start + 1, end + 1] for start, end in SKELETON]


def embedded_root(cache_dir: Path, progress: bool = False) -> Path:
    """Return the folder of the data set below `cache_dir`; draw it on first use."""
    root = _root(cache_dir)
    if root.is_dir():
        return root  # complete, because it is renamed at the end; the cache may be read-only
    cache_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if root.is_dir():
            return root
        unfinished = cache_dir / f"{root.name}.unfinished"
        if unfinished.is_dir():
            # A process was killed: no other one draws while this one holds the lock.
            shutil.rmtree(unfinished)
        write_embedded(unfinished, progress=progress)
        return unfinished.replace(root)


def embedded_exists(cache_dir: Path) -> bool:
    return _root(cache_dir).is_dir()


def _root(cache_dir: Path) -> Path:
    return cache_dir / f"embedded-v{EMBEDDED_VERSION}"


def write_embedded(
    root: Path, num_train: int = NUM_TRAIN, num_val: int = NUM_VAL, *, progress: bool = False
) -> None:
    """Draw both splits into `root`, in COCO's layout."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split_index, count in enumerate((num_train, num_val)):
        split = SPLITS[split_index]
        content = _write_split(root / split, split_index, count, progress)
        text = json.dumps(content, separators=(",", ":"))
        (root / "annotations" / f"person_keypoints_{split}.json").write_text(text, "utf-8")


def scene_of(split_index: int, number: int) -> Scene:
    """Draw image `number`, from 1, of a split."""
    return draw_scene(np.random.default_rng([SEED, split_index, number]))


def _write_split(folder: Path, split_index: int, count: int, progress: bool) -> dict[str, Any]:
    """Write the images of a split and return its annotation file."""
    folder.mkdir(exist_ok=True)
    images, annotations = [], []
    numbers = range(1, count + 1)
    for number in track(numbers, f"Drawing {folder.name}", count, shown=progress):
        scene = scene_of(split_index, number)
        # As in COCO, no two images of the data set share an id.
        image_id = 100_000 * split_index + number
        file_name = f"{image_id:012d}.jpg"
        scene.image.save(folder / file_name, quality=JPEG_QUALITY)
        width, height = scene.image.size
        images.append({"file_name": file_name, "height": height, "width": width, "id": image_id})
        for index, annotation in enumerate(scene.annotations, start=1):
            ids = {"image_id": image_id, "category_id": 1, "id": 100 * image_id + index}
            annotations.append(annotation | ids)
    return {
        "info": {"description": "Drawn persons in the format of COCO", "version": EMBEDDED_VERSION},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [CATEGORY],
    }
