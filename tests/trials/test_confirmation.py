"""The confirmation of a search: who is trained again, what wins, what stays, what is said."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from records import BROKE, NOTHING, add, epoch
from space_files import LR, one_line, read, resolved

from kptrain.config import BEST, RESUME, Metric, TrainConfig
from kptrain.errors import SettingsError
from kptrain.resolve import change
from search.journal.journal import JOURNAL
from search.plan import describe_plan, disk_bound
from search.report.confirmation import describe_confirmation, provenance_of, save_confirmation
from search.space.space import Confirm
from search.trainings.keypoints import KEYPOINTS
from search.trials.confirmation import Confirmation, candidates, fresh_seeds
from search.trials.record import Record
from search.trials.seed_summary import STUDENT_T, interval

SEEDS = [11, 12, 13]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`read` writes its space file where the test stands."""
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


def searched(folder: Path, metric: Metric = "val_loss") -> Record:
    """Five trials: the defaults (0.5), two better that completed (0.3, 0.4), one stopped, one
    failed."""
    folder.mkdir(exist_ok=True)
    record = Record(folder, KEYPOINTS, KEYPOINTS.metrics[metric])
    add(record, [0.6, 0.5, 0.5], "completed")
    add(record, [0.4, 0.3, 0.35], "completed", lr=0.002)
    add(record, [0.2], "stopped", lr=0.003)
    add(record, [0.45, 0.4, 0.4], "completed", lr=0.004)
    add(record, [], "failed", lr=9.0)
    record.sweep()
    return record


def train(confirmation: Confirmation, values: Sequence[float | None]) -> None:
    """End the next trainings with these best values, with files as they leave them; None fails."""
    for value in values:
        number = len(confirmation.trials)
        point = confirmation.points()[number]
        made = confirmation.add(point, change(TrainConfig(), point, "test"))
        made.run_dir.mkdir()
        for name in (BEST, RESUME):
            (made.run_dir / name).write_bytes(b"x")
        if value is not None:
            confirmation.report(number, epoch(1, value), "host", "cpu")
        reason = BROKE if value is None else None
        confirmation.set_state(number, "failed" if value is None else "completed", reason)
    confirmation.sweep()


def confirmed(
    folder: Path, values: Sequence[float | None], top: int = 2, metric: Metric = "val_loss"
) -> Confirmation:
    confirmation = Confirmation(searched(folder, metric), Confirm(top=top, seeds=3), SEEDS)
    confirmation.journal()
    train(confirmation, values)
    return confirmation


def checkpoints(confirmation: Confirmation) -> list[str]:
    return sorted(path.parent.name for path in confirmation.run_dir.rglob("*.pt*"))


# -- who is trained again


@pytest.mark.parametrize(
    ("top", "chosen"),
    [(1, [1, 0]), (2, [1, 3, 0]), (3, [1, 3, 0]), (4, [1, 3, 0, 2]), (9, [1, 3, 0, 2])],
)
def test_the_best_few_are_confirmed_completed_ones_first_and_the_defaults_once(
    tmp_path: Path, top: int, chosen: list[int]
) -> None:
    assert [trial.number for trial in candidates(searched(tmp_path), top)] == chosen


def test_equal_settings_are_confirmed_once_and_the_defaults_stand_for_themselves(
    tmp_path: Path,
) -> None:
    record = searched(tmp_path)
    add(record, [0.1, 0.1, 0.1], "completed")  # the defaults' settings
    add(record, [0.2, 0.2, 0.2], "completed", lr=0.002)  # those of trial 1
    assert [trial.number for trial in candidates(record, 3)] == [0, 6, 3]


def test_a_trial_that_the_budget_cut_is_confirmed_if_it_is_among_the_best(tmp_path: Path) -> None:
    record = searched(tmp_path)
    add(record, [0.1], "interrupted", lr=0.005)
    assert 5 in [trial.number for trial in candidates(record, 9)]


def test_fresh_seeds_are_derived_from_the_searchs_seed_and_are_never_its_training_seed() -> None:
    space = read(rest="seed: 5")
    first = fresh_seeds(space, TrainConfig(), 31)
    assert len(set(first)) == 31
    assert fresh_seeds(space, TrainConfig(), 31) == first
    assert fresh_seeds(read(rest="seed: 6"), TrainConfig(), 31) != first
    taken = change(TrainConfig(), {"train.seed": first[1]}, "test")
    assert fresh_seeds(space, taken, 2) == [first[0], first[2]]


