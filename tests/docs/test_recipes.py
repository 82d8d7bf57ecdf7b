"""The recipes: each is a whole training, that of the source it names."""

from contextlib import closing
from pathlib import Path

import pytest

from kptrain.config import TrainConfig
from kptrain.resolve import change, flatten
from kptrain.strict_yaml import read_yaml
from kptrain.training.fit import fit

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
SIMPLEBASELINE = {
    "data.view": "person",
    "data.image_size": [256, 192],
    "augment.flip": 0.5,
    "augment.rotation_deg": 40,
    "augment.rotation_prob": 0.6,
    "augment.scale": 0.3,
    "augment.distribution": "normal",
    "heatmap.sigma_px": 2.0,
    "model.trunk": "resnet50",
    "model.weights": "imagenet",
    "model.deconv_channels": [256, 256, 256],
    "optim.name": "adam",
    "optim.lr": 1e-3,
    "schedule.name": "multistep",
    "schedule.milestones": [90, 120],
    "schedule.gamma": 0.1,
    "train.epochs": 140,
    "train.batch_size": 128,
    "checkpoint.metric": "val_ap",
}
"""The published settings: 4 GPUs with 32 samples each."""


def of(name: str) -> TrainConfig:
    path = ROOT / "recipes" / name
    return change(TrainConfig(), flatten(read_yaml(path)), str(path))


def test_simplebaseline_has_every_line_of_the_published_run() -> None:
    assert flatten(read_yaml(ROOT / "recipes/simplebaseline_r50_256x192.yaml")) == SIMPLEBASELINE
    config = of("simplebaseline_r50_256x192.yaml")
    assert config.optim.weight_decay == 0.0  # which its code does not give to Adam
    assert config.schedule.warmup_epochs == 0
    assert config.augment.shift == config.augment.half_body_prob == config.augment.colour == 0.0


def test_the_original_recipe_is_the_defaults() -> None:
    assert of("original.yaml") == TrainConfig()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_states_its_source_and_the_published_figure_and_is_listed(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "\n# Source: " in text
    assert "\n# Published: " in text
    assert f"recipes/{path.name}" in (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


def test_three_epochs_of_simplebaseline_run_on_photographs_at_a_small_size(
    coco_sample: Path, tmp_path: Path
) -> None:
    small = {
        "data.root": str(coco_sample),
        "data.image_size": [64, 64],
        "data.limit_train": 12,
        "data.limit_val": 6,
        "heatmap.sigma_px": 1.0,
        "model.trunk": "shufflenet_v2_x0_5",
        "model.weights": "none",
        "model.deconv_channels": [16, 16, 16],
        "train.epochs": 3,
        "train.batch_size": 4,
        "train.device": "cpu",
    }
    config = change(of("simplebaseline_r50_256x192.yaml"), small, "test")
    with closing(fit(config, tmp_path / "run")) as reports:
        curve = list(reports)
    assert [report.epoch for report in curve] == [1, 2, 3]
    assert curve[-1].train_loss < curve[0].train_loss
