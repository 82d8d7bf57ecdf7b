"""The picture of a trained model: true and predicted joints in the same frame, in both views."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kptrain.commands import picture
from kptrain.commands.drawing import Example
from kptrain.commands.picture import NUM_EXAMPLES, draw_predictions, draw_worst
from kptrain.config import BEST, PICTURE, WORST, TrainConfig
from kptrain.data.pack import open_pack
from kptrain.data.pack_format import Pack
from kptrain.errors import CheckpointError
from kptrain.model.checkpoint import save_checkpoint
from kptrain.model.heatmaps import Decoder
from kptrain.model.network import build_model
from kptrain.resolve import resolve
from kptrain.training.metrics import oks
from kptrain.training.validation import detect

pytestmark = pytest.mark.slow  # seconds together

VIEWS = ("image", "person")


def config_of(root: Path, view: str, limit: int = 9) -> TrainConfig:
    said = {
        "data.root": str(root),
        "data.view": view,
        "data.image_size": [64, 96],
        "data.limit_val": limit,
        "heatmap.sigma_px": 1.0,
        "model.trunk": "shufflenet_v2_x0_5",
        "model.deconv_channels": [16, 16, 16],
        "model.weights": "none",
        "train.device": "cpu",
    }
    return resolve(said, "test")


def save_model(config: TrainConfig, path: Path) -> Path:
    save_checkpoint({"weights": build_model(config.model, 0).state_dict()}, path)
    return path


@pytest.mark.parametrize("view", VIEWS)
def test_a_picture_is_written_for_a_checkpoint(small_coco: Path, tmp_path: Path, view: str) -> None:
    config = config_of(small_coco, view)
    checkpoint = save_model(config, tmp_path / BEST)
    draw_predictions(config, checkpoint, tmp_path / PICTURE)
    with Image.open(tmp_path / PICTURE) as page:
        width, height = page.size
        num_colours = len(page.convert("RGB").getcolors(maxcolors=2**24) or ())
    assert width > 3 * 96
    assert height > NUM_EXAMPLES * 64
    assert num_colours > 1000


@pytest.mark.parametrize("view", VIEWS)
def test_the_worst_samples_are_those_with_the_lowest_oks_the_worst_first(
    small_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    config = config_of(small_coco, view, limit=20)
    drawn: list[Example] = []
    monkeypatch.setattr(picture, "draw_examples", lambda examples, _: drawn.extend(examples))
    draw_worst(config, save_model(config, tmp_path / BEST), tmp_path / WORST)
    pack = open_pack(config.data, "val")
    heatmaps = torch.cat(
        [
            picture._heatmaps(picture._model(config, tmp_path / BEST), pack, np.array([s]))
            for s in range(len(pack))
        ]
    )
    persons, found = detect(heatmaps, pack, np.arange(len(pack)))
    values = oks(found[np.argsort(persons)], pack.table)
    first = pack.table.first
    means = [values[first[s] : first[s + 1]].mean() for s in range(len(pack))]
    order = np.argsort(means, kind="stable")[: picture.NUM_WORST]
    assert len(drawn) == min(picture.NUM_WORST, len(pack))
    for example, sample in zip(drawn, order, strict=True):
        assert np.array_equal(example.image, pack.images[sample])


@pytest.mark.parametrize("view", VIEWS)
def test_a_perfect_detection_is_drawn_on_the_true_joints(
    small_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    config = config_of(small_coco, view)
    drawn: list[Example] = []

    def perfect(
        heatmaps: torch.Tensor, pack: Pack, samples: np.ndarray, decoder: Decoder
    ) -> tuple[np.ndarray, np.ndarray]:
        persons, _ = detect(heatmaps, pack, samples, decoder)
        return persons, pack.table.keypoints[persons]

    monkeypatch.setattr(picture, "detect", perfect)
    monkeypatch.setattr(picture, "draw_examples", lambda examples, _: drawn.extend(examples))
    draw_predictions(config, save_model(config, tmp_path / BEST), tmp_path / PICTURE)
    pack = open_pack(config.data, "val")
    assert len(drawn) == NUM_EXAMPLES
    assert np.array_equal(drawn[0].image, pack.images[0])
    assert np.array_equal(drawn[-1].image, pack.images[len(pack) - 1])
    for example in drawn:
        assert len(example.true) > 0
        assert np.abs(example.predicted[:, :, :2] - example.true[:, :, :2]).max() < 1e-3
        assert np.array_equal(example.true[:, :, 2] > 0, example.predicted[:, :, 2] > 0)


def test_fewer_samples_than_examples_are_each_drawn_once(
    small_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(small_coco, "image", limit=2)
    drawn: list[Example] = []
    monkeypatch.setattr(picture, "draw_examples", lambda examples, _: drawn.extend(examples))
    draw_predictions(config, save_model(config, tmp_path / BEST), tmp_path / PICTURE)
    assert len(drawn) == 2


def test_without_a_checkpoint_no_picture_is_written(small_coco: Path, tmp_path: Path) -> None:
    config = config_of(small_coco, "image")
    with pytest.raises(CheckpointError, match="there is no such file"):
        draw_predictions(config, tmp_path / BEST, tmp_path / PICTURE)
    assert not (tmp_path / PICTURE).exists()
