"""Training as a stream: what is on disk at each report, what a resumed run gives, what matters."""

import errno
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from small_trainings import assert_equal_runs, changed, differences, read_metrics, rows, run

from kptrain.config import BEST, RESUME, Metric, TrainConfig
from kptrain.data.pack import open_pack
from kptrain.data.pack_format import Pack
from kptrain.errors import CheckpointError, TrainingError, WeightsError
from kptrain.files.layout import SplitName
from kptrain.model.checkpoint import load_checkpoint, save_checkpoint
from kptrain.model.network import build_model
from kptrain.resolve import change, setting_infos
from kptrain.run.curve import METRICS, TIMING, EpochReport
from kptrain.training import fit as fit_module
from kptrain.training.batches import Batch, batches, targets
from kptrain.training.fit import fit, validate


def test_each_report_comes_when_the_epoch_before_is_on_disk_and_the_last_with_its_own(
    config: TrainConfig, tmp_path: Path
) -> None:
    reports: list[EpochReport] = []
    for report in fit(config, tmp_path):
        reports.append(report)
        safe = reports if report.epoch == 3 else reports[:-1]
        if not safe:
            continue
        state = load_checkpoint(tmp_path / RESUME)
        num_safe = len(state["curve"])  # the thread may have finished this epoch's, too
        assert num_safe in (len(safe), report.epoch)
        assert [EpochReport(**row) for row in state["curve"]] == reports[:num_safe]
        metrics, timing = rows(tmp_path / "metrics.csv"), rows(tmp_path / "timing.csv")
        for table, names in ((metrics, METRICS), (timing, TIMING)):
            told = [{name: str(getattr(r, name)) for name in names} for r in reports]
            assert table[: len(safe)] == told[: len(safe)]
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert len(state["curve"]) == 3


