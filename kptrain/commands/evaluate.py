"""The command `python -m kptrain evaluate`: COCO's ten numbers of a checkpoint, by pycocotools."""

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kptrain.annotations.reader import Ignored, read_annotations
from kptrain.annotations.skipped import Skipped
from kptrain.commands.inference import add_model, heatmaps_of, load_model, placed
from kptrain.config import TrainConfig
from kptrain.data.pack import data_folder, open_pack
from kptrain.data.pack_format import Pack
from kptrain.files.json_file import read_json
from kptrain.files.layout import SplitName, locate
from kptrain.keypoints import COCO_NUMBERS, GIVEN_BOXES, NUM_JOINTS
from kptrain.machine.device import enough_memory, find_dtype, named_device, num_threads
from kptrain.machine.outputs import check_file, writing
from kptrain.machine.progress import track
from kptrain.model.heatmaps import decoder_of
from kptrain.model.network import KeypointNet
from kptrain.resolve import change, find_root
from kptrain.training.batches import batches
from kptrain.training.validation import find_peaks, in_original

NAMES = tuple(COCO_NUMBERS.values())


SUMMARY = "print COCO's keypoint metrics (AP and AR) of a checkpoint"
DESCRIPTION = (
    "Print COCO's ten keypoint metrics (AP and AR) of a checkpoint, and write its detections in "
    "COCO's results format. There is one detection for each labelled person, in its annotated box "
    "(image view) or in the crop around that box (person view). So the numbers measure keypoints, "
    "not person detection."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--data", metavar="P", help="folder with COCO (default: the data of the training)"
    )
    parser.add_argument(
        "--split", choices=("val", "train"), default="val", help="split to evaluate (default: val)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="results (default: results.json beside CHECKPOINT)"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a JSON object with the ten numbers by their names in metrics.csv; other output "
        "goes to standard error",
    )


def run(parsed: argparse.Namespace) -> None:
    """Run the command. Raises: CheckpointError, DataError, SettingsError."""
    with contextlib.redirect_stdout(sys.stderr if parsed.json else sys.stdout):
        numbers = _evaluate(parsed)
    if parsed.json:
        print(json.dumps(dict(zip(COCO_NUMBERS, numbers, strict=True))))


def _evaluate(parsed: argparse.Namespace) -> list[float]:
    device = named_device(parsed.device, "--device")
    model, config = load_model(parsed.checkpoint)
    out = parsed.out or parsed.checkpoint.with_name("results.json")
    check_file(out, "--out")
    root = find_root(config.data.root if parsed.data is None else parsed.data)
    whole = {"data.root": root, "data.limit_train": None, "data.limit_val": None}
    config = change(config, whole, "--data")
    name: SplitName = parsed.split
    pack = open_pack(config.data, name, progress=True)
    print(pack.summary)
    with enough_memory(device):
        found = detections(model, config, pack, device, flip=parsed.flip)
    results = as_results(found, pack)
    with writing(out):
        out.write_text(json.dumps(with_file_ids(results, pack)))
    annotation_file, _ = locate(data_folder(config.data), name)
    numbers = ten_numbers(annotation_file, results, pack)
    print(f"COCO's average precision and recall ({GIVEN_BOXES}):")
    for label, value in zip(NAMES, numbers, strict=True):
        none = "" if value >= 0 else "  (no person of this size)"
        print(f"{label:<10} {value:.4f}{none}")
    print(f"Results in {out}")
    return numbers


@torch.inference_mode()
def detections(
    model: KeypointNet, config: TrainConfig, pack: Pack, device: torch.device, *, flip: bool
) -> np.ndarray:
    """(M, K, 3) x, y in the original image and keypoint score of each labelled person; without
    `flip`, equal to the detections of a training on the same device.

    Sets torch's number of threads for the whole process.
    """
    torch.set_num_threads(num_threads(config.train.threads))
    placed(model, config, device)
    size, dtype = config.train.batch_size, find_dtype(config, device)
    parts = batches(pack, np.arange(len(pack)), size, device)
    peaks = []
    for batch in track(parts, "Evaluating", -(-len(pack) // size)):
        heatmaps = heatmaps_of(model, batch.images, flip=flip, dtype=dtype)
        peaks.append(find_peaks(heatmaps, batch.samples, pack.table, decoder_of(config)))
    return in_original(torch.cat(peaks), np.arange(len(pack)), pack.table)


def as_results(found: np.ndarray, pack: Pack) -> list[dict[str, Any]]:
    """Detections in COCO's results format; the score is the mean keypoint score.

    Source: https://cocodataset.org/#format-results
    """
    return [
        {
            "image_id": int(image_id),
            "category_id": pack.category_id,
            "keypoints": keypoints.flatten().tolist(),
            "score": float(keypoints[:, 2].mean()),
        }
        for image_id, keypoints in zip(pack.table.image_id, found, strict=True)
    ]


def with_file_ids(results: list[dict[str, Any]], pack: Pack) -> list[dict[str, Any]]:
    """Results with the annotation file's own ids and order of joints."""
    written = pack.written
    order = range(NUM_JOINTS) if written.joint_order is None else np.argsort(written.joint_order)
    return [
        one
        | {
            "image_id": written.image_ids.get(one["image_id"], one["image_id"]),
            "category_id": written.category_id,
            "keypoints": np.reshape(one["keypoints"], (NUM_JOINTS, 3))[order].flatten().tolist(),
        }
        for one in results
    ]


def ten_numbers(annotation_file: Path, results: list[dict[str, Any]], pack: Pack) -> list[float]:
    """COCOeval's summary over the images of a pack.

    The file is read as for a training, so that both score the same persons.
    Raises: DataError as `read_split` does.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = _truth(annotation_file, pack)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def _truth(annotation_file: Path, pack: Pack) -> dict[str, Any]:
    """The annotations of a pack's images in COCO's format, as a training reads them."""
    read = read_annotations(read_json(annotation_file), annotation_file, Skipped())
    images = np.unique(pack.table.image_id).tolist()
    pairs = [(image, person) for image in images for person in read.people.of(image)]
    return {
        "images": [{"id": image} for image in images],
        "categories": [{"id": pack.category_id, "name": "person"}],
        "annotations": [
            {
                "id": number,  # from 1: COCOeval reads 0 as no match
                "image_id": image,
                "category_id": pack.category_id,
                "bbox": list(person.box_xywh),
                "area": person.area,
                "iscrowd": int(isinstance(person, Ignored) and person.is_crowd),
                "keypoints": person.keypoints.flatten().tolist(),
                "num_keypoints": 0 if isinstance(person, Ignored) else NUM_JOINTS,
            }
            for number, (image, person) in enumerate(pairs, start=1)
        ],
    }
