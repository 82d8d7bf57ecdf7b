"""Which trials are promoted beyond a rung, reported value by value."""

import math
import random

import pytest

from search.algorithms.asha import NUM_PAIRS, Asha, kendall_tau
from search.journal.events import Arrival


def arrive(asha: Asha, epoch: int, values: dict[int, float]) -> list[int]:
    """Report one value of each trial; returns those that are promoted at once."""
    return [number for number, value in values.items() if asha.report(number, epoch, value)]


def test_a_trial_runs_until_its_first_rung() -> None:
    asha = Asha([3, 9], 3)
    assert asha.report(0, 1, 5.0)
    assert asha.report(0, 2, 5.0)
    assert not asha.report(0, 3, 5.0)


def test_a_first_arrival_has_no_free_pass_and_is_promoted_as_soon_as_it_is_the_best_of_three() -> (
    None
):
    asha = Asha([1], 3)
    assert arrive(asha, 1, {0: 0.1, 1: 0.2}) == []
    assert asha.promote() is None
    assert not asha.report(2, 1, 0.3)
    assert asha.promote() == 0
    assert asha.promote() is None


def test_of_every_three_arrivals_one_is_promoted_however_good_the_later_ones_are() -> None:
    asha = Asha([1], 3)
    gone_on = 0
    for number in range(300):
        gone_on += asha.report(number, 1, -float(number))
        gone_on += asha.promote() is not None
    assert gone_on == 100


def test_the_best_is_promoted_at_once_where_there_is_room_and_another_stays_paused_for_it() -> None:
    asha = Asha([1], 2)
    assert arrive(asha, 1, {0: 0.5}) == []
    assert asha.report(1, 1, 0.4)
    assert asha.paused() == {0}
    assert arrive(asha, 1, {2: 0.6, 3: 0.7}) == []
    assert asha.promote() == 0


def test_only_the_best_few_wait_and_the_others_are_out() -> None:
    asha = Asha([1], 3)
    arrive(asha, 1, {number: float(number) for number in range(2)})
    arrive(asha, 1, {number: float(number) for number in range(2, 9)})
    assert asha.paused() == {0, 1, 2}


def test_the_highest_rung_is_served_first() -> None:
    asha = Asha([1, 2], 2)
    arrive(asha, 1, {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4})
    assert [asha.promote(), asha.promote()] == [0, 1]
    arrive(asha, 1, {4: 0.5, 5: 0.6})
    assert arrive(asha, 2, {0: 0.2}) == []
    assert asha.report(1, 2, 0.3) is False
    assert [asha.promote(), asha.promote(), asha.promote()] == [0, 4, None]


def test_beyond_the_last_rung_no_epoch_stops_a_trial() -> None:
    asha = Asha([1], 2)
    arrive(asha, 1, {0: 0.1, 1: 0.2})
    assert asha.promote() == 0
    assert asha.report(0, 2, 9.0)
    assert asha.report(0, 7, math.nan)


def test_of_equal_values_the_first_to_arrive_is_better() -> None:
    asha = Asha([1], 3)
    assert arrive(asha, 1, {7: 0.5, 3: 0.5, 5: 0.5}) == []
    assert asha.promote() == 7


def test_a_value_that_is_not_finite_is_worse_than_any_other() -> None:
    for odd in (math.nan, math.inf, -math.inf):
        asha = Asha([1], 2)
        assert not asha.report(0, 1, odd)
        assert asha.report(1, 1, 1e300)


def test_a_skipped_rung_is_decided_at_the_next_epoch() -> None:
    asha = Asha([2, 4], 2)
    assert asha.report(0, 1, 0.1)
    assert not asha.report(0, 3, 0.1)
    assert asha.report(1, 2, 0.05)
    assert not asha.report(1, 4, 0.05)


def test_the_last_call_promotes_one_at_each_rung_that_has_promoted_none() -> None:
    asha = Asha([1, 3], 3)
    arrive(asha, 1, {0: 0.3, 1: 0.2})
    assert asha.promote() is None
    assert asha.promote(last_call=True) == 1
    assert asha.promote(last_call=True) is None
    assert not asha.report(1, 3, 0.1)
    assert asha.promote(last_call=True) == 1
    assert asha.report(1, 4, 0.1)


def test_the_best_is_always_promoted_and_so_are_most_of_the_best_third_in_any_order() -> None:
    rng = random.Random(0)
    shares = []
    for _ in range(100):
        values = list(range(90))
        rng.shuffle(values)
        asha, went = Asha([1], 3), set()
        for value in values:
            if asha.report(value, 1, float(value)):
                went.add(value)
            while (number := asha.promote()) is not None:
                went.add(number)
        assert len(went) == 30
        assert 0 in went
        shares.append(sum(value < 30 for value in went) / 30)
    assert sum(shares) / len(shares) > 0.7


