"""How long a search takes: the arithmetic exactly, the measuring by loose facts."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_trainings import FEW
from space_files import resolved

from kptrain.annotations.reader import Split
from kptrain.config import TrainConfig
from kptrain.resolve import change, resolve
from search.algorithms.asha import Asha
from search.estimate import RAY, REPORT, estimate, makespan
from search.options import build_parser, keywords
from search.request import Request
from search.run import main
from search.session import plan_search
from search.space.pace import MeasuringError, Pace, Seconds
from search.space.reader import read_space
from search.space.space import Space
from search.trainings.keypoint_pace import measure_pace, span_of, varied
from search.trainings.keypoint_sample import Data, Packs, read_data
from search.trainings.keypoints import KEYPOINTS
from search.trials.run_folder import Search

LR = "optim.lr: {low: 1e-4, high: 1e-2, log: true}"
PACE = Pace(Seconds(7.8, 9.8, 14.8), process=2.0, start=1.0, prepare=30.0, pack_bytes=0)
"""With what the search does itself, an epoch takes 8, 10 or 15 seconds."""


def space_of(folder: Path, text: str, axes: str = LR) -> tuple[Space, TrainConfig]:
    path = folder / "space.yaml"
    path.write_text(f"base: {{data.root: embedded}}\nspace: {{{axes}}}\n{text}\n")
    space = read_space(path, KEYPOINTS)
    return space, resolved(space, {})


@pytest.mark.parametrize(
    ("rungs", "trials", "workers", "seconds"),
    [
        ((), 1, 1, 81.0),  # eight epochs of ten seconds, and a start
        ((), 4, 2, 162.0),
        ((), 3, 2, 162.0),  # one trains alone
        ((), 4, 100, 81.0),
        ((4,), 3, 1, 3 * 41.0 + 41.0),  # one of three goes on
        ((4,), 16, 1, 16 * 41.0 + 5 * 41.0),
        ((2, 6), 9, 1, 9 * 21.0 + 3 * 41.0 + 21.0),
        ((4,), 2, 2, 41.0 + 41.0),  # too few for one in three: one goes on at the last call
    ],
)
def test_trials_take_their_epochs_to_where_asha_stops_them_and_a_start_each_time(
    rungs: tuple[int, ...], trials: int, workers: int, seconds: float
) -> None:
    assert makespan(Asha(rungs, 3), 8, (trials, None), workers, 10.0, 1.0) == pytest.approx(seconds)


def test_an_early_rung_stops_no_simulated_trial_but_costs_a_start() -> None:
    taken = makespan(Asha((4,), 3, early=1), 8, (3, None), 1, 10.0, 1.0)
    assert taken == pytest.approx(3 * (41.0 + 1.0) + 41.0)


def test_a_budget_of_epochs_ends_a_search_of_any_number_of_trials() -> None:
    assert makespan(Asha((), 3), 8, (None, 20), 1, 10.0, 0.0) == pytest.approx(200.0)
    assert makespan(Asha((4,), 3), 8, (None, 20), 2, 10.0, 0.0) == pytest.approx(120.0)
    assert makespan(Asha((4,), 3), 8, (100, 20), 1, 10.0, 0.0) == pytest.approx(200.0)
    assert math.isinf(makespan(Asha((4,), 3), 8, (None, None), 2, 10.0, 0.0))


def test_an_estimate_is_from_all_that_asha_can_stop_to_nothing_that_it_stops(
    tmp_path: Path,
) -> None:
    space, base = space_of(tmp_path, "trials: 16\nasha: {grace_epochs: 4}")
    found = estimate(space, base, PACE, at_once=1, gpu=0.0)
    # After epoch 1 five go on, of which one passes the rung at 4, as soon as three were there.
    assert found.trials.least == pytest.approx(16 * 9.0 + 5 * 25.0 + 33.0)
    assert found.trials.likely == pytest.approx(16 * 42.0 + 5 * 41.0)
    assert found.trials.most == pytest.approx(16 * 121.0)
    assert found.confirm == Seconds(0.0, 0.0, 0.0)
    assert found.around == (RAY + REPORT) * 2.0
    assert found.whole.likely == pytest.approx(30.0 + found.around + found.trials.likely)


def test_a_confirmation_is_its_trainings_in_full(tmp_path: Path) -> None:
    space, base = space_of(tmp_path, "trials: 16\nconfirm: {top: 3, seeds: 2}")
    found = estimate(space, base, PACE, at_once=4, gpu=0.0)
    confirm = (found.confirm.least, found.confirm.likely, found.confirm.most)
    assert confirm == pytest.approx((2 * 65.0, 2 * 81.0, 2 * 121.0))  # eight, four at once
    assert found.whole.most == pytest.approx(30 + found.around + found.trials.most + 242)


@pytest.mark.parametrize(
    ("budget", "gpu", "seconds"),
    [
        ("hours: 1", 0.0, 3610.0),  # an epoch that has begun is trained
        ("hours: 1\ntrials: 4", 0.0, 2 * 42.0 + 41.0),
        ("gpu_hours: 1", 0.25, 7210.0),  # two hold a half of one
        ("gpu_hours: 1\nhours: 1", 0.25, 3610.0),
    ],
)
def test_hours_bound_a_search(tmp_path: Path, budget: str, gpu: float, seconds: float) -> None:
    space, base = space_of(tmp_path, f"{budget}\nasha: {{grace_epochs: 4}}")
    assert estimate(space, base, PACE, 2, gpu).trials.likely == pytest.approx(seconds)


def test_trials_of_several_lengths_are_from_all_short_to_all_long(tmp_path: Path) -> None:
    epochs = "train.epochs: {low: 2, high: 20}"
    space, base = space_of(tmp_path, "trials: 2\nasha: {grace_epochs: 1}", axes=epochs)
    trials = estimate(space, base, PACE, at_once=2, gpu=0.0).trials
    assert trials.most == pytest.approx(20 * 15.0 + 1.0)
    assert trials.least == pytest.approx(8.0 + 1.0 + 8.0 + 1.0)


def test_a_plan_says_months_where_it_takes_months(tmp_path: Path) -> None:
    space, base = space_of(tmp_path, "trials: 16\nconfirm: {top: 3, seeds: 2}")
    hour = 3600.0
    slow = Pace(Seconds(20 * hour, 25 * hour, 40 * hour), 2.0, 1.0, 1200.0, 11_600_000_000)
    told = estimate(space, base, slow, at_once=2, gpu=0.0).describe("/there")
    assert told.startswith("Packs     12 GB to be written to /there\nTakes     about 2.6 months (")
    assert " on this device: 20 min to prepare the data, 18 s for Ray and the report, " in told
    assert told.endswith("; an epoch of a trial 25 hours")


def test_the_ends_of_an_axis_widen_what_an_epoch_takes() -> None:
    assert span_of([9.0, 10.0, 12.0], {}) == Seconds(9.0, 10.0, 12.0)
    assert span_of([10.0], {"train.batch_size": [5.0, 30.0]}) == Seconds(5.0, 15.0, 30.0)
    assert span_of([10.0], {"a": [20.0], "b": [5.0]}) == Seconds(5.0, 11.25, 20.0)


def test_the_axes_that_decide_about_speed_are_measured_at_both_ends(tmp_path: Path) -> None:
    axes = f"{LR}, train.batch_size: [16, 8, 64], model.trunk: [resnet50, resnet18, resnet34]"
    space, base = space_of(tmp_path, "trials: 16", axes)
    found = varied(space.axes, base, "test")
    assert [config.train.batch_size for config in found["train.batch_size"]] == [64]  # 8 is usual
    assert [config.model.trunk for config in found["model.trunk"]] == ["resnet18", "resnet50"]
    assert set(found) == {"train.batch_size", "model.trunk"}


def request_of(folder: Path, *options: str, space: str = "trials: 16") -> Request:
    """What the command asks for."""
    made, _ = space_of(folder, space)
    parsed = build_parser().parse_args([str(made.path), "--out", str(folder / "out"), *options])
    return Request(**keywords(parsed), only_plan=parsed.plan)


def begun(folder: Path, *options: str) -> Search:
    """A search as the command begins it."""
    request = request_of(folder, *options)
    return plan_search(request)()


def test_a_search_begins_with_the_estimate_of_its_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[bool] = []

    def pace(*_: object, thorough: bool) -> Pace:
        asked.append(thorough)
        return PACE

    monkeypatch.setattr(KEYPOINTS, "pace", pace)
    plan_search(request_of(tmp_path, "--plan"))
    printed = capsys.readouterr().out.splitlines()[-1]
    search = begun(tmp_path)
    assert search.estimate is not None
    assert printed == search.estimate.describe("") == capsys.readouterr().out.splitlines()[-1]
    assert asked == [True, False]  # the plan takes more time for it


def test_a_range_whose_ends_print_alike_is_left_out() -> None:
    assert str(Seconds(3779.0, 3780.0, 3781.0)) == "63 min"
    assert str(Seconds(0.2, 0.4, 90.0)) == "under 1 s (under 1 s to 1.5 min)"


def test_a_quiet_search_measures_no_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KEYPOINTS, "pace", None)
    search = begun(tmp_path, "--quiet")
    assert search.estimate is None


def test_a_plan_that_measures_nothing_says_so_and_one_that_is_quiet_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan(*options: str) -> str:
        assert main([*options, "--plan"]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    monkeypatch.setattr(KEYPOINTS, "pace", lambda *_, **__: PACE)
    monkeypatch.setattr("search.backend.ray_address.check_address", lambda _: None)
    begun(tmp_path)
    space, out = str(tmp_path / "space.yaml"), str(tmp_path / "out")
    not_measured = "Takes     not measured: "
    assert plan(space, "--address", "a:6379").startswith(f"{not_measured}trials run on a cluster")
    assert plan("--resume", out).startswith(f"{not_measured}the search has begun")
    assert plan(space, "--quiet") == plan(space)
    assert plan(space).startswith("Takes     about ")


def test_a_search_begins_also_where_nothing_can_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> Pace:
        raise MeasuringError("it broke")

    monkeypatch.setattr(KEYPOINTS, "pace", fail)
    search = begun(tmp_path)
    assert search.estimate is None
    assert "Takes     not measured: it broke\n" in capsys.readouterr().out


def test_of_a_training_of_ones_own_the_plan_says_from_when_on_its_hours_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(__file__).parents[2]
    given = [str(root / "examples/ridge.yaml"), "--trainable", "examples.ridge:RIDGE", "--plan"]
    assert main([*given, "--out", str(tmp_path / "out")]) == 0
    assert "\nTakes     not measured: " in capsys.readouterr().out


def small_space(folder: Path) -> Space:
    return space_of(
        folder, "trials: 4\nasha: {grace_epochs: 1}", f"{LR}, train.batch_size: [3, 6]"
    )[0]


@pytest.mark.slow  # two processes import torch
def test_real_steps_and_a_validation_are_measured_beside_each_other(
    small_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPTRAIN_CACHE", str(tmp_path / "cache"))
    base = resolve(FEW | {"data.root": str(small_coco)}, "test")
    pace = measure_pace(small_space(tmp_path).axes, base, "test", processes=2, thorough=True)
    assert 0 < pace.epoch.least <= pace.epoch.likely <= pace.epoch.most < 60
    assert 0 < pace.start < 60
    assert 0.1 < pace.process < 120
    assert pace.pack_bytes == (6 + 4) * 64 * 64 * 3  # as the limits have it
    assert 0 < pace.prepare < 10
    assert not (tmp_path / "cache").exists()  # nothing of the search's own is begun


def test_a_synthetic_set_that_does_not_exist_yet_is_measured_by_a_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPTRAIN_CACHE", str(tmp_path / "cache"))
    base = resolve({"data.root": "embedded"}, "test")
    data = read_data(base, tmp_path / "elsewhere")
    assert data.drawing > 0
    assert not (tmp_path / "cache").exists()
    assert data.num_samples(base.data, "train") == pytest.approx(613, rel=0.1)
    limited = change(base, {"data.limit_train": 100}, "test")
    assert data.num_samples(limited.data, "train") == 100
    (name, train, num_bytes), _ = data.to_pack(limited.data)
    assert (name, train, num_bytes) == ("train", 100, 100 * 96 * 96 * 3)


@pytest.mark.parametrize(("num_images", "seconds"), [(4000, 0.001), (2, 0.021)])
def test_the_time_to_pack_an_image_is_measured_on_enough_images_to_outweigh_the_clocks_noise(
    small_coco: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_images: int,
    seconds: float,
) -> None:
    """Each pack takes 40 ms and 1 ms an image, and now 10 ms more, now less; of two images nothing
    can be told but the whole."""
    clock, noise = [0.0], itertools.cycle([0.01, -0.01])

    def pack(split: Split, *_: object, **__: object) -> None:
        clock[0] += 0.04 + 0.001 * len(split.images) + next(noise)

    monkeypatch.setattr("search.trainings.keypoint_sample.build_pack", pack)
    fake = SimpleNamespace(perf_counter=lambda: clock[0])
    monkeypatch.setattr("search.trainings.keypoint_sample.time", fake)
    base = resolve(FEW | {"data.root": str(small_coco)}, "test")
    data = read_data(base, tmp_path)
    train = data.splits["train"]
    images = (train.images * num_images)[:num_images]
    packs = Packs(Data({"train": replace(train, images=images)}, {}, 0.0), tmp_path)
    assert packs.image_seconds(base.data) == pytest.approx(seconds, rel=0.1)


@pytest.mark.slow  # a process imports torch
def test_a_failed_measurement_is_reported_with_its_cause(small_coco: Path, tmp_path: Path) -> None:
    base = resolve(FEW | {"data.root": str(small_coco), "train.device": "cuda:99"}, "test")
    with pytest.raises(MeasuringError, match=r"train\.device: must be a device of this machine"):
        measure_pace(small_space(tmp_path).axes, base, "test", processes=1, thorough=False)
