"""Where a data set keeps its files, and what tells one data set from another."""

import hashlib
import os
from operator import itemgetter
from pathlib import Path
from typing import Literal

from kptrain.errors import DataError
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
        f"there; looked for {looked}; {_found_instead(root, name)}"
    )


def _found_instead(root: Path, name: SplitName) -> str:
    """What could be the split's annotations, and what to do with it."""
    listed = sorted(file for file, _ in files_below(root) if file.endswith(".json"))
    if not listed:
        return "there is no .json file below: name the folder that holds both"
    for path, images in (files[name] for files in LAYOUTS.values()):
        for file in listed:
            above = root / file.removesuffix(path)
            if file.endswith("/" + path) and (above / images).is_dir():
                return f"it lies in {above}: name that folder"
        if path in listed:
            return f"there is {path}, but no folder {images}: move its images there"
    path, images = LAYOUTS["COCO's"][name]
    found = [file for file in listed if name in file.casefold()] or listed
    shortened = ", ".join(map(shown, found[:3])) + (", …" if len(found) > 3 else "")
    return f"found {shortened}: move the {name} split's to {path}, and its images to {images}"


def stamp(root: Path, name: SplitName) -> str:
    """A hash of the annotations, and of the names, sizes and times of all files beside them.

    It differs where a file was replaced, even by one as large; and between two copies of a data
    set. It reads no image and parses nothing, as every trial asks for it.
    Raises: DataError as `locate` does, or if what is there cannot be read.
    """
    annotation_file, image_folder = locate(root, name)
    try:
        digest = hashlib.sha256(annotation_file.read_bytes())
        for file_name, entry in sorted(files_below(image_folder), key=itemgetter(0)):
            status = entry.stat()
            # A tool may set the time of its content back, but not that of its change.
            told = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            digest.update(os.fsencode(file_name) + b"\0%d %d %d\n" % told)
    except OSError as error:
        said = error.strerror or error
        raise DataError(f"{error.filename}: must be readable, but {said}; try again") from None
    return digest.hexdigest()
