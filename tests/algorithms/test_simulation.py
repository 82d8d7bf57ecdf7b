"""Searches over known curves: what is spent, what is seen, and that the real objects take part."""

from typing import Any

import numpy as np
import pytest

from bench import contenders, search_report
from bench.contenders import CONTENDERS, Ours
from bench.simulation import CURVES, Settings, Spec, Task, draw, load_task, simulate, task_names
from search.algorithms.asha import Asha

pytestmark = pytest.mark.slow  # seconds together

SPACE: Spec = {
    "lr": (1e-4, 1.0, True, False),
    "width": (1, 64, True, True),
    "depth": (1, 5, False, True),
}


def curve(settings: Settings) -> np.ndarray:
    """Best at lr 0.01 and depth 3; settings that end well begin slowly."""
    final = (np.log10(settings["lr"]) + 2) ** 2 + 0.2 * (settings["depth"] - 3) ** 2
    return np.asarray(final + (3 - final / 4) / np.arange(1, 28))


TASK = Task("made/up", SPACE, curve, 27)


class Plain:
    """Trains the settings one after the other, in full; notes what is reported to it."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, float]] = []
        self.begun = 0

    def next_job(self) -> tuple[int, Settings]:
        self.begun += 1
        return self.begun - 1, {"lr": 10.0 ** -(self.begun % 4), "width": 8, "depth": 3}

    def report(self, number: int, epoch: int, value: float) -> bool:
        self.told.append((number, epoch, value))
        return True


@pytest.mark.parametrize("workers", [1, 4])
def test_every_epoch_is_reported_once_in_order_and_the_budget_is_of_all_workers(
    workers: int,
) -> None:
    plain = Plain()
    seen = simulate(plain, TASK, workers, budget=100, seed=0)
    assert len(seen) == len(plain.told) == 100
    by_trial: dict[int, list[int]] = {}
    for number, epoch, value in plain.told:
        by_trial.setdefault(number, []).append(epoch)
        assert value == pytest.approx(
            curve({"lr": 10.0 ** -((number + 1) % 4), "width": 8, "depth": 3})[epoch - 1]
        )
    assert all(epochs == list(range(1, len(epochs) + 1)) for epochs in by_trial.values())
    assert plain.begun in (100 // 27 + 1, 100 // 27 + workers)
    assert seen.tolist() == np.minimum.accumulate([value for *_, value in plain.told]).tolist()


def test_a_paused_trial_resumes_at_its_next_epoch() -> None:
    class Waits(Plain):
        def next_job(self) -> tuple[int, Settings]:
            return (0, {"lr": 0.1, "width": 8, "depth": 3}) if self.begun else super().next_job()

        def report(self, number: int, epoch: int, value: float) -> bool:
            super().report(number, epoch, value)
            return False

    waits = Waits()
    simulate(waits, TASK, workers=1, budget=27, seed=0)
    assert [epoch for _, epoch, _ in waits.told] == list(range(1, 28))


def test_draws_fill_the_space_with_whole_numbers_at_both_ends() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw(SPACE, rng) for _ in range(2000)]
    assert {s["depth"] for s in drawn} == {1, 2, 3, 4, 5}
    assert min(s["width"] for s in drawn) == 1
    assert max(s["width"] for s in drawn) == 64
    assert all(isinstance(s["width"], int) and 1e-4 <= s["lr"] <= 1.0 for s in drawn)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_searches(name: str) -> None:
    contender = CONTENDERS[name](SPACE, TASK.epochs, 0)
    seen = simulate(contender, TASK, workers=4, budget=15 * TASK.epochs, seed=0)
    assert seen[-1] < seen[0]
    assert seen[-1] < 1.5


def test_ours_beats_random_settings_at_the_same_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Asha] = []

    def noted(*arguments: Any) -> Asha:
        made.append(Asha(*arguments))
        return made[-1]

    monkeypatch.setattr(contenders, "Asha", noted)
    budget = 12 * TASK.epochs
    ours = [simulate(Ours(SPACE, 27, s), TASK, 4, budget, s)[-1] for s in range(4)]
    drawn = [simulate(CONTENDERS["random"](SPACE, 27, s), TASK, 4, budget, s)[-1] for s in range(4)]
    assert len(made) == 4  # the project's own scheduler took part
    best = 3 / 27
    assert np.mean(ours) - best < 0.5 * (np.mean(drawn) - best)


def test_a_difference_is_paired_by_task_and_its_interval_is_over_tasks() -> None:
    ours = {f"t{n}": np.array([9.0, 10.0 * n - 3]) for n in range(10)}
    theirs = {f"t{n}": np.array([9.0, 10.0 * n]) for n in reversed(range(10))}
    assert search_report.difference(ours, theirs) == (-3, -3, -3)
    one_worse = ours | {"t0": np.array([9.0, 27.0])}
    mean, low, high = search_report.difference(one_worse, theirs)
    assert mean == 0
    assert low < -1 < 1 < high


def test_the_share_to_reach_counts_from_the_first_training() -> None:
    others = {name: np.linspace(40, 1, 40) for name in "abc"}
    ours = {
        "a": np.r_[50.0, np.ones(39)],
        "b": np.r_[np.full(9, 50.0), np.ones(31)],
        "c": np.full(40, 50.0),
    }
    assert search_report.share_to_reach(ours, others) == 10 / 40


@pytest.mark.skipif(not CURVES.is_dir(), reason=f"no learning curves in {CURVES}")
def test_the_halves_of_lcbench_share_no_task_and_curves_have_their_length() -> None:
    develop, taskset = task_names(0)
    judge, _ = task_names(1)
    assert not set(develop) & set(judge)
    assert len(develop) == len(judge) == 17
    for name in (develop[0], taskset[0]):
        task = load_task(name)
        assert len(task.curve(draw(task.space, np.random.default_rng(0)))) == task.epochs
