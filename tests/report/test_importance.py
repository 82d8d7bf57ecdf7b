"""What mattered in a search, on records whose values come from a known function."""

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from records import epoch

from kptrain.config import Metric, TrainConfig
from kptrain.resolve import change
from search.report import importance as module
from search.report.importance import common_epoch, describe_importance, importance, save_importance
from search.space.axes import Choice, Range
from search.trainings.keypoints import KEYPOINTS
from search.trials.record import Record, State

pytestmark = pytest.mark.slow  # seconds together

AXES: dict[str, Choice | Range] = {
    "optim.lr": Range("float", 1e-4, 1e-2, log=True),
    "schedule.gamma": Range("float", 0.1, 0.9),
    "schedule.step_epochs": Range("int", 3, 12),
    "train.batch_size": Choice((8, 16, 32)),
}
Curve = Callable[[dict[str, Any], np.random.Generator], list[float]]


def draw(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "optim.lr": float(10 ** rng.uniform(-4, -2)),
        "schedule.gamma": float(rng.uniform(0.1, 0.9)),
        "schedule.step_epochs": int(rng.integers(3, 13)),
        "train.batch_size": int(rng.choice([8, 16, 32])),
    }


def searched(folder: Path, num: int, curve: Curve, metric: Metric = "val_loss") -> Record:
    """Trials at random points, with three epochs of a curve; one that is shorter was stopped."""
    rng = np.random.default_rng(num)
    record = Record(folder, KEYPOINTS, KEYPOINTS.metrics[metric])
    for number in range(num):
        settings = draw(rng)
        record.add(settings, change(TrainConfig(), settings | {"train.epochs": 3}, "test"))
        values = curve(settings, rng)
        for at, value in enumerate(values, 1):
            record.report(number, epoch(at, value), "host", "cpu")
        record.set_state(number, "completed" if len(values) == 3 else "stopped")
    return record


def by_lr(settings: dict[str, Any], rng: np.random.Generator) -> list[float]:
    """The best learning rate is 10^-2.5; all else is noise."""
    value = abs(np.log10(settings["optim.lr"]) + 2.5) + 0.05 * rng.normal()
    return [1.0 + value, 0.5 + value, value]


def test_the_setting_that_matters_has_the_larger_share_and_an_interval_beyond_the_others(
    tmp_path: Path,
) -> None:
    found = importance(searched(tmp_path, 60, by_lr), AXES)
    first, *others = found.shares
    assert (found.epoch, found.num_trials) == (3, 60)
    assert first.path == "optim.lr"
    assert first.low <= first.share <= first.high
    assert first.low > max(other.high for other in others)
    assert first.chance < 0.02
    assert sum(share.share for share in found.shares) == pytest.approx(1.0)


def test_a_setting_without_effect_has_an_interval_that_reaches_low_and_may_be_chance(
    tmp_path: Path,
) -> None:
    found = importance(searched(tmp_path, 60, by_lr), AXES)
    for share in found.shares[1:]:
        assert share.low < 0.03
        assert share.chance > 0.05
    said = describe_importance(found)
    assert said.startswith("Mattered  lr 0.")
    assert "may be chance" not in said.partition(",")[0]
    assert said.count("; may be chance)") == 3
    assert said.endswith("(val_loss after epoch 3 of 60 trials)")


def test_two_settings_that_matter_both_stand_out_from_chance(tmp_path: Path) -> None:
    def by_both(settings: dict[str, Any], rng: np.random.Generator) -> list[float]:
        lr = abs(np.log10(settings["optim.lr"]) + 2.5)
        return [lr + 1.5 * settings["schedule.gamma"] + 0.05 * float(rng.normal())] * 3

    told = {s.path: s for s in importance(searched(tmp_path, 100, by_both), AXES).shares}
    for path in ("optim.lr", "schedule.gamma"):
        assert told[path].share > 0.2
        assert told[path].chance <= 0.05


def test_where_nothing_matters_every_setting_may_be_chance_and_intervals_overlap(
    tmp_path: Path,
) -> None:
    noise = searched(tmp_path, 60, lambda _, rng: [float(rng.normal())] * 3)
    shares = importance(noise, AXES).shares
    assert sum(share.chance > 0.05 for share in shares) >= 3
    assert max(share.low for share in shares) < min(share.high for share in shares)


@pytest.mark.parametrize("metric", ["val_oks", "val_ap"])
def test_a_metric_that_is_maximised_is_judged_by_its_largest_values(
    tmp_path: Path, metric: Metric
) -> None:
    """Only in the upper quarter does the learning rate matter, in the lower one gamma does."""

    def curve(settings: dict[str, Any], rng: np.random.Generator) -> list[float]:
        is_good = settings["optim.lr"] > 10**-2.5
        is_bad = settings["schedule.gamma"] > 0.7 and not is_good
        return [1.0 * is_good - 1.0 * is_bad + 0.1 * float(rng.normal())] * 3

    record = searched(tmp_path, 100, curve, metric)
    found = importance(record, AXES)
    assert found.shares[0].path == "optim.lr"
    assert f" ({record.metric.label} after epoch 3 of " in describe_importance(found)
    record = searched(tmp_path, 100, curve, "val_loss")
    assert importance(record, AXES).shares[0].path == "schedule.gamma"


