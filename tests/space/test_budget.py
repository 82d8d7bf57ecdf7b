"""What a budget allows, by a clock that the test sets."""

import random

from hypothesis import given
from hypothesis import strategies as st

from search.journal.reasons import Spent
from search.space.budget import Budget, Clock, Part, Spending, describe_budget


def train(spending: Spending, number: int) -> Part | None:
    """A trial trains an epoch; the part of the budget that ends it, if one does."""
    part, promised = spending.decide_epoch(number)
    spending.spend_epoch(number, promised)
    return part


def test_as_many_trials_begin_as_the_budget_has() -> None:
    spending = Spending(Budget(trials=2), 3, Clock())
    for number in range(2):
        assert spending.may_begin()
        spending.begin(number, spending.grace_epochs)
    assert not spending.may_begin()
    assert train(spending, 0) is None


def test_a_trial_whose_process_is_gone_keeps_its_epochs_and_is_no_trial_more() -> None:
    spending = Spending(Budget(trials=2, epochs=6), 3, Clock())
    spending.begin(0, spending.grace_epochs)
    assert train(spending, 0) is None
    spending.release(0)
    assert spending.promised == {0: 2}
    assert spending.may_begin()
    spending.begin(1, spending.grace_epochs)
    assert not spending.may_resume()  # what is left belongs to the two
    assert not spending.may_begin()
    assert [train(spending, 0) for _ in range(2)] == [None, "epochs"]


def test_a_share_of_a_gpu_is_held_until_the_process_is_gone() -> None:
    clock = Clock()
    spending = Spending(Budget(gpu_hours=1), 1, clock)
    spending.begin(0, spending.grace_epochs)
    spending.start(0, 0.5)
    clock.now += 1200
    spending.release(0)
    clock.now += 1200
    spending.start(0, 1.0)
    clock.now += 600
    assert spending.left() == ["0:40:00 of 1 GPU hour left"]
    spending.end(0)
    assert spending.left() == ["0:40:00 of 1 GPU hour left"]


def test_a_clock_stands_still_until_it_ticks_and_continues_from_where_it_is_set() -> None:
    clock = Clock()
    clock.set(7200.0)
    assert clock.now == 7200
    clock.tick()
    assert 7200 <= clock.now < 7201


def test_hours_run_from_the_start_of_the_first_trial_and_stop_all_that_run() -> None:
    clock = Clock()
    spending = Spending(Budget(hours=2), 1, clock)
    spending.begin(0, spending.grace_epochs)
    clock.now += 10_000  # Ray looks for room
    spending.start(0, gpu=0.0)
    clock.now += 7199
    assert spending.left() == ["0:00:01 of 2 hours left"]
    assert train(spending, 0) is None
    assert spending.may_begin()
    clock.now += 1
    assert train(spending, 0) == "hours"
    assert not spending.may_begin()
    assert not spending.may_resume()
    clock.now += 60
    assert spending.left() == ["0:00:00 of 2 hours left"]


def test_gpu_hours_are_shares_times_the_time_that_they_are_held() -> None:
    clock = Clock()
    spending = Spending(Budget(gpu_hours=1), 1, clock)
    for number, share in ((0, 0.25), (1, 0.5)):
        spending.begin(number, spending.grace_epochs)
        spending.start(number, share)
    clock.now += 2400  # 600 and 1200 seconds of a whole GPU
    assert spending.left() == ["0:30:00 of 1 GPU hour left"]
    spending.end(1)
    clock.now += 2400  # 600 more
    spending.end(0)
    assert spending.left() == ["0:20:00 of 1 GPU hour left"]
    clock.now += 10_000  # nothing is held
    assert spending.may_begin()
    spending.begin(2, spending.grace_epochs)
    spending.start(2, 1.0)
    clock.now += 1199
    assert train(spending, 2) is None
    clock.now += 1
    assert train(spending, 2) == "gpu_hours"