def test_a_paused_trial_is_stopped_when_better_ones_arrive() -> None:
    asha, out = Asha([1], 3), []
    for number in range(5):
        arrival = asha.decide(number, 1, float(-number))
        assert arrival is not None
        asha.record(number, float(-number), arrival)
        out += arrival.out
    assert sorted(asha.paused() | set(out)) == [0, 1, 3, 4]  # 2 went on
    assert len(out) == 1


def test_deciding_changes_nothing_and_is_none_between_rungs() -> None:
    asha = Asha([2, 4], 2)
    assert asha.decide(0, 1, 0.5) is None
    first = [asha.decide(0, 2, 0.5) for _ in range(3)]
    assert first == [Arrival(rung=2, is_compared=True, goes_on=False, out=[], trusts=None)] * 3
    assert asha.paused() == set()
    assert asha.next(last_call=True) is None


def test_recorded_decisions_are_applied_whatever_the_rules_are_and_rungs_are_added_for_them() -> (
    None
):
    told, other = Asha([1, 3], 3, early=None), Asha([2], 5)
    for number in range(3):
        arrival = told.decide(number, 1, float(number))
        assert arrival is not None
        for asha in (told, other):
            asha.record(number, float(number), arrival)
    for asha in (told, other):
        assert asha.next(last_call=True) == (0, 1)
        asha.take(0, 1)
        assert asha.paused(1) == {1, 2}
    assert told.epochs() == [1, 3]
    assert other.epochs() == [1, 2]
    assert other.decide(0, 2, 0.0) == Arrival(
        rung=2, is_compared=True, goes_on=False, out=[], trusts=None
    )


@pytest.mark.parametrize("agree", [True, False])
def test_an_early_rung_is_trusted_as_was_decided_where_these_rules_have_none(agree: bool) -> None:
    told, other = Asha([3], 3, early=1), Asha([3], 3)
    for epoch in (1, 3):
        for number in range(NUM_PAIRS):
            value = float(number if agree or epoch == 1 else -number)
            arrival = told.decide(number, epoch, value)
            for asha in (told, other):
                asha.record(number, value, arrival)
    assert other.epochs() == [1, 3]
    assert [asha.report(100, 1, 1e6) for asha in (told, other)] == [not agree] * 2


def test_a_trial_that_failed_after_it_went_on_leaves_its_place_to_another() -> None:
    asha = Asha([1], 3)
    arrive(asha, 1, {0: 0.1, 1: 0.2, 2: 0.3})
    assert asha.promote() == 0
    assert asha.promote(last_call=True) is None
    asha.forget(0)
    assert asha.promote() == 1


def early(agree: bool) -> Asha:
    """ASHA after as many trials as judge its early rung have reached the next one."""
    asha = Asha([3], 3, early=1)
    for number in range(NUM_PAIRS):
        assert asha.report(number, 1, float(number))  # nobody is stopped before it is judged
    for number in range(NUM_PAIRS):
        asha.report(number, 3, float(number if agree else -number))
    return asha


def test_an_early_rung_that_ranks_as_the_next_one_does_stops_trials_from_then_on() -> None:
    asha = early(agree=True)
    assert arrive(asha, 1, {100: 5.0, 101: 6.0}) == []
    assert arrive(asha, 1, {102: 4.0}) == [102]


def test_an_early_rung_that_ranks_otherwise_never_stops_a_trial() -> None:
    asha = early(agree=False)
    numbers = range(100, 130)
    assert arrive(asha, 1, dict.fromkeys(numbers, 1000000.0)) == list(numbers)


def test_an_early_rung_is_not_judged_by_fewer_trials() -> None:
    asha = Asha([3], 3, early=1)
    for number in range(NUM_PAIRS - 1):
        asha.report(number, 1, float(number))
        asha.report(number, 3, float(number))
    assert arrive(asha, 1, {100: 5.0, 101: 6.0, 102: 7.0}) == [100, 101, 102]


def test_kendalls_tau_counts_pairs_in_the_same_order_less_those_that_are_not() -> None:
    assert kendall_tau([(1, 10), (2, 20), (3, 30)]) == 1
    assert kendall_tau([(1, 30), (2, 20), (3, 10)]) == -1
    assert kendall_tau([(1, 10), (2, 30), (3, 20)]) == pytest.approx(1 / 3)
    assert kendall_tau([(1, 10), (1, 20), (3, 30)]) == pytest.approx(2 / 3)