def stopped_by_gamma(settings: dict[str, Any], rng: np.random.Generator) -> list[float]:
    """The value is the learning rate's, and falls a lot with each epoch; who is stopped is given by
    gamma alone: among final values it would seem to be all that matters."""
    values = [value + 9.0 * (3 - at) for at, value in enumerate(by_lr(settings, rng), 1)]
    return values if settings["schedule.gamma"] > 0.5 else values[:1]


def test_values_of_different_epochs_are_never_mixed(tmp_path: Path) -> None:
    record = searched(tmp_path, 60, stopped_by_gamma)
    assert {trial.state for trial in record.trials} == {"completed", "stopped"}
    found = importance(record, AXES)
    assert (found.epoch, found.num_trials) == (1, 60)
    told = {share.path: share for share in found.shares}
    assert told["optim.lr"].low > told["schedule.gamma"].high
    assert told["schedule.gamma"].chance > 0.05


@pytest.mark.parametrize("state", ["failed", "interrupted"])
def test_a_trial_that_did_not_come_to_its_end_counts_if_it_got_that_far(
    tmp_path: Path, state: State
) -> None:
    record = searched(tmp_path, 20, by_lr)
    record.trials[0].state = state
    del record.trials[0].curve[1:]
    assert (importance(record, AXES).epoch, importance(record, AXES).num_trials) == (3, 19)
    record.trials[1].state = state
    assert importance(record, AXES).num_trials == 19
    assert common_epoch(Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"])) == 0


def test_defaults_that_lie_beyond_the_axes_are_left_out(tmp_path: Path) -> None:
    record = searched(tmp_path, 20, by_lr)
    record.trials[0].settings["optim.lr"] = 0.5
    record.trials[1].settings["train.batch_size"] = 64
    assert importance(record, AXES).num_trials == 18


@pytest.mark.parametrize(
    ("num", "curve", "axes", "reason"),
    [
        (9, by_lr, 4, "10 trials must be comparable, but 9 are"),
        (0, by_lr, 4, "10 trials must be comparable, but 0 are"),
        (12, lambda *_: [0.5, 0.5, 0.5], 4, "all trials have the same value"),
        (12, by_lr, 1, "a single setting was searched"),
    ],
)
def test_where_importance_cannot_be_measured_the_reason_is_given_instead_of_numbers(
    tmp_path: Path, num: int, curve: Curve, axes: int, reason: str
) -> None:
    found = importance(searched(tmp_path, num, curve), dict(list(AXES.items())[:axes]))
    assert found.shares == ()
    assert describe_importance(found) == f"Mattered  cannot be measured: {reason}"
    save_importance(found, tmp_path)
    assert len((tmp_path / "importance.csv").read_text().splitlines()) == 1


def test_ties_that_leave_no_best_quarter_are_reported(tmp_path: Path) -> None:
    record = searched(tmp_path, 40, lambda *_: [0.0, 0.0, 0.0], "val_ap")
    record.trials[0].curve[2] = epoch(3, 0.1)
    assert importance(record, AXES).why_not.startswith("too many trials have the same value")


def test_the_same_record_gives_the_same_figures_and_the_table_holds_them(tmp_path: Path) -> None:
    record = searched(tmp_path, 30, by_lr)
    found = importance(record, AXES)
    assert importance(record, AXES) == found
    assert importance(record, AXES, seed=1) != found
    save_importance(found, tmp_path)
    with (tmp_path / "importance.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["setting"] for row in table] == [share.path for share in found.shares]
    for row, share in zip(table, found.shares, strict=True):
        assert (float(row["share"]), float(row["low_90"])) == (share.share, share.low)
        assert (float(row["high_90"]), float(row["chance"])) == (share.high, share.chance)
        assert (row["metric"], row["epoch"], row["trials"]) == ("val_loss", "3", "30")


def test_the_work_does_not_grow_with_the_number_of_trials_but_in_each_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many that 300 trials take about a second."""
    compared = []

    def counting(study: optuna.Study, axes: Any, values: Any) -> Any:
        compared.append(len(values))
        return real(study, axes, values)

    real = module._divergences
    monkeypatch.setattr(module, "_divergences", counting)
    assert importance(searched(tmp_path, 60, by_lr), AXES).num_trials == 60
    assert len(compared) <= 2 * module.NUM_DRAWS + 1
    assert max(compared) == 60


def test_it_needs_no_ray() -> None:
    program = "import sys, search.report.importance; print('ray' in sys.modules)"
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"