def test_a_trial_begins_only_if_the_epochs_that_every_trial_gets_are_left() -> None:
    spending = Spending(Budget(epochs=7), 3, Clock())
    for number in range(2):
        assert spending.may_begin()
        spending.begin(number, spending.grace_epochs)
    assert not spending.may_begin()


def test_epochs_that_a_stopped_trial_did_not_use_go_to_the_next() -> None:
    spending = Spending(Budget(epochs=6), 3, Clock())
    for number in range(2):
        spending.begin(number, spending.grace_epochs)
    assert train(spending, 0) is None
    assert not spending.may_begin()
    spending.end(0)  # failed after one of its three
    assert spending.left() == ["5 of 6 epochs left"]
    assert not spending.may_begin()
    spending.end(1)
    assert spending.may_begin()


def test_the_last_epoch_of_a_budget_stops_each_trial_with_the_reason() -> None:
    spending = Spending(Budget(epochs=3), 1, Clock())
    for number in range(2):
        spending.begin(number, spending.grace_epochs)
    assert train(spending, 0) is None  # the third epoch
    assert train(spending, 1) == "epochs"
    assert train(spending, 0) == "epochs"
    assert spending.left() == ["0 of 3 epochs left"]


@given(
    epochs=st.integers(1, 40),
    grace=st.integers(1, 5),
    at_once=st.integers(1, 6),
    lengths=st.lists(st.integers(1, 9), min_size=60, max_size=60),
    order=st.randoms(use_true_random=False),
)
def test_however_many_run_at_once_no_more_epochs_are_trained_and_every_trial_gets_its_first(
    epochs: int, grace: int, at_once: int, lengths: list[int], order: random.Random
) -> None:
    """Trials end after their length in epochs; those under way report in any order."""
    spending = Spending(Budget(epochs=epochs), grace, Clock())
    trained: dict[int, int] = {}
    running: list[int] = []
    while True:
        while len(running) < at_once and spending.may_begin():
            running.append(len(trained))
            trained[len(trained)] = 0
            spending.begin(running[-1], spending.grace_epochs)
        if not running:
            break
        number = order.choice(running)
        trained[number] += 1
        spent = train(spending, number)
        if trained[number] == lengths[number] or spent:
            assert trained[number] >= min(grace, lengths[number])
            running.remove(number)
            spending.end(number)
    assert epochs - grace < sum(trained.values()) <= epochs


def test_a_budget_is_spelled_by_the_parts_that_are_given() -> None:
    assert describe_budget(Budget(trials=1, hours=0.5, gpu_hours=1, epochs=900)) == [
        "1 trial",
        "0.5 hours",
        "1 GPU hour",
        "900 epochs",
    ]
    assert describe_budget(Budget(hours=2)) == ["2 hours"]


def test_a_paused_trial_may_resume_while_an_epoch_is_left() -> None:
    spending = Spending(Budget(epochs=6), 2, Clock())
    for number in (0, 1):
        spending.begin(number, spending.grace_epochs)
        for _ in range(2):
            train(spending, number)
        spending.end(number)  # it is paused at a rung
    assert spending.may_resume()
    spending.resume_trial(0, 1)
    assert train(spending, 0) is None
    assert train(spending, 0) == "epochs"
    spending.end(0)
    assert not spending.may_resume()


def test_what_was_spent_is_printed_in_the_units_of_its_part() -> None:
    parts: list[tuple[Part, float]] = [("hours", 0.5), ("gpu_hours", 1), ("epochs", 9)]
    assert [str(Spent(part=part, value=value)) for part, value in parts] == [
        "the budget of 0.5 hours was spent",
        "the budget of 1 GPU hour was spent",
        "the budget of 9 epochs was spent",
    ]


def test_deciding_changes_nothing() -> None:
    spending = Spending(Budget(epochs=6), 2, Clock())
    spending.begin(0, 2)
    assert [spending.decide_epoch(0) for _ in range(3)] == [(None, 1)] * 3
    assert spending.epochs_left() == 6
