"""Where a data set keeps its files, and a hash of their names, sizes and times."""

import hashlib
import os
from operator import itemgetter
from pathlib import Path
from typing import Literal

from kptrain.errors import DataError, unreadable
from kptrain.files.file_names import files_below
from kptrain.files.values import shown

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
"""By layout and split: the annotation file and the image folder, relative to the root."""


def locate(root: Path, name: SplitName) -> tuple[Path, Path]:
    """The annotation file and the image folder of a split below `root`.

    Raises: DataError if neither layout exists.
    """
    for files in LAYOUTS.values():
        annotation_file, image_folder = (root / part for part in files[name])
        if annotation_file.is_file() and image_folder.is_dir():
            return annotation_file, image_folder
    looked = "; or ".join(" and ".join(files[name]) for files in LAYOUTS.values())
    raise DataError(
        f"{root}: must hold the {name} split of COCO's person keypoints, but neither layout is "
        f"there; looked for {looked}; {_advice(root, name)}"
    )


def _advice(root: Path, name: SplitName) -> str:
    """Which file could be the split's annotations, and where to move it."""
    json_files = sorted(file for file, _ in files_below(root) if file.endswith(".json"))
    if not json_files:
        return "there is no .json file below: name the folder that holds both"
    for path, images in (files[name] for files in LAYOUTS.values()):
        for file in json_files:
            above = root / file.removesuffix(path)
            if file.endswith("/" + path) and (above / images).is_dir():
                return f"it is in {above}: name that folder"
        if path in json_files:
            return f"there is {path}, but no folder {images}: move its images there"
    path, images = LAYOUTS["COCO's"][name]
    likely = [file for file in json_files if name in file.casefold()] or json_files
    shortened = ", ".join(map(shown, likely[:3])) + (", …" if len(likely) > 3 else "")
    return f"found {shortened}: move the {name} split's to {path}, and its images to {images}"


def stamp(root: Path, name: SplitName) -> str:
    """A hash of the annotation file, and of the names, sizes and times of all image files.

    It changes when a file is replaced, even by one of the same size, and differs between two copies
    of a data set. It reads no image and parses nothing, because every trial computes it.
    Raises: DataError as `locate` does, or if a file cannot be read.
    """
    annotation_file, image_folder = locate(root, name)
    try:
        digest = hashlib.sha256(annotation_file.read_bytes())
        for file_name, entry in sorted(files_below(image_folder), key=itemgetter(0)):
            status = entry.stat()
            # A tool can reset the modification time, but not the change time.
            numbers = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            digest.update(os.fsencode(file_name) + b"\0%d %d %d\n" % numbers)
    except OSError as error:
        raise unreadable(error.filename, error) from None
    return digest.hexdigest()
