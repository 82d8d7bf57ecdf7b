"""`evaluate`: the numbers of what a training reads, whatever the annotation file lacks."""

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coco_files import CocoWriter
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from small_trainings import FEW, read_metrics, run

from kptrain import __main__ as command
from kptrain.commands import evaluate as evaluate_command
from kptrain.commands import predict
from kptrain.commands.evaluate import as_results, ten_numbers, with_file_ids
from kptrain.config import BEST
from kptrain.data.pack import open_pack
from kptrain.files.layout import SplitName, locate
from kptrain.keypoints import COCO_NUMBERS, JOINTS, NUM_JOINTS
from kptrain.machine.device import OUT_OF_MEMORY
from kptrain.resolve import resolve

Content = dict[str, Any]


def without(key: str) -> Callable[[Content], bytes]:
    def damaged(content: Content) -> bytes:
        for annotation in content["annotations"]:
            annotation.pop(key)
        return json.dumps(content).encode()

    return damaged


def of_null(key: str) -> Callable[[Content], bytes]:
    def damaged(content: Content) -> bytes:
        for annotation in content["annotations"]:
            annotation[key] = None
        return json.dumps(content).encode()

    return damaged


def without_categories(content: Content) -> bytes:
    del content["categories"]
    return json.dumps(content).encode()


def with_a_bom(content: Content) -> bytes:
    return codecs.BOM_UTF8 + json.dumps(content).encode()


def in_utf_16(content: Content) -> bytes:
    return json.dumps(content).encode("utf-16")


def with_ids_used_twice(content: Content) -> bytes:
    """As tools write them that count anew in each image."""
    for annotation in content["annotations"]:
        annotation["id"] %= 10
    return json.dumps(content).encode()


def with_text_ids(content: Content) -> bytes:
    for record in content["images"]:
        record["id"] = str(record["id"])
    for annotation in content["annotations"]:
        annotation |= {"image_id": str(annotation["image_id"]), "category_id": "1"}
    return json.dumps(content).encode()


def with_a_dog_first(content: Content) -> bytes:
    for annotation in content["annotations"]:
        annotation["category_id"] = 2
    content["categories"][0]["id"] = 2
    content["categories"].insert(0, {"id": 1, "name": "dog"})
    dog = content["annotations"][0] | {"id": 1000, "category_id": 1}
    content["annotations"].append(dog)
    return json.dumps(content).encode()


def with_a_joint_outside(content: Content) -> bytes:
    content["annotations"][0]["keypoints"][0] = -0.4
    return json.dumps(content).encode()


DAMAGE = [
    *map(without, ("iscrowd", "num_keypoints", "area", "segmentation", "id")),
    *map(of_null, ("iscrowd", "num_keypoints", "area", "segmentation")),
    *(without_categories, with_a_bom, in_utf_16, with_ids_used_twice, with_text_ids),
    *(with_a_dog_first, with_a_joint_outside),
]


@pytest.fixture
def people(writer: CocoWriter) -> Path:
    """Three images with one to three persons in each split."""
    for split in ("train", "val"):
        for image in (1, 2, 3):
            writer.image(split, image)
            for person in range(image):
                moved = {"bbox": [15.0 + 30 * person, 15.0, 50.0, 60.0], "area": 1500.0}
                joints = np.full((17, 3), 2.0)
                joints[:, 0] = 20 + 30 * person + np.arange(17)
                joints[:, 1] = 20 + 3 * np.arange(17)
                writer.person(
                    split, image, 10 * image + person, keypoints=joints.flatten().tolist(), **moved
                )
    return writer.write()


@pytest.mark.parametrize("damaged", DAMAGE)
def test_perfect_detections_of_all_that_was_read_score_one(
    people: Path, damaged: Callable[[Content], bytes]
) -> None:
    file, _ = locate(people, "val")
    file.write_bytes(damaged(json.loads(file.read_bytes())))
    said = {"data.root": str(people), "data.image_size": [64, 64], "heatmap.sigma_px": 1.0}
    pack = open_pack(resolve(said, "test").data, "val")
    assert len(pack.table.area) == 6
    numbers = ten_numbers(file, as_results(pack.table.keypoints, pack), pack)
    assert (numbers[0], numbers[5]) == pytest.approx((1.0, 1.0))


def with_joints_in_another_order(content: Content) -> bytes:
    order = np.random.default_rng(0).permutation(NUM_JOINTS)
    content["categories"][0]["keypoints"] = [JOINTS[joint] for joint in order]
    for annotation in content["annotations"]:
        joints = np.reshape(annotation["keypoints"], (NUM_JOINTS, 3))
        annotation["keypoints"] = joints[order].flatten().tolist()
    return json.dumps(content).encode()


def with_words_for_ids(content: Content) -> bytes:
    for record in content["images"]:
        record["id"] = f"image {record['id']}"
    content["categories"][0]["id"] = "human"
    for annotation in content["annotations"]:
        annotation |= {"image_id": f"image {annotation['image_id']}", "category_id": "human"}
    return with_joints_in_another_order(content)


