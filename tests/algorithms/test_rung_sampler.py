"""The order of trials, and where the next ones are put."""

from typing import Any

import numpy as np
import pytest

from search.algorithms.gaussian_process import GaussianProcess
from search.algorithms.rung_sampler import MOST_FITTED, NUM_RANDOM, best_first
from search.algorithms.searcher import Searcher
from search.algorithms.unit_cube import UnitCube
from search.space.axes import Choice, Range

AXES: dict[str, Choice | Range] = {
    "x": Range("float", 0.0, 1.0),
    "y": Range("float", 1e-4, 1.0, log=True),
    "kind": Choice(("good", "bad", "worse")),
}
COST = {"good": 0.0, "bad": 0.3, "worse": 0.6}


def loss(settings: dict[str, object]) -> float:
    x, y = float(settings["x"]), np.log10(float(settings["y"]))  # type: ignore[arg-type]
    return float((x - 0.7) ** 2 + ((y + 3) / 4) ** 2 + COST[str(settings["kind"])])


def best_found(sampler: str, seed: int, num: int = 60, sign: int = 1) -> float:
    """The best of so many trials, each reported in full; larger is better with sign -1."""
    searcher = Searcher(
        AXES,
        [],
        [1, 3, 9],
        maximise=sign < 0,
        seed=seed,
        sampler=sampler,  # type: ignore[arg-type]
    )
    found = []
    for number in range(num):
        value = loss(searcher.propose(number))
        for epoch in range(1, 10):
            searcher.report(number, epoch, sign * (value + 1 / epoch))
        searcher.finish(number, "completed", sign * value)
        found.append(value)
    return min(found)


def test_trials_are_ordered_by_the_lowest_rung_and_again_among_those_that_went_on() -> None:
    lowest = {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4, 4: 0.5}
    assert best_first([lowest]) == [0, 1, 2, 3, 4]
    # 0 and 2 hold the places 0 and 2; by the second rung they change them.
    assert best_first([lowest, {0: 0.9, 2: 0.8}]) == [2, 1, 0, 3, 4]
    assert best_first([lowest, {0: 0.9, 2: 0.8, 4: 0.1}, {2: 0.5, 4: 0.6}]) == [2, 1, 4, 3, 0]


def test_values_of_different_rungs_are_never_compared() -> None:
    # A loss that rises from rung to rung does not make those that went on worse.
    lowest = {0: 0.1, 1: 0.2, 2: 0.3}
    assert best_first([lowest, {0: 100.0}]) == [0, 1, 2]


def test_of_equal_values_the_earlier_trial_goes_first() -> None:
    assert best_first([{5: 0.5, 2: 0.5, 9: 0.4}]) == [9, 2, 5]


def test_it_finds_what_random_settings_do_not() -> None:
    ours = [best_found("gp", seed) for seed in range(5)]
    drawn = [best_found("random", seed) for seed in range(5)]
    assert np.mean(ours) < 0.3 * np.mean(drawn)


def test_a_metric_to_maximise_is_maximised() -> None:
    assert best_found("gp", 0, sign=-1) == best_found("gp", 0)


def test_a_rung_that_misleads_is_overruled_by_the_next_one() -> None:
    searcher = Searcher({"x": Range("float", 0.0, 1.0)}, [], [1, 3], seed=0)
    proposed = []
    for number in range(60):
        x = searcher.propose(number)["x"]
        proposed.append(x)
        searcher.report(number, 1, x)  # after an epoch, small ones look best
        searcher.report(number, 3, -x)
        searcher.finish(number, "completed", -x)
    assert np.mean(proposed[-20:]) > 0.8


def test_the_first_ones_are_random_whatever_is_reported() -> None:
    def first(sign: int) -> list[dict[str, object]]:
        searcher = Searcher(AXES, [], [1], seed=3)
        seen = []
        for number in range(NUM_RANDOM + 10):
            seen.append(searcher.propose(number))
            searcher.report(number, 1, sign * loss(seen[-1]))
        return seen

    one, other = first(1), first(-1)
    assert one[:NUM_RANDOM] == other[:NUM_RANDOM]
    assert one[NUM_RANDOM:] != other[NUM_RANDOM:]


