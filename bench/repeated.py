"""A data set made larger: its images and persons again and again, under new names and ids."""

import json
from pathlib import Path
from typing import Any

from kptrain.files.layout import LAYOUTS, SplitName, locate


def repeat(root: Path, into: Path, num_train: int, num_val: int) -> Path:
    """Write annotations for at least so many images, and links to the files; returns `into`."""
    sizes: dict[SplitName, int] = {"train": num_train, "val": num_val}
    for name, num_images in sizes.items():
        annotation_file, image_folder = locate(root, name)
        content = json.loads(annotation_file.read_text())
        labelled = {a["image_id"] for a in content["annotations"] if a["num_keypoints"]}
        times = -(-num_images // len(labelled))
        target_file, target_folder = (into / part for part in LAYOUTS["COCO's"][name])
        target_file.parent.mkdir(parents=True, exist_ok=True)
        target_folder.mkdir(parents=True)
        for round_number in range(times):
            for image in content["images"]:
                link = target_folder / f"{round_number}-{image['file_name']}"
                link.symlink_to((image_folder / image["file_name"]).resolve())
        repeated = [_renamed(content, round_number) for round_number in range(times)]
        whole = {key: [one for part in repeated for one in part[key]] for key in repeated[0]}
        target_file.write_text(json.dumps(content | whole))
    return into


def _renamed(content: dict[str, Any], round_number: int) -> dict[str, list[dict[str, Any]]]:
    """The images and annotations of one round."""
    offset = round_number * 10**9
    return {
        "images": [
            image
            | {"id": image["id"] + offset, "file_name": f"{round_number}-{image['file_name']}"}
            for image in content["images"]
        ],
        "annotations": [
            a | {"id": a["id"] + round_number * 10**13, "image_id": a["image_id"] + offset}
            for a in content["annotations"]
        ],
    }
