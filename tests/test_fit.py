"""Training as a stream: what is on disk at each report, what a resumed run gives, what matters."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import assert_equal_runs, changed, differences, read_metrics, rows, run

from kptrain import fit as fit_module
from kptrain.batches import Batch, batches, targets
from kptrain.checkpoint import BEST, RESUME, load_checkpoint, save_checkpoint
from kptrain.config import TrainConfig
from kptrain.curve import METRICS, TIMING, EpochReport
from kptrain.errors import TrainingError, WeightsError
from kptrain.fit import fit, validate
from kptrain.layout import SplitName
from kptrain.model import build_model
from kptrain.pack import Pack, open_pack
from kptrain.resolve import change, setting_infos


def test_each_report_comes_when_its_epoch_is_on_disk(config: TrainConfig, tmp_path: Path) -> None:
    epochs = []
    for report in fit(config, tmp_path):
        epochs.append(report.epoch)
        state = load_checkpoint(tmp_path / RESUME)
        assert EpochReport(**state["curve"][-1]) == report
        assert [row["epoch"] for row in state["curve"]] == epochs
        metrics, timing = rows(tmp_path / "metrics.csv"), rows(tmp_path / "timing.csv")
        assert metrics[-1] == {name: str(getattr(report, name)) for name in METRICS}
        assert timing[-1] == {name: str(getattr(report, name)) for name in TIMING}
        assert [row["epoch"] for row in metrics] == [str(epoch) for epoch in epochs]
        assert len(timing) == len(metrics)
        if report.is_best:
            assert load_checkpoint(tmp_path / BEST)["metrics"] == report.metrics()
            weights = load_checkpoint(tmp_path / BEST)["weights"]
            assert differences(weights, state["weights"]) == []
    assert epochs == [1, 2, 3]


def test_a_run_folder_holds_what_the_docstring_names_and_nothing_else(uninterrupted: Path) -> None:
    names = {path.name for path in uninterrupted.iterdir()}
    assert names == {"config.yaml", "metrics.csv", "timing.csv", ".lock", BEST, RESUME}


def test_training_lowers_the_loss(uninterrupted: Path) -> None:
    curve = read_metrics(uninterrupted / "metrics.csv")
    assert curve[-1]["train_loss"] < 0.95 * curve[0]["train_loss"]


def test_two_runs_of_one_config_write_the_same_bytes(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    torch.manual_seed(4711)
    run(config, tmp_path)
    assert_equal_runs(tmp_path, uninterrupted)


@pytest.mark.usefixtures("without_checkpoints")
def test_the_curve_does_not_depend_on_what_is_left_alone_below(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    elsewhere = {"checkpoint.metric": "val_ap", "wandb.project": "other"}
    run(change(config, elsewhere | {"train.epochs": 2}, "test"), tmp_path)
    expected = read_metrics(uninterrupted / "metrics.csv")[:2]
    assert read_metrics(tmp_path / "metrics.csv") == expected


@pytest.fixture
def without_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the curve is looked at: writing them takes half of such a small run."""
    monkeypatch.setattr(fit_module, "save_checkpoint", lambda *_: None)


OTHER_VALUES: dict[str, Any] = {
    "data.root": "other data",
    "data.view": "person",
    "data.image_size": [64, 96],
    "data.limit_train": 5,
    "data.limit_val": 3,
    "heatmap.sigma_px": 1.1,
    "loss.joint_weights": [2.0] + [1.0] * 16,
    "model.trunk": "resnet18",
    "model.deconv_channels": [16, 16, 17],
    "model.weights": "a checkpoint",
    "optim.lr": 1.1e-3,
    "optim.weight_decay": 0.1,
    "schedule.step_epochs": 2,
    "schedule.gamma": 0.9,
    "train.epochs": 1,
    "train.batch_size": 2,
    "train.seed": 1,
}
"""A value for each setting that decides what a training gives."""


def test_every_setting_that_decides_a_result_is_tried_below() -> None:
    infos = setting_infos()
    assert set(OTHER_VALUES) == {path for path in infos if infos[path].changes != "place"}


@pytest.mark.usefixtures("without_checkpoints")
@pytest.mark.parametrize("path", OTHER_VALUES)
def test_every_setting_that_should_change_the_result_does(
    config: TrainConfig,
    uninterrupted: Path,
    other_data: Path,
    tmp_path: Path,
    path: str,
) -> None:
    value = OTHER_VALUES[path]
    if path == "data.root":
        value = str(other_data)
    elif path == "model.weights":
        value = str(uninterrupted / BEST)
    run(change(config, {"train.epochs": 2, path: value}, "test"), tmp_path)
    expected = read_metrics(uninterrupted / "metrics.csv")[:2]
    assert read_metrics(tmp_path / "metrics.csv") != expected