def test_every_setting_gets_the_same_seeds_and_a_folder_of_its_own(tmp_path: Path) -> None:
    confirmation = confirmed(tmp_path, [0.3] * 9)
    assert [(point["optim.lr"], point["train.seed"]) for point in confirmation.points()] == [
        (lr, seed) for lr in (0.002, 0.004, 0.001) for seed in SEEDS
    ]
    folders = [made.run_dir.relative_to(tmp_path) for made in confirmation.trials]
    assert folders[:4] == [
        Path("confirm") / name for name in ("001-11", "001-12", "001-13", "003-11")
    ]
    assert confirmation.is_whole()
    confirmation.save()
    with (tmp_path / "confirm" / "trials.csv").open(newline="") as file:
        assert [row["train.seed"] for row in csv.DictReader(file)] == ["11", "12", "13"] * 3


# -- what wins, and what stays


def test_the_best_mean_wins_not_the_best_single_training(tmp_path: Path) -> None:
    lucky, steady, defaults = [0.1, 0.6, 0.6], [0.3, 0.35, 0.3], [0.5, 0.5, 0.5]
    confirmation = confirmed(tmp_path, [*lucky, *steady, *defaults])
    leader = confirmation.leader()
    assert leader is not None
    assert leader.label == "3-11"
    assert [s.trial.number for s in confirmation.summaries()] == [3, 1, 0]


def test_with_a_metric_that_is_maximised_the_largest_mean_wins(tmp_path: Path) -> None:
    confirmation = confirmed(tmp_path, [0.5] * 3 + [0.1, 0.2, 0.9] + [0.3] * 3, 3, "val_ap")
    assert [s.trial.number for s in confirmation.summaries()] == [0, 3, 1]
    leader = confirmation.leader()
    assert leader is not None
    assert leader.label == "0-11"


def test_a_failed_training_is_left_out_of_the_mean_and_named(tmp_path: Path) -> None:
    confirmation = confirmed(tmp_path, [None, 0.1, 0.2, *[0.3] * 6])
    first = confirmation.summaries()[0]
    assert (first.trial.number, list(first.values())) == (1, [12, 13])
    assert first.mean() == pytest.approx(0.15)
    assert confirmation.is_whole()
    assert "failed with seed 11: it broke" in describe_confirmation(
        confirmation, NOTHING, Path("x")
    )


def test_a_setting_whose_trainings_all_failed_cannot_win(tmp_path: Path) -> None:
    confirmation = confirmed(tmp_path, [None, None, None, *[0.9] * 6])
    assert [s.trial.number for s in confirmation.summaries()] == [3, 0, 1]
    said = describe_confirmation(confirmation, NOTHING, Path("x"))
    assert "trial 1: no training completed" in said


def test_when_every_training_failed_there_is_no_leader(tmp_path: Path) -> None:
    confirmation = confirmed(tmp_path, [None] * 9)
    assert confirmation.is_whole()
    assert confirmation.leader() is None


def test_a_setting_that_is_done_loses_its_checkpoint_once_another_has_a_better_mean(
    tmp_path: Path,
) -> None:
    confirmation = confirmed(tmp_path, [0.3, 0.2, 0.4])
    assert checkpoints(confirmation) == ["001-12"]
    train(confirmation, [0.9, 0.8])
    assert checkpoints(confirmation) == ["001-12", "003-12"]  # the latter may still win
    train(confirmation, [0.9])
    assert checkpoints(confirmation) == ["001-12"]
    train(confirmation, [0.1, 0.1, 0.2])
    assert checkpoints(confirmation) == ["000-11"]


def test_the_searchs_own_winner_keeps_its_checkpoint_during_the_confirmation(
    tmp_path: Path,
) -> None:
    confirmed(tmp_path, [0.1] * 9)
    assert (tmp_path / "trials" / "001" / BEST).exists()


def test_an_interrupted_confirmation_keeps_what_it_resumes_from(tmp_path: Path) -> None:
    confirmation = confirmed(tmp_path, [0.3, 0.2, 0.3, 0.6, 0.7, 0.8])
    train(confirmation, [0.4])
    confirmation.set_state(6, "interrupted")
    confirmation.sweep()
    assert checkpoints(confirmation) == ["000-11", "001-12"]
    assert not confirmation.is_whole()
    assert confirmation.num_done() == 6