def test_the_best_checkpoint_has_the_weights_and_metrics_of_its_epoch(
    config: TrainConfig, tmp_path: Path, saved: list[tuple[str, dict[str, Any]]]
) -> None:
    reports = run(config, tmp_path)
    states = {len(c["curve"]): c["weights"] for name, c in saved if name == RESUME}
    best = [content for name, content in saved if name == BEST]
    assert [b["metrics"] for b in best] == [r.metrics() for r in reports if r.is_best]
    for content in best:
        assert differences(content["weights"], states[content["metrics"]["epoch"]]) == []
    assert differences(states[1], states[2]) != []


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The names and contents of all checkpoints, in the order in which they are written."""
    seen = []

    def noted(content: dict[str, Any], path: Path) -> None:
        seen.append((path.name, content))
        save_checkpoint(content, path)

    monkeypatch.setattr("kptrain.training.saving.save_checkpoint", noted)
    return seen


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
    monkeypatch.setattr("kptrain.training.saving.save_checkpoint", lambda *_: None)


OTHER_VALUES: dict[str, Any] = {
    "data.root": "other data",
    "data.view": "person",
    "data.image_size": [64, 96],
    "data.limit_train": 5,
    "data.limit_val": 3,
    "augment.flip": 0.5,
    "augment.rotation_deg": 30.0,
    "augment.scale": 0.3,
    "augment.shift": 0.1,
    "augment.colour": 0.4,
    "heatmap.sigma_px": 1.1,
    "loss.joint_weights": [2.0] + [1.0] * 16,
    "model.trunk": "resnet18",
    "model.deconv_channels": [16, 16, 17],
    "model.weights": "a checkpoint",
    "model.freeze": 1,
    "optim.name": "adamw",
    "optim.lr": 1.1e-3,
    "optim.weight_decay": 0.1,
    "optim.decay_norms": False,
    "optim.momentum": 0.8,
    "optim.nesterov": True,
    "optim.clip_norm": 1e-3,
    "optim.backbone_lr_factor": 0.5,
    "schedule.name": "constant",
    "schedule.step_epochs": 2,
    "schedule.milestones": [2],
    "schedule.gamma": 0.9,
    "schedule.min_lr": 1e-4,
    "schedule.interval": "step",
    "schedule.warmup_epochs": 1,
    "schedule.warmup_steps": 1,
    "schedule.warmup_factor": 0.5,
    "train.epochs": 1,
    "train.batch_size": 2,
    "train.accumulate": 2,
    "train.ema_decay": 0.5,
    "train.seed": 1,
}
"""A value for each setting that decides what a training gives."""

BESIDE: dict[str, dict[str, Any]] = {
    "optim.name": {"optim.weight_decay": 0.1},
    "optim.decay_norms": {"optim.weight_decay": 0.1},
    "optim.momentum": {"optim.name": "sgd"},
    "optim.nesterov": {"optim.name": "sgd"},
    "schedule.milestones": {"schedule.name": "multistep", "schedule.milestones": [1]},
    "schedule.min_lr": {"schedule.name": "cosine"},
    "schedule.interval": {"schedule.name": "cosine"},
    "schedule.warmup_steps": {"schedule.interval": "step"},
    "schedule.warmup_factor": {"schedule.warmup_epochs": 1},
}
"""Other settings without which a setting has no effect."""


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
    beside = {"train.epochs": 2} | BESIDE.get(path, {})
    run(change(config, beside | {path: value}, "test"), tmp_path / "other")
    without = uninterrupted
    if path in BESIDE:
        without = tmp_path / "without"
        run(change(config, beside, "test"), without)
    expected = read_metrics(without / "metrics.csv")[:2]
    assert read_metrics(tmp_path / "other" / "metrics.csv") != expected


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
    config: TrainConfig,
    tmp_path: Path,
    saved: list[tuple[str, dict[str, Any]]],
    gamma: float,
    moves: bool,
) -> None:
    said = {"schedule.step_epochs": 1, "schedule.gamma": gamma, "train.epochs": 2}
    run(change(config, said, "test"), tmp_path)
    heads = [content["weights"]["head.weight"] for name, content in saved if name == RESUME]
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
    saved: list[tuple[str, dict[str, Any]]],
    metric: str,
    scores: list[float],
    best_epoch: int,
) -> None:
    left = iter(scores)

    def scored(*_: object) -> dict[str, float]:
        return dict.fromkeys(get_args(Metric), 0.5) | {metric: next(left)}

    monkeypatch.setattr(fit_module, "validate", scored)
    reports = run(changed(config, "checkpoint.metric", metric), tmp_path)
    weights = {len(c["curve"]): c["weights"] for name, c in saved if name == RESUME}
    best = [report.epoch for report in reports if report.is_best]
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
    assert again == {name: metrics[name] for name in get_args(Metric)}
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
    val_loss = validate(model, other, open_pack(config.data, "val"), torch.device("cpu"))[
        "val_loss"
    ]
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

    def noted(pack: Pack, order: np.ndarray, *others: Any) -> Iterator[Batch]:
        orders.append(order.tolist())
        return batches(pack, order, *others)

    monkeypatch.setattr(fit_module, "batches", noted)
    monkeypatch.setattr("kptrain.training.saving.save_checkpoint", lambda *_: None)
    for seed in (0, 1):
        run(changed(config, "train.seed", seed), tmp_path / str(seed))
    training, validation = orders[::2], orders[1::2]
    assert all(sorted(order) == list(range(6)) for order in training)
    assert len({tuple(order) for order in training}) == 6
    assert all(order == list(range(4)) for order in validation)


def test_a_loss_that_is_not_finite_is_reported_with_its_epoch_and_step(
    config: TrainConfig, tmp_path: Path
) -> None:
    huge = changed(config, "loss.joint_weights", [3e38] * 17)
    with pytest.raises(TrainingError, match=r"^epoch 1, step 1: the loss must be finite, but is"):
        run(huge, tmp_path)
    assert not (tmp_path / RESUME).exists()


def test_a_learning_rate_that_breaks_the_weights_is_reported_with_the_step_that_shows_it(
    config: TrainConfig, tmp_path: Path
) -> None:
    broken = changed(config, "optim.lr", 1e37)
    with pytest.raises(TrainingError, match=r"epoch 1, step 2: .* smaller optim.lr \(1e\+37\)"):
        run(broken, tmp_path)


def test_weights_that_break_in_the_last_step_are_reported_by_the_validation(
    config: TrainConfig, tmp_path: Path
) -> None:
    broken = change(config, {"optim.lr": 1e37, "data.limit_train": 3}, "test")
    with pytest.raises(TrainingError, match=r"validation: the loss must be finite, .* optim.lr"):
        run(broken, tmp_path)


def test_missing_weights_are_reported_before_anything_is_packed(
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


@pytest.mark.parametrize(("every", "epochs"), [(1, [1, 2, 3]), (2, [2, 3]), (3, [3]), (7, [3])])
def test_the_resume_state_is_saved_every_resume_epochs_and_at_the_end(
    config: TrainConfig,
    uninterrupted: Path,
    tmp_path: Path,
    saved: list[tuple[str, dict[str, Any]]],
    every: int,
    epochs: list[int],
) -> None:
    run(changed(config, "checkpoint.resume_epochs", every), tmp_path)
    assert [len(content["curve"]) for name, content in saved if name == RESUME] == epochs
    assert (tmp_path / "metrics.csv").read_bytes() == (uninterrupted / "metrics.csv").read_bytes()


def test_the_next_epoch_trains_while_the_files_of_the_last_are_written(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_trains = threading.Event()
    epochs = []

    def train(*arguments: Any) -> float:
        epochs.append(1)
        if len(epochs) == 2:
            second_trains.set()
        return real_train(*arguments)

    def slowly(content: dict[str, Any], path: Path) -> None:
        assert second_trains.wait(timeout=30), "the second epoch waits for the files of the first"
        save_checkpoint(content, path)

    real_train = fit_module._train
    monkeypatch.setattr(fit_module, "_train", train)
    monkeypatch.setattr("kptrain.training.saving.save_checkpoint", slowly)
    run(config, tmp_path)
    assert len(load_checkpoint(tmp_path / RESUME)["curve"]) == 3


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_files_that_cannot_be_written_end_the_training_with_the_reason(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.save", full)

    def train_and_stop() -> None:
        with closing(fit(config, tmp_path)) as reports:
            for _ in range(stop_after):
                next(reports)

    with pytest.raises(CheckpointError, match="must be writable, but No space left on device"):
        train_and_stop()


def test_the_best_weights_can_be_kept_in_bfloat16_with_their_statistics_in_float32(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    run(changed(config, "checkpoint.best_dtype", "bfloat16"), tmp_path)
    kept, whole = (load_checkpoint(folder / BEST) for folder in (tmp_path, uninterrupted))
    assert kept["metrics"] == whole["metrics"]
    for name, weights in kept["weights"].items():
        is_statistic = "running" in name or "num_batches" in name
        dtype = whole["weights"][name].dtype if is_statistic else torch.bfloat16
        assert weights.dtype == dtype, name
        assert torch.equal(weights, whole["weights"][name].to(dtype)), name
    assert (tmp_path / BEST).stat().st_size < 0.65 * (uninterrupted / BEST).stat().st_size
    model = build_model(changed(config, "model.weights", str(tmp_path / BEST)).model, 0)
    values = validate(model, config, open_pack(config.data, "val"), torch.device("cpu"))
    assert values["val_loss"] == pytest.approx(whole["metrics"]["val_loss"], rel=0.02)


def test_bfloat16_gives_the_curve_of_float32_up_to_its_rounding(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    reports = run(changed(config, "train.precision", "bfloat16"), tmp_path)
    expected = read_metrics(uninterrupted / "metrics.csv")
    for report, row in zip(reports, expected, strict=True):
        assert report.train_loss != row["train_loss"]
        assert report.train_loss == pytest.approx(row["train_loss"], rel=0.02)
        assert report.val_loss == pytest.approx(row["val_loss"], rel=0.02)
    assert load_checkpoint(tmp_path / RESUME)["weights"]["head.weight"].dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning")
@pytest.mark.parametrize("precision", ["auto", "float16"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_an_epoch_on_a_gpu_waits_for_it_only_at_its_end(
    config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    optimizer: str,
) -> None:
    def with_waiting(mode: str, name: str) -> None:
        real = getattr(fit_module, name)

        def wrapped(*arguments: Any) -> Any:
            torch.cuda.set_sync_debug_mode(mode)
            return real(*arguments)

        monkeypatch.setattr(fit_module, name, wrapped)

    for name in ("_train", "validate"):
        with_waiting("error", name)
    for name in ("_mean", "in_original"):  # which read what the passes left on the GPU
        with_waiting("default", name)
    said = {"train.device": "cuda", "augment.rotation_deg": 20.0, "augment.flip": 0.5}
    said |= {"train.precision": precision, "optim.name": optimizer, "optim.clip_norm": 0.1}
    said |= {"train.ema_decay": 0.9, "train.accumulate": 2}
    try:
        assert len(run(change(config, said, "test"), tmp_path)) == 3
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_a_gpu_gives_nearly_the_metrics_of_the_cpu(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    reports = run(changed(config, "train.device", "cuda"), tmp_path)
    expected = read_metrics(uninterrupted / "metrics.csv")
    assert reports[0].train_loss == pytest.approx(expected[0]["train_loss"], rel=0.05)
    assert reports[0].peak_memory_bytes < 2**30
