"""Where a data set keeps its files, and what tells one data set from another."""

import hashlib
import os
from pathlib import Path
from typing import Literal

from kptrain.errors import DataError

SplitName = Literal["train", "val"]

LAYOUTS: dict[str, dict[SplitName, tuple[str, str]]] = {
    "COCO's": {
        "train": ("annotations/person_keypoints_train2017.json", "train2017"),
        "val": ("annotations/person_keypoints_val2017.json", "val2017"),
    },
    "FiftyOne's": {
        "train": ("raw/person_keypoints_train2017.json", "train/data"),
        "val": ("raw/person_keypoints_val2017.json", "validation/data"),
    },
}
"""Where a layout keeps the annotations and the images of a split, below the root."""


def locate(root: Path, name: SplitName) -> tuple[Path, Path]:
    """The annotation file and the image folder of a split below `root`.

    Raises: DataError if neither layout is there.
    """
    for files in LAYOUTS.values():
        annotation_file, image_folder = (root / part for part in files[name])
        if annotation_file.is_file() and image_folder.is_dir():
            return annotation_file, image_folder
    looked = "; or ".join(" and ".join(files[name]) for files in LAYOUTS.values())
    raise DataError(
        f"{root}: must hold the {name} split of COCO's person keypoints, but neither layout is "
        f"there; looked for {looked}"
    )


def fingerprint(root: Path, name: SplitName) -> str:
    """A hash of the annotations, and of the names and sizes of all files beside them.

    Reads no image and parses nothing: every trial asks for it.
    Raises: DataError as `locate` does.
    """
    annotation_file, image_folder = locate(root, name)
    digest = hashlib.sha256(annotation_file.read_bytes())
    with os.scandir(image_folder) as entries:
        files = [(entry.name, entry.stat().st_size) for entry in entries if entry.is_file()]
    for file_name, num_bytes in sorted(files):
        digest.update(f"{file_name} {num_bytes}\n".encode())
    return digest.hexdigest()