def test_a_confirmation_of_the_same_trials_and_seeds_resumes_and_another_begins_anew(
    tmp_path: Path,
) -> None:
    search = searched(tmp_path)
    event = {"at": 0.0, "event": "close"}
    Confirmation(search, Confirm(top=2, seeds=3), SEEDS).journal().write(event)
    same = Confirmation(search, Confirm(top=2, seeds=3), SEEDS)
    assert same.journal().written[1:] == [event]
    (same.run_dir / "001-11").mkdir()
    add(search, [0.2, 0.1, 0.1], "completed", lr=0.005)  # the search went on, and found better
    other = Confirmation(search, Confirm(top=2, seeds=3), SEEDS)
    assert other.journal().written == []
    assert [path.name for path in other.run_dir.iterdir()] == [JOURNAL]


# -- what is said


def test_students_quantiles_leave_a_fortieth_above_them() -> None:
    for degrees, quantile in enumerate(STUDENT_T, 1):
        assert _t_cdf(quantile, degrees) == pytest.approx(0.975, abs=3e-5)
    assert len(STUDENT_T) == 30


def _t_cdf(t: float, degrees: int) -> float:
    """By the midpoint rule on the density."""
    width = t / 100_000
    x = (np.arange(100_000) + 0.5) * width
    log = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    scale = math.exp(log) / math.sqrt(degrees * math.pi)
    return 0.5 + float(np.sum(scale * (1 + x**2 / degrees) ** (-(degrees + 1) / 2)) * width)


@pytest.mark.parametrize("count", [2, 3, 10, 31])
def test_an_interval_holds_the_true_mean_19_times_in_20(count: int) -> None:
    rng = np.random.default_rng(0)
    found = [interval(list(rng.normal(3.0, 2.0, count))) for _ in range(4000)]
    held = np.mean([told.low <= 3.0 <= told.high for told in found])
    assert held == pytest.approx(0.95, abs=0.011)  # three standard errors


@pytest.mark.parametrize(("metric", "sign"), [("val_loss", 1), ("val_ap", -1)])
def test_optimism_and_gain_are_positive_where_the_search_and_the_setting_were_better(
    tmp_path: Path, metric: Metric, sign: int
) -> None:
    first, defaults = [0.2, 0.3, 0.4], [0.5, 0.7, 0.6]
    in_order = [first, [0.9] * 3, defaults][::sign]  # by val_ap, the defaults come first
    confirmation = confirmed(tmp_path, [v for values in in_order for v in values], 3, metric)
    told = {summary.trial.number: summary for summary in confirmation.summaries()}
    searched_best = 0.3 if metric == "val_loss" else 0.4
    optimism = told[1].optimism()
    assert optimism == pytest.approx(sign * (0.3 - searched_best))
    gain = told[1].gain(confirmation.defaults())
    assert gain is not None
    assert gain.mean == pytest.approx(sign * 0.3)  # of 0.3, 0.4 and 0.2
    half = 4.303 * 0.1 / math.sqrt(3)
    assert (gain.low, gain.high) == pytest.approx((gain.mean - half, gain.mean + half))


def test_differences_are_paired_by_seed_where_one_training_failed(tmp_path: Path) -> None:
    confirmation = confirmed(tmp_path, [None, 0.3, 0.4, *[0.9] * 3, 0.1, 0.5, None])
    told = {summary.trial.number: summary for summary in confirmation.summaries()}
    assert told[1].gain(confirmation.defaults()) is None  # a single pair tells no spread
    gain = told[3].gain(confirmation.defaults())
    assert gain is not None
    assert gain.mean == pytest.approx(-0.6)
    assert "trial 1: 0.350000 (sd 0.070711, n 2); fewer than two seeds in common" in (
        describe_confirmation(confirmation, NOTHING, Path("x"))
    )


def test_the_report_names_means_spreads_optimism_and_distinguishable_trials(tmp_path: Path) -> None:
    values = [0.31, 0.33, 0.32, 0.4, 0.5, 0.6, 0.51, 0.5, 0.52]
    said = describe_confirmation(confirmed(tmp_path, values), NOTHING, Path("runs/x"))
    assert (
        "trial 1: 0.320000 (sd 0.010000, n 3); 0.190000 better than the defaults "
        "(95 %: 0.146970 better to 0.233030 better)" in said
    )
    assert "the search's 0.300000 (completed after epoch 3) was 0.020000 better" in said
    assert (
        "trial 3: 0.500000 (sd 0.100000, n 3); not distinguishable from the defaults (95 %" in said
    )
    assert "Best      trial 1, by the mean, lr=0.002; its training with seed 11" in said
    assert said.endswith("python -m kptrain runs/x/best/config.yaml")