@pytest.mark.parametrize(
    "damaged", [with_joints_in_another_order, with_words_for_ids, with_text_ids]
)
def test_perfect_results_as_they_are_written_score_one_on_the_file_as_it_is(
    people: Path, tmp_path: Path, damaged: Callable[[Content], bytes]
) -> None:
    file, _ = locate(people, "val")
    content = json.loads(file.read_bytes())
    file.write_bytes(damaged(content))
    if damaged is with_text_ids:  # pycocotools knows no other for what the annotations have
        content["categories"][0]["id"] = "1"
        file.write_text(json.dumps(content))
    said = {"data.root": str(people), "data.image_size": [64, 64], "heatmap.sigma_px": 1.0}
    pack = open_pack(resolve(said, "test").data, "val")
    results = as_results(pack.table.keypoints, pack)
    assert ten_numbers(file, results, pack)[0] == pytest.approx(1)
    written = tmp_path / "results.json"
    written.write_text(json.dumps(with_file_ids(results, pack)))
    truth = COCO(str(file))
    evaluation = COCOeval(truth, truth.loadRes(str(written)), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_the_results_name_the_category_of_the_file(people: Path) -> None:
    file, _ = locate(people, "val")
    file.write_bytes(with_a_dog_first(json.loads(file.read_bytes())))
    said = {"data.root": str(people), "data.image_size": [64, 64], "heatmap.sigma_px": 1.0}
    pack = open_pack(resolve(said, "test").data, "val")
    assert {one["category_id"] for one in as_results(pack.table.keypoints, pack)} == {2}


def evaluated(checkpoint: Path, capsys: pytest.CaptureFixture[str], *options: str) -> Content:
    capsys.readouterr()
    assert command.main(["evaluate", str(checkpoint), "--json", *options]) == 0
    numbers: Content = json.loads(capsys.readouterr().out.splitlines()[-1])
    return numbers


@pytest.fixture
def lenient(coco_sample: Path, tmp_path: Path) -> Path:
    """The sample with persons of twenty times their width, so that a network that has hardly
    learnt anything finds some."""
    root = tmp_path / "lenient"
    (root / "annotations").mkdir(parents=True)
    folders: dict[SplitName, str] = {"train": "train", "val": "validation"}
    for split, folder in folders.items():
        (root / f"{split}2017").symlink_to(coco_sample / folder / "data")
        content = json.loads(locate(coco_sample, split)[0].read_bytes())
        for annotation in content["annotations"]:
            annotation["area"] *= 400
        file = root / "annotations" / f"person_keypoints_{split}2017.json"
        file.write_text(json.dumps(content))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("view", ["image", "person"])
def test_evaluate_agrees_with_the_last_row_of_the_curve_on_photographs(
    lenient: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], view: str
) -> None:
    said = {"data.root": str(lenient), "data.view": view, "train.epochs": 1}
    all_of_it = {"data.limit_train": 16, "data.limit_val": None}
    run(resolve(FEW | said | all_of_it, "test"), tmp_path / "run")
    last = read_metrics(tmp_path / "run" / "metrics.csv")[-1]
    numbers = evaluated(tmp_path / "run" / BEST, capsys)
    assert numbers == pytest.approx({name: last[name] for name in COCO_NUMBERS}, abs=1e-9)
    assert 0.1 < numbers["val_ap"] < 0.95


def test_a_size_without_a_person_is_named_and_the_results_have_the_ids_of_the_file(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = locate(people, "val")
    file.write_bytes(with_words_for_ids(json.loads(file.read_bytes())))
    run(resolve(FEW | {"data.root": str(people), "train.epochs": 1}, "test"), tmp_path)
    capsys.readouterr()
    assert command.main(["evaluate", str(tmp_path / BEST)]) == 0
    lines = {line[:10].strip(): line[10:].split() for line in capsys.readouterr().out.splitlines()}
    assert lines["AP large"][:1] == ["-1.0000"]
    assert len(lines["AP large"]) > len(lines["AP medium"]) == 1
    results = json.loads((tmp_path / "results.json").read_bytes())
    assert {one["image_id"] for one in results} == {"image 1", "image 2", "image 3"}


@pytest.mark.parametrize("out", ["none/results.json", "."])
def test_results_that_cannot_be_written_are_reported_before_anything_is_evaluated(
    people: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    out: str,
) -> None:
    run(resolve(FEW | {"data.root": str(people), "train.epochs": 1}, "test"), tmp_path)
    monkeypatch.setattr(evaluate_command, "open_pack", None)
    monkeypatch.chdir(tmp_path)
    assert command.main(["evaluate", str(tmp_path / BEST), "--out", out]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: --out: must be a file that can be written, but ")
    assert (out.partition("/")[0] in errors, errors.count("\n")) == (True, 1)


def test_results_for_which_there_is_no_room_are_reported_with_their_file(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(resolve(FEW | {"data.root": str(people), "train.epochs": 1}, "test"), tmp_path)
    assert command.main(["evaluate", str(tmp_path / BEST), "--out", "/dev/full"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: /dev/full: must be writable, but No space left on device; ")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), RuntimeError(OUT_OF_MEMORY[0])])
def test_a_device_without_memory_is_reported_with_what_to_do(
    people: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: RuntimeError,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    run(resolve(FEW | {"data.root": str(people), "train.epochs": 1}, "test"), tmp_path)
    picture = next((people / "val2017").iterdir())
    for module, arguments in (
        (evaluate_command, ["evaluate", str(tmp_path / BEST)]),
        (predict, ["predict", str(tmp_path / BEST), str(picture)]),
    ):
        monkeypatch.setattr(module, "heatmaps_of", fail)
        assert command.main(arguments) == 2
        errors = capsys.readouterr().err
        assert errors.startswith("error: --device: must have memory for a batch, but cpu has not")
        assert errors.endswith("or give --device cpu\n")
