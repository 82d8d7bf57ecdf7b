"""Data sets in COCO's layout, written and changed by tests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kptrain.annotations.reader import CocoImage
from kptrain.keypoints import JOINTS


class CocoWriter:
    """A data set in COCO's layout, written image by image by a test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._content: dict[str, dict[str, list[dict[str, object]]]] = {}

    def image(
        self,
        split: str,
        number: int,
        pixels: np.ndarray | None = None,
        size: tuple[int, int] = (96, 128),
    ) -> Path:
        """Add an image of (height, width); `pixels` None writes noise."""
        if pixels is None:
            noise = np.random.default_rng(number)
            pixels = noise.integers(0, 256, (*size, 3), dtype=np.uint8)
        folder = self.root / f"{split}2017"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number:012d}.jpg"
        Image.fromarray(pixels).save(path, quality=95)
        record = {"id": number, "file_name": path.name, "height": size[0], "width": size[1]}
        self._split(split)["images"].append(record)
        return path

    def person(self, split: str, image: int, number: int, **changes: object) -> None:
        """Add a person whose 17 joints lie on a grid in its box, unless changed."""
        x, y = np.meshgrid(np.linspace(20, 60, 5).round(), np.linspace(20, 70, 4).round())
        joints = np.stack((x.flatten(), y.flatten(), np.full(20, 2.0)), axis=1)[:17]
        annotation: dict[str, object] = {
            "id": number,
            "image_id": image,
            "category_id": 1,
            "iscrowd": 0,
            "bbox": [15.0, 15.0, 50.0, 60.0],
            "area": 1500.0,
            "keypoints": joints.flatten().tolist(),
            "num_keypoints": 17,
            "segmentation": [],
        }
        self._split(split)["annotations"].append(annotation | changes)

    def write(self) -> Path:
        folder = self.root / "annotations"
        folder.mkdir(parents=True, exist_ok=True)
        for split, content in self._content.items():
            (folder / f"person_keypoints_{split}2017.json").write_text(json.dumps(content))
        return self.root

    def _split(self, split: str) -> dict[str, list[dict[str, object]]]:
        return self._content.setdefault(
            split,
            {
                "images": [],
                "annotations": [],
                "categories": [{"id": 1, "name": "person", "keypoints": list(JOINTS)}],
            },
        )


ANNOTATIONS = "annotations/person_keypoints_train2017.json"


GONE = object()


def two_persons(writer: CocoWriter, **changes: object) -> Path:
    """One image with a sound person, 11, and another, 12, changed; GONE takes a key away."""
    writer.image("train", 1)
    writer.person("train", 1, 11)
    writer.person("train", 1, 12, **{k: v for k, v in changes.items() if v is not GONE})
    root = writer.write()
    gone = [key for key, value in changes.items() if value is GONE]

    def take_away(content: dict[str, Any]) -> None:
        for key in gone:
            del content["annotations"][1][key]

    edit(root, take_away)
    return root


def edit(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the annotation file of the training split."""
    path = root / ANNOTATIONS
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def ids(images: tuple[CocoImage, ...]) -> dict[int, list[int]]:
    return {image.id: [person.id for person in image.persons] for image in images}


def to_fiftyone(root: Path) -> None:
    """Move a data set in COCO's layout to FiftyOne's."""
    for split, folder in (("train", "train"), ("val", "validation")):
        (root / folder).mkdir()
        (root / f"{split}2017").rename(root / folder / "data")
    (root / "annotations").rename(root / "raw")