def test_it_is_plain_where_the_defaults_win_by_their_mean(tmp_path: Path) -> None:
    said = describe_confirmation(
        confirmed(tmp_path, [0.4] * 6 + [0.1, 0.2, 0.1]), NOTHING, Path("x")
    )
    assert "Best      the defaults (trial 0)" in said
    assert "0.266667 worse than the defaults" in said


def test_the_table_has_every_settings_figures_and_every_value(tmp_path: Path) -> None:
    confirmation = confirmed(tmp_path, [0.31, None, 0.32, 0.4, 0.5, 0.6, 0.51, 0.5, 0.52])
    save_confirmation(confirmation, tmp_path)
    with (tmp_path / "confirm.csv").open(newline="") as file:
        first, second, last = csv.DictReader(file)
    assert [row["trial"] for row in (first, second, last)] == ["1", "3", "0"]
    assert (first["n"], first["seed 11"], first["seed 12"]) == ("2", "0.31", "")
    assert first["failed"] == "12: it broke"
    assert float(first["mean"]) == pytest.approx(0.315)
    assert float(first["optimism"]) == pytest.approx(0.015)
    assert float(first["better_than_defaults"]) == pytest.approx(0.2)
    assert (second["search_state"], second["search_value"]) == ("completed", "0.4")
    assert float(second["low_95"]) < 0 < float(second["high_95"])
    assert (last["optim.lr"], last["better_than_defaults"]) == ("0.001", "")


def test_provenance_names_the_searchs_trial_and_all_confirmed_values(tmp_path: Path) -> None:
    told = json.loads(json.dumps(provenance_of(confirmed(tmp_path, [0.3, 0.2, None, *[0.9] * 6]))))
    assert (told["trial"], told["settings"]) == (1, {"optim.lr": 0.002})
    assert told["confirmed"]["values_by_seed"] == {"11": 0.3, "12": 0.2}
    assert told["confirmed"]["failed_by_seed"] == {"13": "it broke"}
    assert told["confirmed"]["mean"] == 0.25
    assert told["confirmed"]["search_value"] == 0.3


# -- the space file and the plan


def test_a_space_says_what_is_confirmed_or_nothing_is() -> None:
    assert read().confirm is None
    assert read(rest="confirm: {}").confirm == Confirm(top=3, seeds=3)
    assert read(rest="confirm: {top: 5, seeds: 2}").confirm == Confirm(top=5, seeds=2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{seeds: 1}", "confirm.seeds must be greater than or equal to 2, but got 1"),
        ("{seeds: 32}", "confirm.seeds must be less than or equal to 31, but got 32"),
        ("{top: 0}", "confirm.top must be greater than or equal to 1, but got 0"),
        ("{best: 3}", "confirm: must have top or seeds only, but got 'best'"),
        ("3", "confirm: must be a mapping with top or seeds, but got 3"),
    ],
)
def test_a_slip_in_confirm_is_answered_by_its_own_line(given: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        read(rest=f"confirm: {given}")
    assert said in one_line(error)


def test_confirm_is_refused_where_the_seed_is_searched() -> None:
    axes = LR[:-1] + ", train.seed: [1, 2]}"
    assert read(axes).confirm is None
    with pytest.raises(
        SettingsError, match=r"confirm: must not come with a space that varies train\.seed"
    ):
        read(axes, "confirm: {}")


def test_the_plan_counts_the_confirmation_and_its_checkpoints() -> None:
    said = {"data.root": "embedded", "train.epochs": 8}
    without = read(trials="40")
    space = read(rest="confirm: {top: 3, seeds: 3}", trials="40")
    base = resolved(space, said)
    assert "Confirm   top 3 and the defaults, 3 seeds each: at most 96 epochs\n" in (
        describe_plan(space, base, 0)
    )
    assert "Confirm" not in describe_plan(without, base, 0)
    spaces = (without, without.model_copy(update={"keep": 2}), space)
    least, one_more, confirming = (disk_bound(each, base, 2) or 0 for each in spaces)
    assert confirming - least == 4 * (one_more - least) > 0
    few = read(rest="confirm: {top: 3, seeds: 3}", trials="2")
    assert "top 2 and the defaults, 3 seeds each: at most 48 epochs" in describe_plan(few, base, 0)
