"""The command predict: what the network sees of a picture, where it runs, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_trainings import FEW

from kptrain import __main__ as command
from kptrain.commands import predict
from kptrain.commands.inference import load_model, placed
from kptrain.commands.predict import find_persons
from kptrain.config import BEST, TrainConfig
from kptrain.keypoints import JOINTS
from kptrain.model.checkpoint import save_checkpoint
from kptrain.model.network import build_model
from kptrain.resolve import change, resolve, settings_of

SIZE = (96, 64)
VIEWS = pytest.mark.parametrize("view", ["image", "person"])


class Bright(torch.nn.Module):
    """Sees every joint where the input is bright, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.place = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
        self.seen.append(images * std + mean)
        grey = self.seen[-1].mean(1, keepdim=True)
        return torch.nn.functional.avg_pool2d(grey, 4).expand(-1, 17, -1, -1)

    @property
    def shown(self) -> np.ndarray:
        """(n, H, W) from 0 to 255."""
        shown: np.ndarray = 255 * torch.cat(self.seen).mean(1).numpy()
        return shown


def config_of(view: str) -> TrainConfig:
    said = {"data.view": view, "data.image_size": list(SIZE), "heatmap.sigma_px": 1.0}
    return change(TrainConfig(), said, "test")


def found_by(model: Any, view: str, image: Image.Image, boxes: list[Any]) -> np.ndarray:
    return find_persons(model, config_of(view), image, boxes, flip=False)


def with_spot(width: int, height: int, x: int, y: int, side: int = 9) -> Image.Image:
    """Grey with a white square around the pixel x, y."""
    pixels = np.full((height, width, 3), 100, dtype=np.uint8)
    half = side // 2
    pixels[y - half : y + half + 1, x - half : x + half + 1] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("width", "height"), [(128, 96), (300, 40), (60, 200)])
def test_a_picture_without_a_box_is_seen_whole_and_not_stretched_in_the_person_view(
    width: int, height: int
) -> None:
    model, x, y = Bright(), width // 3, height // 2
    found = found_by(model, "person", with_spot(width, height, x, y, 21), [])
    assert found.shape == (1, 17, 3)
    scale = min(SIZE[1] / width, SIZE[0] / height)
    assert np.abs(found[0, :, :2] - [x, y]).max() < 4 / scale
    shown = model.shown[0]
    rows, columns = (np.flatnonzero((shown > 60).any(axis=axis)) for axis in (1, 0))
    assert len(rows) == pytest.approx(height * scale, abs=1.5)
    assert len(columns) == pytest.approx(width * scale, abs=1.5)
    assert np.abs((rows[0] + rows[-1] + 1) / 2 - SIZE[0] / 2) <= 1
    assert np.abs((columns[0] + columns[-1] + 1) / 2 - SIZE[1] / 2) <= 1
    bright = shown - shown.min() > 100 + (shown.max() - 100) / 2
    spans = [len(np.flatnonzero(bright.any(axis=axis))) for axis in (0, 1)]
    assert abs(spans[0] - spans[1]) <= 1
    assert (shown[: max(rows[0] - 1, 0)] < 1).all()
    assert (shown[:, : max(columns[0] - 1, 0)] < 1).all()


def test_without_a_box_nothing_is_found_in_the_black_around_the_picture() -> None:
    class Above(Bright):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            heatmaps = super().forward(images) * 0
            heatmaps[:, :, 1, 8] = 5  # in the padding
            return heatmaps

    found = found_by(Above(), "person", with_spot(300, 40, 50, 20), [])
    heatmap_px = 4 * 300 / SIZE[1]
    assert (found[0, :, 1] > -heatmap_px).all()
    assert (found[0, :, 1] < 40 + heatmap_px).all()


def test_in_the_image_view_a_picture_is_stretched_as_in_training() -> None:
    model = Bright()
    found = found_by(model, "image", with_spot(640, 96, 400, 30, 21), [])
    assert found[0, 0, :2] == pytest.approx([400, 30], abs=12)
    assert (model.shown > 90).all()


