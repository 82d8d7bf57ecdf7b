"""The commands beside the training: evaluate, predict, show, export."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from small_trainings import FEW
from tiny_network import in_place_of_resnet18

from kptrain import __main__ as command
from kptrain.annotations.reader import read_split
from kptrain.commands import export
from kptrain.commands.drawing import Example
from kptrain.commands.evaluate import NAMES, detections
from kptrain.commands.export import PARITY
from kptrain.commands.inference import heatmaps_of, load_model
from kptrain.commands.predict import find_persons
from kptrain.commands.show import first_samples
from kptrain.config import BEST, TrainConfig
from kptrain.data.pack import open_pack
from kptrain.files.layout import locate
from kptrain.keypoints import COCO_NUMBERS, FLIPPED, JOINTS
from kptrain.model.checkpoint import load_checkpoint, save_checkpoint
from kptrain.model.network import build_model
from kptrain.resolve import change, resolve, settings_of
from kptrain.training.metrics import coco_numbers, oks

pytestmark = pytest.mark.slow  # many small trainings and drawings, seconds together

VIEWS = pytest.mark.parametrize("view", ["image", "person"])


@pytest.fixture
def checkpoint(uninterrupted: Path) -> Path:
    return uninterrupted / BEST


def untrained(root: Path, view: str, path: Path, **more: Any) -> Path:
    """A checkpoint of random weights, as one of a view."""
    config = resolve(FEW | {"data.root": str(root), "data.view": view} | more, "test")
    weights = build_model(config.model, 0).state_dict()
    save_checkpoint({"weights": weights, "config": settings_of(config), "metrics": {}}, path)
    return path


def by_hand(annotation_file: Path, results: Path, images: set[int]) -> list[float]:
    """pycocotools on the written file."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotation_file))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), "keypoints")
        evaluation.params.imgIds = sorted(images)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(number) for number in evaluation.stats]


def printed_numbers(out: str) -> list[float]:
    lines = [line for line in out.splitlines() if line.startswith(NAMES)]
    assert [line[:10].strip() for line in lines] == list(NAMES)
    return [float(line[10:].split()[0]) for line in lines]


@VIEWS
def test_evaluate_prints_what_pycocotools_makes_of_the_written_file(
    small_coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], view: str
) -> None:
    checkpoint = untrained(small_coco, view, tmp_path / BEST)
    assert command.main(["evaluate", str(checkpoint)]) == 0
    results = tmp_path / "results.json"
    written = json.loads(results.read_text())
    images = {one["image_id"] for one in written}
    assert len(written) > len(images) > 4  # all, and not only the four of the training
    assert {(len(one["keypoints"]), one["category_id"]) for one in written} == {(51, 1)}
    expected = by_hand(locate(small_coco, "val")[0], results, images)
    assert printed_numbers(capsys.readouterr().out) == pytest.approx(expected, abs=5e-5)


