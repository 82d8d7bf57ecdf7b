"""What early stopping costs is judged rightly: on hand-made curves whose answer is known."""

import math
import random
import sys
from itertools import permutations
from pathlib import Path

import pytest

from bench import full_curves
from bench.early_stopping import (
    Curve,
    all_verdicts,
    best_tenth,
    cut,
    gains_of_halves,
    places_gained,
    read_table,
    replay,
    verdict,
)
from search.algorithms import asha

LATE = [
    Curve(step_epochs=2, losses=(0.9, 0.65, 0.9, 0.1)),  # best at its end
    Curve(step_epochs=1, losses=(0.5, 0.5, 0.2, 0.5)),
    Curve(step_epochs=1, losses=(0.6, 0.6, 0.6, 0.3)),
    Curve(step_epochs=1, losses=(0.7, 0.7, 0.7, 0.4)),
]
ORDERS = list(permutations(range(4)))


def test_the_best_are_so_by_their_best_epoch() -> None:
    assert best_tenth(LATE) == [0]
    many = [Curve(1, (9.0, 3.0 - n / 100, 5.0 + n)) for n in range(64)]
    assert best_tenth(many) == [63, 62, 61, 60, 59, 58]


def test_over_all_orders_shares_are_what_counting_by_hand_gives() -> None:
    found = verdict(LATE, 2, 2, 1, ORDERS)
    # Two of four go on: the better of the first two, and the best of what is left. So setting 1
    # always, setting 0 only where it begins next to setting 3.
    assert found.best_stopped == found.very_best_stopped == 5 / 6
    assert found.spent == pytest.approx(3 / 4)
    assert found.gain == pytest.approx((1 / 6) / (3 / 4))
    # Without setting 0 it is setting 1, with twice the loss.
    assert found.excess == pytest.approx(5 / 6)


def test_a_stop_counts_as_before_the_step_until_an_epoch_had_the_lower_rate() -> None:
    found = verdict(LATE, 2, 2, 1, ORDERS)
    assert found.before_step == 5 / 6
    assert math.isnan(found.after_step)
    assert found.stops_before_step == 1
    stepped = [Curve(1, LATE[0].losses), *LATE[1:]]
    found = verdict(stepped, 2, 2, 1, ORDERS)
    assert math.isnan(found.before_step)
    assert found.after_step == 5 / 6
    assert found.stops_before_step == 0


def test_the_peer_trains_the_first_settings_in_full_for_as_many_epochs() -> None:
    # Both orders take 12 of 16 epochs, so 3 settings: with setting 0, and without.
    assert verdict(LATE, 2, 2, 1, [(0, 1, 2, 3)]).peer_excess == 0
    assert verdict(LATE, 2, 2, 1, [(3, 2, 1, 0)]).peer_excess == pytest.approx(1)


def test_where_the_early_order_is_the_last_one_the_best_are_never_stopped() -> None:
    curves = [Curve(1, tuple(n + 1 / epoch for epoch in range(1, 9))) for n in range(4)]
    for at_once in (1, 4):
        found = verdict(curves, 1, 2, at_once, ORDERS)
        assert found.best_stopped == found.excess == 0
        assert found.spent == pytest.approx((4 * 1 + 2 * 1 + 2 + 4) / (4 * 8))


def test_a_gain_of_halves_is_of_half_the_settings() -> None:
    curves = [Curve(1, tuple(n + 1 / epoch for epoch in range(1, 9))) for n in range(8)]
    gains = gains_of_halves(curves, 1, 2)
    # Four of them take 12 epochs instead of 32, as above; all eight would take 20 of 64.
    assert gains == pytest.approx([32 / 12] * len(gains))
    assert len(gains) > 1


def test_trials_side_by_side_meet_at_a_rung_and_a_new_one_waits_for_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, int]] = []

    class Spy(asha.Asha):
        def report(self, number: int, epoch: int, value: float) -> bool:
            told.append((number, epoch))
            return super().report(number, epoch, value)

    monkeypatch.setattr(asha, "Asha", Spy)
    better = [Curve(1, (1.0 - n / 10,) * 8) for n in range(4)]  # each newcomer is the best so far
    one = replay(better, range(4), (1, 2, 4), 2, 1, random.Random(0))
    # Of two arrivals the second goes on, of two such the second again, and at last it alone.
    assert told == [(0, 1), (1, 1), (1, 2), (2, 1), (3, 1), (3, 2), (3, 4)]
    assert one.trained == {0: 1, 1: 2, 2: 1, 3: 8}
    assert one.completed == [3]
    assert one.spent == 12
    told.clear()
    replay(better, range(4), (1, 2, 4), 2, 4, random.Random(0))
    assert {epoch for _, epoch in told[:4]} == {1}
    told.clear()
    replay(better, range(4), (1, 2, 4), 2, 2, random.Random(0))
    assert sorted(told[:2]) == [(0, 1), (1, 1)]


def test_places_are_gained_from_an_epochs_ranking_to_the_last() -> None:
    assert places_gained(LATE, 2) == {False: [2], True: [-1, -1, 0]}
    assert places_gained(LATE, 1) == {False: [3, -1, -1, -1], True: []}


def test_the_first_epochs_of_a_curve_are_a_shorter_training() -> None:
    assert best_tenth(cut(LATE, 3)) == [1]
    assert [(v.grace, v.reduction) for v in all_verdicts(cut(LATE, 2), 1)] == [
        (1, 2),
        (1, 3),
        (1, 4),
    ]


def test_full_curves_continue_where_they_were_cut_and_refuse_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def train(_: object, row: dict[str, str]) -> list[float]:
        trained.append(row)
        return [0.123456789] * full_curves.EPOCHS

    table = tmp_path / "table.csv"
    for name, value in (("TABLE", table), ("NUM_SETTINGS", 3), ("trained", train)):
        monkeypatch.setattr(full_curves, name, value)
    monkeypatch.setattr(sys, "argv", ["full_curves"])
    full_curves.main()
    whole = table.read_text()
    assert len(trained) == 3
    assert read_table(table)[2] == Curve(
        int(trained[2]["schedule.step_epochs"]), (0.123457,) * full_curves.EPOCHS
    )
    table.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    full_curves.main()
    assert table.read_text() == whole
    assert trained[3:] == trained[2:3]
    table.write_text(whole.replace(",0.123457\n", "\n"))
    with pytest.raises(ValueError, match="remove it"):
        full_curves.main()


def test_the_table_in_the_repository_is_whole() -> None:
    curves = read_table(full_curves.TABLE)
    assert len(curves) == full_curves.NUM_SETTINGS
    for curve in curves:
        assert len(curve.losses) == full_curves.EPOCHS
        assert all(0 < loss < 1 for loss in curve.losses)