@VIEWS
@pytest.mark.parametrize("number", [1, 5, 23])
def test_boxes_are_looked_at_in_batches_of_bounded_size_with_equal_results(
    monkeypatch: pytest.MonkeyPatch, view: str, number: int
) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8))
    boxes = [(float(x), float(x) / 2, 30.0, 40.0) for x in rng.integers(-10, 90, number)]
    alone = [found_by(Bright(), view, image, [box])[0] for box in boxes]
    monkeypatch.setattr(predict, "BATCH_PIXELS", 4 * SIZE[0] * SIZE[1] + 5)
    model = Bright()
    assert found_by(model, view, image, boxes) == pytest.approx(np.stack(alone), abs=1e-4)
    sizes = [len(seen) for seen in model.seen]
    assert max(sizes) <= 4
    assert sum(sizes) == (number if view == "person" else -(-number // 4))


@pytest.fixture(scope="module")
def checkpoint(small_coco: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of random weights, from a machine with more GPUs than this one."""
    path = tmp_path_factory.mktemp("checkpoint") / BEST
    said = FEW | {"data.root": str(small_coco), "data.view": "person", "train.device": "cuda:63"}
    config = resolve(said, "test")
    weights = build_model(config.model, 0).state_dict()
    save_checkpoint({"weights": weights, "config": settings_of(config), "metrics": {}}, path)
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = command.main(["predict", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.mark.parametrize("device", [(), ("--device", "auto"), ("--device", "cpu")])
def test_the_device_of_the_training_need_not_be_here(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], device: tuple[str, ...]
) -> None:
    with_spot(60, 80, 30, 40).save(tmp_path / "a.png")
    code, out, errors = told(capsys, checkpoint, tmp_path / "a.png", "--json", *device)
    assert (code, errors) == (0, "")
    (person,) = json.loads(out)["persons"]
    assert list(person) == list(JOINTS)


@pytest.mark.parametrize("device", ["cuda:63", "gpu", "cuda:x", "cuda:", "cpu:0", "cuda:-1"])
def test_a_device_that_is_not_here_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], device: str
) -> None:
    with_spot(60, 80, 30, 40).save(tmp_path / "a.png")
    code, out, errors = told(capsys, checkpoint, tmp_path / "a.png", "--device", device)
    assert (code, out) == (2, "")
    assert errors.startswith("error: --device: must be ")
    assert device in errors
    assert errors.count("\n") == 1


def test_the_gpu_of_a_model_is_selected_before_it_is_asked_what_it_has(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("set_exactness", "use"):
        monkeypatch.setattr(
            f"kptrain.commands.inference.{name}", lambda *_, name=name: done.append(name)
        )
    placed(*load_model(checkpoint), torch.device("cpu"))
    assert done == ["use", "set_exactness"]


@pytest.mark.gpu
@VIEWS
def test_a_gpu_finds_what_the_cpu_finds(checkpoint: Path, view: str) -> None:
    model, config = load_model(checkpoint)
    config = change(config, {"data.view": view, "train.precision": "float32"}, "test")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    boxes = [(float(x), 5.0, 30.0, 60.0) for x in range(0, 80, 4)]
    cpu = find_persons(placed(model, config, torch.device("cpu")), config, image, boxes, flip=True)
    there = placed(model, config, torch.device("cuda", 0))
    gpu = find_persons(there, config, image, boxes, flip=True)
    assert next(there.parameters()).is_cuda
    assert gpu[:, :, 2] == pytest.approx(cpu[:, :, 2], rel=1e-3)
    assert np.median(np.abs(gpu - cpu)) < 0.05


@pytest.mark.parametrize(
    "box", ["1000,1000,10,10", "-10,5,10,10", "60,5,10,10", "5,80,1,1", "0,0,1e9,1e9", "-61,0,90,9"]
)
def test_a_box_outside_of_the_picture_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], box: str
) -> None:
    picture = tmp_path / "a.png"
    with_spot(60, 80, 30, 40).save(picture)
    code, out, errors = told(capsys, checkpoint, picture, "--box", box, "--json")
    assert (code, out) == (2, "")
    assert errors.startswith(f"error: --box: must lie in {picture}")
    assert "60 x 80" in errors
    assert f"{float(box.split(',', maxsplit=1)[0]):g}," in errors
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == [picture]


@pytest.mark.parametrize("box", ["nan,0,9,9", "0,inf,9,9", "0,0,nan,9", "0,0,9,-1", "a,b,c,d", ""])
def test_a_box_that_is_none_is_refused(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], box: str
) -> None:
    code, _, errors = told(capsys, checkpoint, "a.png", f"--box={box}")
    assert code == 2
    assert errors.startswith("error: --box: must be ")
    assert repr(box) in errors
    assert errors.count("\n") == 1


@VIEWS
@pytest.mark.parametrize("box", [(-30, -20, 60, 60), (50, 70, 60, 80), (-60, -80, 180, 240)])
def test_a_box_partly_outside_is_looked_at(view: str, box: tuple[float, ...]) -> None:
    image = with_spot(60, 80, 30, 40)
    x, y, width, height = map(float, box)
    boxes = [(x, y, width, height)]
    predict._check_boxes(boxes, Path("a.png"), image)
    assert np.isfinite(found_by(Bright(), view, image, boxes)).all()


def test_the_same_grey_in_more_bits_gives_the_same_persons(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    greys = np.random.default_rng(0).integers(0, 256, (80, 60)).astype(np.uint8)
    greys[0, :2] = 0, 255
    Image.fromarray(greys).save(tmp_path / "8.png")
    Image.fromarray(greys.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(greys.astype(np.float32) / 255).save(tmp_path / "float.tif")
    names = ("8.png", "16.png", "float.tif")
    code, out, _ = told(capsys, checkpoint, *(tmp_path / name for name in names), "--json")
    assert code == 0
    persons = [json.loads(line)["persons"] for line in out.splitlines()]
    assert persons[0] == persons[1] == persons[2]
    drawn = [Image.open(tmp_path / f"{name.split('.')[0]}-keypoints.png") for name in names]
    assert drawn[0].tobytes() == drawn[1].tobytes() == drawn[2].tobytes()


def test_what_is_no_picture_is_reported_in_one_line_before_anything_is_drawn(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_spot(60, 80, 30, 40).save(tmp_path / "good.png")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "half.png").write_bytes((tmp_path / "good.png").read_bytes()[:90])
    facts = {"folder": "is a folder", "none.png": "no such file", "empty.png": "is empty"}
    for name, fact in (facts | {"half.png": "cannot be read"}).items():
        good = (tmp_path / "good.png",) if name in ("folder", "none.png") else ()
        code, out, errors = told(capsys, checkpoint, *good, tmp_path / name)
        assert (code, out) == (2, "")
        assert errors.startswith(f"error: {tmp_path / name}: must be a picture, but ")
        assert fact in errors
        assert errors.count("\n") == 1
    assert not list(tmp_path.glob("*-keypoints.png"))


def test_no_picture_that_was_named_is_drawn_over(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "a.png", tmp_path / "a-keypoints.png"]
    for path in paths:
        with_spot(60, 80, 30, 40).save(path)
    before = paths[1].read_bytes()
    code, _, errors = told(capsys, checkpoint, *paths)
    assert code == 2
    assert errors.startswith(f"error: {paths[0]}: must not be drawn over {paths[1]}")
    assert paths[1].read_bytes() == before
    code, out, _ = told(capsys, checkpoint, *paths, "--out", tmp_path / "drawn")
    assert code == 0
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (20_000, 2)])
def test_pictures_of_odd_sizes_are_drawn(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], size: tuple[int, int]
) -> None:
    Image.new("L", size, 90).save(tmp_path / "a.png")
    for box in ((), ("--box", f"0,0,{size[0]},{size[1]}")):
        code, out, errors = told(capsys, checkpoint, tmp_path / "a.png", *box, "--json")
        assert (code, errors) == (0, "")
        assert len(json.loads(out)["persons"]) == 1


def test_a_folder_that_cannot_be_written_is_reported_before_the_model_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_spot(60, 80, 30, 40).save(tmp_path / "a.png")
    for out, why in (("/proc/x", "/proc cannot be written ("), (tmp_path / "a.png", "is a file")):
        code, _, errors = told(capsys, "none.pth", tmp_path / "a.png", "--out", out)
        assert (code, errors.count("\n")) == (2, 1)
        assert errors.startswith("error: --out: must be a folder that can be written, but ")
        assert why in errors


def test_a_full_disk_is_reported_with_the_file(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_spot(60, 80, 30, 40).save(tmp_path / "a.png")
    drawn = tmp_path / "a-keypoints.png"
    drawn.symlink_to("/dev/full")
    code, out, errors = told(capsys, checkpoint, tmp_path / "a.png")
    assert (code, out) == (2, "")
    assert errors == (
        f"error: {drawn}: must be writable, but No space left on device; make room, or name "
        f"another place\n"
    )


@pytest.mark.slow
def test_a_name_that_the_encoding_of_the_output_lacks_is_spelt_out(
    checkpoint: Path, tmp_path: Path
) -> None:
    with_spot(60, 80, 30, 40).save(tmp_path / "\u00fc.png")
    arguments = ["predict", str(checkpoint), "\u00fc.png", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "kptrain", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(r"\xfc-keypoints.png: 1 persons")


def test_of_an_animation_the_first_picture_is_read_with_a_note(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.gif"
    others = [with_spot(60, 80, x, 20) for x in (20, 30, 40)]
    with_spot(60, 80, 30, 40).save(path, save_all=True, append_images=others)
    code, out, errors = told(capsys, checkpoint, path, "--json")
    assert code == 0
    assert len(json.loads(out)["persons"]) == 1
    assert errors == f"note: {path}: holds 4 pictures, of which the first is read\n"


@pytest.mark.slow
def test_48_megapixels_take_bounded_memory(checkpoint: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8000, 6000)).save(tmp_path / "a.png", compress_level=1)
    code = (
        "import sys, torch; from kptrain.__main__ import main; code = main(sys.argv[1:]); "
        "from kptrain.machine.device import peak_memory; print(peak_memory(torch.device('cpu'))); "
        "sys.exit(code)"
    )
    arguments = ["predict", str(checkpoint), str(tmp_path / "a.png"), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--box", "100,100,7000,5000"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout.splitlines()[-1]) < 1.3e9
    with Image.open(tmp_path / "a-keypoints.png") as drawn:
        assert drawn.size == (2000, 1500)