def test_evaluate_on_photographs_is_pycocotools_by_hand(
    coco_sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = untrained(coco_sample, "person", tmp_path / BEST)
    arguments = ["evaluate", str(checkpoint), "--flip", "--out", str(tmp_path / "r.json")]
    assert command.main(arguments) == 0
    written = json.loads((tmp_path / "r.json").read_text())
    images = {one["image_id"] for one in written}
    expected = by_hand(locate(coco_sample, "val")[0], tmp_path / "r.json", images)
    assert printed_numbers(capsys.readouterr().out) == pytest.approx(expected, abs=5e-5)


def test_evaluates_ap_is_that_of_the_training(checkpoint: Path, config: TrainConfig) -> None:
    model, told = load_model(checkpoint)
    pack = open_pack(config.data, "val")
    assert told.model == config.model
    found = detections(model, told, pack, torch.device("cpu"), flip=False)
    kept = load_checkpoint(checkpoint)["metrics"]
    expected = pytest.approx({name: kept[name] for name in COCO_NUMBERS}, abs=1e-6)
    assert coco_numbers(found, pack.table) == expected
    assert oks(found, pack.table).mean() == pytest.approx(kept["val_oks"], abs=1e-6)


def test_a_flip_averages_with_the_flipped_image_and_exchanges_left_and_right() -> None:
    class Model(torch.nn.Module):
        """Joint k is bright where the image is, times k."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, :1] * torch.arange(17.0).reshape(17, 1, 1)

    images = torch.rand(2, 3, 4, 6)
    mean = (torch.arange(17.0) + torch.tensor(FLIPPED)) / 2
    expected = images[:, :1] * mean.reshape(17, 1, 1)
    found = heatmaps_of(Model(), images, flip=True)
    assert torch.allclose(found, expected)


@VIEWS
def test_predict_finds_what_evaluate_finds_of_the_same_person(
    small_coco: Path, tmp_path: Path, view: str
) -> None:
    path = untrained(small_coco, view, tmp_path / BEST)
    model, config = load_model(path)
    pack = open_pack(change(config, {"data.limit_val": None}, "test").data, "val")
    found = detections(model, config, pack, torch.device("cpu"), flip=False)
    image = read_split(small_coco, "val").images[2]
    rows = [int(np.flatnonzero(pack.table.person_id == p.id)[0]) for p in image.persons]
    boxes = [person.box_xywh for person in image.persons]
    with Image.open(image.path) as picture:
        predicted = find_persons(model, config, picture.convert("RGB"), boxes, flip=False)
    assert predicted == pytest.approx(found[rows], abs=2e-2)


def test_predict_draws_beside_each_picture_and_prints_json(
    checkpoint: Path, small_coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = next((small_coco / "val2017").iterdir())
    before = picture.read_bytes()
    arguments = ["predict", str(checkpoint), str(picture), "--out", str(tmp_path / "drawn")]
    boxes = ["--box", "1,2,50,60", "--box", "20,10,40,50.5", "--json", "--flip"]
    assert command.main([*arguments, *boxes]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["image"] == str(picture)
    assert [list(person) for person in told["persons"]] == [list(JOINTS)] * 2
    with Image.open(tmp_path / "drawn" / f"{picture.stem}-keypoints.png") as drawn:
        assert min(drawn.size) >= 64
    assert command.main(arguments) == 0
    assert "1 persons, mean score" in capsys.readouterr().out
    assert picture.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "{checkpoint}", "{text}"], "must be a picture"),
        (["predict", "{checkpoint}", "/no/picture.jpg"], "must be a picture, but"),
        (["predict", "{checkpoint}", "x.jpg", "--box", "1,2,3"], "--box: must be x,y,w,h"),
        (["predict", "{checkpoint}", "x.jpg", "--box", "1,2,0,3"], "a width and a height above 0"),
        (["predict", "{checkpoint}", "a/x.jpg", "a/x.png"], "must be drawn alone as a/x-keypoints"),
        (["predict", "{text}", "x.jpg"], "must"),
        (["evaluate", "/no/checkpoint.pth"], "must be a checkpoint, but there is no such file"),
        (["evaluate", "{checkpoint}", "--data", "/nowhere"], "/nowhere"),
        (["export", "{text}", "x.onnx"], "must"),
        (["show", "/no/config.yaml"], "must be a readable text file"),
        (["show", "--set", "heatmap.sigma=2"], "heatmap.sigma is not a setting"),
        (["show", "--number", "0"], "--number: must be 1 or more"),
        (["predict", "{checkpoint}", "a.jpg", "./a.jpg"], "a.jpg: must be named once, but is nam"),
        (["show", "--out", "t.xyz"], "--out: must end in .png, but got t.xyz"),
        (["show", "--out", "/proc/t.png"], "--out: must be a file that can be written, but /proc"),
        (["export", "{checkpoint}", "/proc/a/m.onnx"], "/proc/a: must be a folder that can be wri"),
        (["export", "{checkpoint}", "/proc"], "/proc: must be a file, but is a folder"),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    text = tmp_path / "text"
    text.write_text("neither a picture nor a checkpoint")
    told = [argument.format(checkpoint=checkpoint, text=text) for argument in arguments]
    assert command.main(told) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize("command_name", [[], ["show"]])
def test_a_space_file_is_refused_with_the_command_that_searches_it(
    capsys: pytest.CaptureFixture[str], command_name: list[str]
) -> None:
    file = "spaces/quick.yaml"
    assert command.main([*command_name, str(Path(__file__).parents[2] / file)]) == 2
    error = capsys.readouterr().err
    assert "is a space file; search it with python -m search.run /" in error
    assert error.endswith(f"{file}\n")


def _share_found(example: Example) -> float:
    """Of the labelled joints of all persons, those that are decoded where they are."""
    far = np.abs(example.predicted - example.true)[..., :2].max(axis=2)
    return float(np.mean(far[example.true[..., 2] > 0] < 1))


def test_show_draws_the_targets_of_the_settings(
    small_coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], config: TrainConfig
) -> None:
    examples = first_samples(change(config, {"data.limit_train": None}, "test"), 5)
    wider = first_samples(
        change(config, {"data.limit_train": None, "heatmap.sigma_px": 2.0}, "test"), 5
    )
    assert len(examples) == 5
    crowds = first_samples(change(config, {"data.limit_train": None}, "test"), 24)
    found = [_share_found(each) for each in crowds if len(each.true) > 1]
    assert np.mean(found) > 0.8  # their own joints, unless another's is nearby
    for one, other in zip(examples, wider, strict=True):
        assert other.heatmaps.sum() > 2 * one.heatmaps.sum()
        assert len(one.true) > 0
    settings = ["--set", "data.image_size=[64, 64]", "--set", "heatmap.sigma_px=1.0"]
    out = ["--out", str(tmp_path / "t.png"), "--number", "3"]
    assert command.main(["show", "--data", str(small_coco), *settings, *out]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 't.png'}: sigma 1 heatmap pixels\n"
    with Image.open(tmp_path / "t.png") as page:
        assert page.height > 3 * 64


def test_an_exported_model_gives_torchs_heatmaps_for_any_number_of_images(
    small_coco: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The smallest network; one that was trained is exported by a command of the README."""
    with in_place_of_resnet18():
        path = untrained(small_coco, "image", tmp_path / BEST, **{"model.trunk": "resnet18"})
        assert command.main(["export", str(path), str(tmp_path / "m.onnx")]) == 0
        model, _ = load_model(path)
    told = capfd.readouterr().out.splitlines()[-1]
    assert told.startswith(f"{tmp_path / 'm.onnx'}: differs from torch by at")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [BEST, "m.onnx"]
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    for number in (1, 5):
        pixels = np.random.default_rng(number).uniform(0, 255, (number, 3, 64, 64))
        images = pixels.astype(np.float32)
        with torch.inference_mode():
            ours = export.FromPixels(model)(torch.from_numpy(images)).numpy()
        theirs = session.run(None, {"images": images})[0]
        assert np.abs(ours - theirs).max() <= PARITY
    kept = session.get_modelmeta().custom_metadata_map
    assert json.loads(kept["settings"])["model.trunk"] == "resnet18"
    assert kept["joints"].split(",") == list(JOINTS)


def test_a_file_that_differs_is_not_written(
    small_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PARITY", -1.0)
    with in_place_of_resnet18():
        path = untrained(small_coco, "image", tmp_path / BEST, **{"model.trunk": "resnet18"})
        assert command.main(["export", str(path), str(tmp_path / "m.onnx")]) == 2
    assert list(tmp_path.iterdir()) == [path]