@pytest.mark.usefixtures("without_checkpoints")
def test_the_learning_rate_falls_by_gamma_after_every_step_epochs(
    config: TrainConfig, tmp_path: Path
) -> None:
    said = {
        "optim.lr": 1e-3,
        "schedule.step_epochs": 2,
        "schedule.gamma": 0.1,
        "train.epochs": 5,
    }
    reports = run(change(config, said, "test"), tmp_path)
    assert [report.lr for report in reports] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])


@pytest.mark.parametrize(("gamma", "moves"), [(1e-9, False), (1.0, True)])
def test_the_learning_rate_of_the_schedule_is_the_one_that_moves_the_weights(
    config: TrainConfig, tmp_path: Path, gamma: float, moves: bool
) -> None:
    said = {"schedule.step_epochs": 1, "schedule.gamma": gamma, "train.epochs": 2}
    heads = []
    for _ in fit(change(config, said, "test"), tmp_path):
        heads.append(load_checkpoint(tmp_path / RESUME)["weights"]["head.weight"])
    assert ((heads[1] - heads[0]).abs().max() > 1e-6) == moves


def test_adam_makes_a_first_step_of_the_learning_rate_in_every_weight(
    config: TrainConfig, tmp_path: Path
) -> None:
    said = {"train.epochs": 1, "data.limit_train": 1, "optim.lr": 1e-3}
    one_step = change(config, said, "test")
    run(one_step, tmp_path)
    before = build_model(one_step.model, one_step.train.seed).head.bias
    after = load_checkpoint(tmp_path / RESUME)["weights"]["head.bias"]
    assert (after - before).abs().detach().numpy() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("metric", "scores", "best_epoch"),
    [
        ("val_ap", [0.1, 0.3, 0.3], 2),
        ("val_oks", [0.1, 0.2, 0.4], 3),
        ("val_loss", [0.4, 0.2, 0.2], 2),
    ],
)
def test_the_best_checkpoint_is_the_first_of_the_best_epochs_by_its_metric(
    config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    metric: str,
    scores: list[float],
    best_epoch: int,
) -> None:
    left = iter(scores)

    def scored(*_: object) -> tuple[float, float, float]:
        others = {"val_loss": 0.5, "val_oks": 0.5, "val_ap": 0.5} | {metric: next(left)}
        return others["val_loss"], others["val_oks"], others["val_ap"]

    monkeypatch.setattr(fit_module, "validate", scored)
    weights = {}
    best = []
    for report in fit(changed(config, "checkpoint.metric", metric), tmp_path):
        weights[report.epoch] = load_checkpoint(tmp_path / RESUME)["weights"]
        best += [report.epoch] * report.is_best
    kept = load_checkpoint(tmp_path / BEST)
    assert best[-1] == kept["metrics"]["epoch"] == best_epoch
    assert kept["metrics"][metric] == scores[best_epoch - 1]
    assert differences(kept["weights"], weights[best_epoch]) == []


def test_the_best_weights_evaluated_again_give_the_reported_metrics(
    config: TrainConfig, uninterrupted: Path
) -> None:
    torch.set_num_threads(1)
    model = build_model(changed(config, "model.weights", str(uninterrupted / BEST)).model, 3)
    device = torch.device("cpu")
    again = validate(model, config, open_pack(config.data, "val"), device)
    metrics = load_checkpoint(uninterrupted / BEST)["metrics"]
    assert again == (metrics["val_loss"], metrics["val_oks"], metrics["val_ap"])
    assert metrics["val_loss"] == min(row["val_loss"] for row in read_metrics_of(uninterrupted))


def read_metrics_of(run_dir: Path) -> list[dict[str, float]]:
    return read_metrics(run_dir / "metrics.csv")


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_validation_loss_is_a_mean_over_samples_whatever_the_batch_size(
    config: TrainConfig, uninterrupted: Path, batch_size: int
) -> None:
    said = {"model.weights": str(uninterrupted / BEST), "train.batch_size": batch_size}
    other = change(config, said, "test")
    model = build_model(other.model, 0)
    val_loss, _, _ = validate(model, other, open_pack(config.data, "val"), torch.device("cpu"))
    metrics = load_checkpoint(uninterrupted / BEST)["metrics"]
    assert val_loss == pytest.approx(metrics["val_loss"], rel=1e-4)


@pytest.fixture
def nothing(config: TrainConfig, tmp_path: Path) -> TrainConfig:
    """One epoch of a network that predicts nothing, and hardly learns."""
    weights = build_model(config.model, 0).state_dict()
    weights["head.weight"].zero_()
    weights["head.bias"].zero_()
    save_checkpoint({"weights": weights}, tmp_path / "nothing.pth")
    said = {"model.weights": str(tmp_path / "nothing.pth"), "optim.lr": 1e-30, "train.epochs": 1}
    return change(config, said, "test")