@pytest.mark.parametrize("sampler", ["gp", "random"])
def test_what_is_proposed_depends_only_on_the_seed_and_on_the_order_of_results(
    sampler: str,
) -> None:
    def run() -> list[dict[str, object]]:
        searcher = Searcher(AXES, [], [1, 3], seed=7, sampler=sampler)  # type: ignore[arg-type]
        seen: list[dict[str, object]] = []
        for start in range(0, 40, 2):  # two at once, of which the second is done first
            seen += [searcher.propose(start), searcher.propose(start + 1)]
            for number in (start + 1, start):
                searcher.report(number, 1, loss(seen[number]))
        return seen

    assert run() == run()


def test_trials_that_run_at_the_same_time_are_given_different_settings() -> None:
    searcher = Searcher({"x": Range("float", 0.0, 1.0)}, [], [1], seed=0)
    for number in range(20):
        searcher.report(number, 1, abs(searcher.propose(number)["x"] - 0.3))
    at_once = [searcher.propose(20 + n)["x"] for n in range(8)]
    assert len(set(at_once)) == 8
    assert np.std(at_once) > 0.02


def test_settings_that_were_tried_are_not_proposed_again_while_there_are_others() -> None:
    searcher = Searcher({"n": Range("int", 1, 30)}, [], [1], seed=0)
    seen = []
    for number in range(24):
        seen.append(searcher.propose(number)["n"])
        searcher.report(number, 1, abs(seen[-1] - 15.0))
    at_once = [searcher.propose(24 + n)["n"] for n in range(3)]  # with nothing reported between
    later = seen[NUM_RANDOM:] + at_once
    assert len(set(later)) == len(later)
    assert not set(later) & set(seen[:NUM_RANDOM])


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("maximise", [False, True])
def test_a_value_that_is_not_finite_is_the_worst_and_a_later_one_counts(
    odd: float, maximise: bool
) -> None:
    searcher = Searcher(AXES, [], [1], maximise=maximise)
    searcher.propose(0)
    for epoch, value in ((1, odd), (2, 0.5), (3, odd)):
        searcher.report(0, epoch, value)
    worst = float("-inf") if maximise else float("inf")
    assert searcher.study.trials[0].intermediate_values == {1: worst, 2: 0.5, 3: 0.5}


@pytest.mark.parametrize("before", [0, 1])
def test_where_trainings_fail_no_more_are_tried_than_need_be(before: int) -> None:
    axes = {"x": Range("float", 0.0, 1.0), "y": Range("float", 0.0, 1.0)}
    searcher = Searcher(axes, [], [1, 3], seed=0)
    failed = []
    for number in range(60):
        settings = searcher.propose(number)
        failed.append(settings["x"] > 0.5)
        if failed[-1]:  # at once, or after an epoch with a good value
            for epoch in range(1, before + 1):
                searcher.report(number, epoch, -1.0)
            searcher.finish(number, "failed", None)
        else:
            searcher.report(number, 1, settings["y"])
            searcher.report(number, 3, settings["y"])
            searcher.finish(number, "completed", settings["y"])
    assert sum(failed[-30:]) < 8


def test_the_work_of_a_step_does_not_grow_beyond_a_hundred_trials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each trial is encoded once, and the process is fitted to the best and to some others."""
    axes = {f"a{n}": Range("float", 0.0, 1.0) for n in range(7)}
    searcher = Searcher(axes, [], [1, 3, 9, 27, 81], seed=0)
    rng = np.random.default_rng(0)
    for number in range(150):
        value = sum(searcher.propose(number).values()) if number < 20 else rng.random()
        if number >= 20:
            settings = {name: float(rng.random()) for name in axes}
            last = int(rng.choice([1, 1, 1, 3, 3, 9, 27, 81]))
            curve = [(epoch, value) for epoch in range(1, last + 1)]
            searcher.learn(settings, curve, "completed" if last == 81 else "stopped")
        else:
            searcher.report(number, 1, value)
    encoded, fitted = [0], []
    encode, fit = UnitCube.encode, GaussianProcess.fit

    def counting(cube: UnitCube, settings: Any) -> Any:
        encoded[0] += 1
        return encode(cube, settings)

    def noting(process: GaussianProcess, features: Any, *others: Any) -> Any:
        fitted.append(len(features))
        return fit(process, features, *others)

    searcher.propose(0)
    monkeypatch.setattr(UnitCube, "encode", counting)
    monkeypatch.setattr(GaussianProcess, "fit", noting)
    for number in range(150, 153):
        searcher.propose(number)
    assert fitted == [MOST_FITTED] * 3
    assert encoded[0] <= 3