def whole_split(config: TrainConfig, name: SplitName) -> tuple[torch.Tensor, torch.Tensor]:
    """The targets and the masks of all samples of a split, which has more persons than samples."""
    pack = open_pack(config.data, name)
    assert len(pack.table.area) > len(pack)
    (batch,) = batches(pack, np.arange(len(pack)), len(pack), torch.device("cpu"))
    return targets(batch, config), batch.mask[:, None]


def test_both_losses_are_means_over_samples_not_persons_or_batches(
    nothing: TrainConfig, tmp_path: Path
) -> None:
    # The second batch has two samples less than the first.
    (report,) = run(changed(nothing, "train.batch_size", 4), tmp_path / "run")
    splits: tuple[SplitName, ...] = ("train", "val")
    for name, loss in zip(splits, (report.train_loss, report.val_loss), strict=True):
        wanted, mask = whole_split(nothing, name)
        assert loss == pytest.approx(float((mask * wanted.square()).mean()), rel=1e-5)


def test_the_gradient_is_that_of_the_mean_loss_of_the_batch(
    nothing: TrainConfig, tmp_path: Path
) -> None:
    run(changed(nothing, "train.batch_size", 6), tmp_path / "run")
    moments = load_checkpoint(tmp_path / "run" / RESUME)["optimizer"]["state"]
    of_bias = moments[max(moments)]["exp_avg"]  # the head's bias is the last parameter
    wanted, mask = whole_split(nothing, "train")
    gradient = -2 * (mask * wanted).mean(dim=(0, 2, 3)) / 17
    assert of_bias.numpy() == pytest.approx(0.1 * gradient.numpy(), rel=1e-4)


def test_each_epoch_takes_all_samples_once_in_an_order_of_its_own_that_the_seed_decides(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[list[int]] = []

    def noted(pack: Pack, order: np.ndarray, size: int, device: torch.device) -> Iterator[Batch]:
        orders.append(order.tolist())
        return batches(pack, order, size, device)

    monkeypatch.setattr(fit_module, "batches", noted)
    monkeypatch.setattr(fit_module, "save_checkpoint", lambda *_: None)
    for seed in (0, 1):
        run(changed(config, "train.seed", seed), tmp_path / str(seed))
    training, validation = orders[::2], orders[1::2]
    assert all(sorted(order) == list(range(6)) for order in training)
    assert len({tuple(order) for order in training}) == 6
    assert all(order == list(range(4)) for order in validation)


def test_a_loss_that_is_not_finite_is_said_with_its_epoch_and_step(
    config: TrainConfig, tmp_path: Path
) -> None:
    huge = changed(config, "loss.joint_weights", [3e38] * 17)
    with pytest.raises(TrainingError, match=r"^epoch 1, step 1: the loss must be finite, but is"):
        run(huge, tmp_path)
    assert not (tmp_path / RESUME).exists()


def test_a_learning_rate_that_breaks_the_weights_is_said_with_the_step_that_shows_it(
    config: TrainConfig, tmp_path: Path
) -> None:
    broken = changed(config, "optim.lr", 1e37)
    with pytest.raises(TrainingError, match=r"epoch 1, step 2: .* smaller optim.lr \(1e\+37\)"):
        run(broken, tmp_path)


def test_weights_that_break_in_the_last_step_are_said_by_the_validation(
    config: TrainConfig, tmp_path: Path
) -> None:
    broken = change(config, {"optim.lr": 1e37, "data.limit_train": 3}, "test")
    with pytest.raises(TrainingError, match=r"validation: the loss must be finite, .* optim.lr"):
        run(broken, tmp_path)


def test_missing_weights_are_said_before_anything_is_packed(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "open_pack", lambda *_: pytest.fail("packing began"))
    with pytest.raises(WeightsError):
        run(changed(config, "model.weights", str(tmp_path / "none.pth")), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_is_applied(
    config: TrainConfig, tmp_path: Path, threads: int
) -> None:
    torch.set_num_threads(3 - threads)
    said = {"train.threads": threads, "model.weights": str(tmp_path / "none.pth")}
    with pytest.raises(WeightsError):  # enough to see it: training on two threads takes long
        run(change(config, said, "test"), tmp_path)
    assert torch.get_num_threads() == threads


@pytest.mark.usefixtures("without_checkpoints")
def test_a_curve_is_read_as_it_was_written(config: TrainConfig, tmp_path: Path) -> None:
    reports = run(config, tmp_path)
    assert read_metrics(tmp_path / "metrics.csv") == [
        {name: value for name, value in asdict(report).items() if name in METRICS}
        for report in reports
    ]


@pytest.mark.gpu
def test_a_gpu_gives_nearly_the_metrics_of_the_cpu(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    reports = run(changed(config, "train.device", "cuda"), tmp_path)
    expected = read_metrics(uninterrupted / "metrics.csv")
    assert reports[0].train_loss == pytest.approx(expected[0]["train_loss"], rel=0.05)
    assert reports[0].peak_memory_bytes < 2**30
