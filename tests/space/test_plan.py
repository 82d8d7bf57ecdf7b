"""What a search can cost, said before it starts."""

import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trainings import FEW, changed, run
from space_files import resolved

from kptrain.config import BEST, RESUME, TrainConfig
from kptrain.errors import KptrainError, OutOfMemoryError, SettingsError
from kptrain.needs.memory import MemoryNeed, checkpoint_bytes, measure_memory
from kptrain.resolve import change, resolve, settings_of
from search.machine.gpus import CONTEXT, usable_bytes
from search.plan import check_gpu_hours, concurrent_trials, describe_plan, disk_bound, slots
from search.space.reader import read_space
from search.space.space import rungs_of
from search.trainings.keypoint_resources import (
    NAMES,
    fit_gpu,
    greediest,
    measured,
    share_of_each,
    trials_that_fit,
    with_each,
)
from search.trainings.keypoints import KEYPOINTS


@pytest.mark.parametrize(
    ("cpu", "gpu", "num_cpus", "num_gpus", "expected"),
    [
        (1, 0.0, 2, 0, 2),
        (2, 0.0, 5, 0, 2),
        (4, 0.0, 2, 0, 0),
        (1, 0.25, 16, 1, 4),
        (1, 0.25, 3, 1, 3),
        (1, 0.3, 16, 1, 3),
        (1, 0.6, 16, 2, 2),
        (1, 1.0, 16, 2, 2),
    ],
)
def test_as_many_trials_run_at_once_as_cores_and_shares_allow(
    cpu: int, gpu: float, num_cpus: int, num_gpus: int, expected: int
) -> None:
    assert concurrent_trials(cpu, gpu, num_cpus, num_gpus) == expected


def test_the_plan_names_trials_rungs_concurrency_and_the_most_epochs(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        "space: {optim.lr: {low: 1e-4, high: 1e-2, log: true}}\n"
        "trials: 12\nasha: {grace_epochs: 2, reduction: 3}\nresources: {cpu: 1, gpu: 0.5}\n"
    )
    space = read_space(path, KEYPOINTS)
    base = resolved(space, {"data.root": "embedded", "train.epochs": 20})
    plan = describe_plan(space, base, num_gpus=1)
    assert "optim.lr: from 0.0001 to 0.01" in plan
    assert "12, judged by val_loss" in plan
    assert "after epoch 2, 6, 18: one in 3 is" in plan
    assert "1 CPU and 0.5 GPU" in plan
    assert "240 epochs (12 trials of 20), and " in plan
    assert "no GPU found" in describe_plan(space, base, num_gpus=0)
    short = resolved(space, {"data.root": "embedded", "train.epochs": 2})
    assert "ASHA      stops none" in describe_plan(space, short, num_gpus=0)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("trials: 12\nepochs: 100", "At most   100 epochs (the budget), and "),
        ("trials: 4\nepochs: 100", "At most   80 epochs (4 trials of 20), and "),
        ("epochs: 100", "Trials    as many as the budget allows, judged by val_loss"),
        ("hours: 2", "At most   the epochs that fit into 2 hours, and "),
        ("hours: 2\nepochs: 1", "Budget    2 hours, 1 epoch ("),
    ],
)
def test_the_plan_names_the_budget_and_the_least_bound_on_epochs(
    tmp_path: Path, budget: str, words: str
) -> None:
    lr = "space: {optim.lr: {low: 1e-4, high: 1e-2, log: true}}"
    space = read_space(written(tmp_path, f"{lr}\nasha: {{grace_epochs: 1}}\n{budget}\n"), KEYPOINTS)
    base = resolved(space, {"data.root": "embedded", "train.epochs": 20})
    assert words in describe_plan(space, base, num_gpus=0)


def test_the_plan_for_a_cluster_says_nothing_of_this_machine(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, GREEDY_SPACE.replace("auto", "0.5")), KEYPOINTS)
    plan = describe_plan(space, resolved(space, {"data.root": "embedded"}), num_gpus=None)
    assert "At once   as many as fit on the cluster, each on 1 CPU, and 0.5 GPU" in plan
    assert "this machine" not in plan
    assert "GB of checkpoints" not in plan


def test_gpu_hours_are_refused_where_trials_hold_no_gpu(tmp_path: Path) -> None:
    space = read_space(
        written(tmp_path, GREEDY_SPACE.replace("trials: 5", "gpu_hours: 5")), KEYPOINTS
    )
    check_gpu_hours(space, gpu=0.25)
    with pytest.raises(SettingsError, match=r"gpu_hours \(5\) must be given only if trials use"):
        check_gpu_hours(space, gpu=0.0)


GREEDY_SPACE = """
space:
  train.batch_size: [8, 64, 16]
  data.image_size: [[96, 64], [64, 64]]
  model.trunk: [resnet18, resnet34, shufflenet_v2_x0_5]
  model.deconv_channels: [[64, 8, 8], [8, 8, 32], [48, 16, 8]]
  optim.lr: {low: 1e-4, high: 1e-2}
metric: val_ap
trials: 5
resources: {gpu: auto}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text)
    return path


def test_the_greediest_settings_are_the_largest_of_each_axis_and_of_the_base(
    tmp_path: Path,
) -> None:
    space = read_space(written(tmp_path, GREEDY_SPACE), KEYPOINTS)
    base = resolved(space, {"data.root": "embedded"})
    told = settings_of(greediest(space.axes, base, str(space.path)))
    assert told["train.batch_size"] == 64
    assert told["data.image_size"] == [96, 96]  # the base's, larger than both of the axis
    assert told["model.trunk"] == "resnet34"
    assert told["model.deconv_channels"] == [32, 32, 32]  # the last maps are the largest
    assert told["optim.lr"] == base.optim.lr


@pytest.mark.parametrize(
    ("peak_gb", "context_gb", "trials"),
    [(9.0, 0.5, 7), (8.5, 0.5, 8), (71.0, 0.5, 1), (20.0, 1.0, 3)],
)
def test_as_many_trials_share_a_gpu_as_fit_with_their_contexts_and_a_tenth_to_spare(
    peak_gb: float, context_gb: float, trials: int
) -> None:
    gb = 10**9
    need = MemoryNeed(int(peak_gb * gb), int(context_gb * gb), 80 * gb, 0.01)
    share = share_of_each(need, trials_that_fit(need, "x.yaml"))
    assert concurrent_trials(1, share, 64, 1) == trials
    assert share * trials <= 1


def test_a_trial_too_large_for_a_gpu_is_refused_with_the_figures() -> None:
    need = MemoryNeed(72 * 10**9, 10**9, 80 * 10**9, 0.5)
    with pytest.raises(SettingsError, match=r"90% of a GPU's 80\.0 GB, but .* takes 73\.0 GB"):
        trials_that_fit(need, "x.yaml")


def test_a_gpu_that_others_use_is_refused_with_what_they_hold() -> None:
    need = MemoryNeed(9 * 10**9, 20 * 10**9, 80 * 10**9, 0.5)
    with pytest.raises(SettingsError, match=r"of its 80\.0 GB 20\.0 GB are"):
        trials_that_fit(need, "x.yaml")


def test_no_more_trials_share_a_gpu_than_it_can_serve() -> None:
    need = MemoryNeed(10**6, 10**6, 80 * 10**9, 0.001)
    share = share_of_each(need, trials_that_fit(need, "x.yaml"))
    assert concurrent_trials(1, share, 500, 1) == 48


@pytest.mark.parametrize("held", [1, 2, 3, 7, 9, 48])
def test_no_more_trials_share_a_gpu_than_keep_it_busy(held: int) -> None:
    for permille in range(1, 1001):
        need = MemoryNeed(10**9, 10**9, 80 * 10**9, permille / 1000)
        share = share_of_each(need, held)
        trials = concurrent_trials(1, share, 500, 1)
        idle = 1000 - trials * permille  # of the GPU's time
        assert trials == held or (trials < held and idle <= 0.1 * permille + 1e-9)
        before = 1000 - (trials - 1) * permille  # that the last one finds
        assert trials == 1 or before > 0.1 * permille - 1e-9
        assert share * trials <= 1


@pytest.mark.parametrize(
    ("peak_gb", "busy", "told"),
    [
        (7.5, 0.31, "0.25 for each trial: one keeps the GPU busy for 31% of the time, so 4 share "
         "it; memory would admit 9 (batch_size=64 "),
        (7.5, 0.88, "0.5 for each trial: one keeps the GPU busy for 88% of the time, so 2 share"),
        (7.5, 0.95, "1 for each trial: one keeps the GPU busy for 95% of the time, so none shares"),
        (7.5, 1.0, "1 for each trial: one keeps the GPU busy for 100% of the time, so none shares "
         "it; memory would admit 9 ("),
        (30.0, 0.31, "0.5 for each trial: memory admits 2; one keeps the GPU busy for 31% of the "),
        (0.01, 0.01, "0.0208 for each trial: memory admits 48, the most that it serves; one keeps"),
    ],
)  # fmt: skip
def test_the_plan_says_why_so_many_trials_share_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peak_gb: float, busy: float, told: str
) -> None:
    need = MemoryNeed(int(peak_gb * 10**9), 5 * 10**8, 80 * 10**9, busy)
    monkeypatch.setattr("search.trainings.keypoint_resources.measured", lambda *_: need)
    space = read_space(written(tmp_path, GREEDY_SPACE), KEYPOINTS)
    base = resolved(space, {"data.root": "embedded"})
    share, line = fit_gpu(space.axes, base, str(space.path))
    assert line.startswith(f"GPU       {told}")
    assert line.startswith(f"GPU       {share:g} ")
    assert line.endswith(
        f"alone took {peak_gb:.2f} GB and 0.50 GB of context; of 80.0 GB, 10% stay free)"
    )


@pytest.mark.parametrize(
    ("peak_gb", "busy", "usual", "trials", "asked"),
    [
        (7.5, 0.9, 0.3, 4, [64, 8]),
        (7.5, 0.3, 0.9, 4, [64, 8]),
        (30.0, 0.9, 0.3, 2, [64]),  # whatever the usual one does, memory admits no more
    ],
)
def test_the_load_is_measured_with_a_usual_trial_and_the_memory_with_the_greediest(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    peak_gb: float,
    busy: float,
    usual: float,
    trials: int,
    asked: list[int],
) -> None:
    sizes: list[int] = []

    def measured(config: TrainConfig, _: str) -> MemoryNeed:
        size = config.train.batch_size
        sizes.append(size)
        peak, share = (peak_gb, busy) if size == 64 else (0.5, usual)
        return MemoryNeed(int(peak * 10**9), 5 * 10**8, 80 * 10**9, share)

    monkeypatch.setattr("search.trainings.keypoint_resources.measured", measured)
    space = read_space(written(tmp_path, GREEDY_SPACE), KEYPOINTS)
    base = resolved(space, {"data.root": "embedded"})
    share, told = fit_gpu(space.axes, base, str(space.path))
    assert concurrent_trials(1, share, 64, 1) == trials
    assert f"alone took {peak_gb:.2f} GB" in told
    assert sizes == asked


@pytest.mark.parametrize("total_gb", [8, 16, 24, 40, 80, 141])
@pytest.mark.parametrize("context", [0, 2 * 10**8, CONTEXT, 7 * 10**8, 19 * 10**8])
def test_what_a_trial_may_take_of_a_planned_share_is_what_it_took_alone_or_more(
    total_gb: int, context: int
) -> None:
    total = total_gb * 10**9
    for peak in range(10**6, int(0.9 * total) - max(context, CONTEXT), 37 * 10**6):
        need = MemoryNeed(peak, context, total, 0.01)
        share = share_of_each(need, trials_that_fit(need, "x.yaml"))
        assert share == 1 or usable_bytes(share, total) >= peak


def test_trials_on_the_device_cpu_hold_no_gpu(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, GREEDY_SPACE), KEYPOINTS)
    base = resolved(space, {"data.root": "embedded", "train.device": "cpu"})
    told = describe_plan(space, base, num_gpus=1)
    assert "CPUs, 1 GPUs), each on 1 CPU (no GPU is used)" in told


@pytest.mark.parametrize(
    ("gpu", "share", "taken"),
    [(0.25, 0.5, 2), (0.25, 0.25, 1), (0.3, 0.6, 2), (0.2, 0.4, 2), (0.75, 1.0, 1), (0.4, 0.8, 2)],
)
def test_a_trial_of_a_larger_share_takes_the_room_of_so_many_others(
    gpu: float, share: float, taken: int
) -> None:
    assert slots(share, gpu) == taken


FAILING = """
import sys, kptrain.needs.memory
from kptrain.errors import OutOfMemoryError

def fails(config):
    {what}

kptrain.needs.memory.measure_memory = fails
kptrain.needs.memory.answer()
"""


@pytest.mark.slow  # each is a process that imports torch
@pytest.mark.parametrize(
    ("what", "error", "told"),
    [
        ("raise RuntimeError('CUDA error: x\\ny')", SettingsError,
         r"GPU, but cannot \(CUDA error: x y\); give a share, such as 0\.25$"),
        ("sys.exit(7)", SettingsError, r"cannot \(.* 7\); "),
        ("raise OutOfMemoryError('it is full')", OutOfMemoryError, r"^it is full$"),
    ],
)  # fmt: skip
def test_a_measurement_that_fails_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, what: str, error: type[KptrainError], told: str
) -> None:
    monkeypatch.setattr("search.trainings.keypoint_resources.CODE", FAILING.format(what=what))
    with pytest.raises(error, match=told):
        measured(TrainConfig(), "x.yaml")


SCRIPT = """
print("begun")
from kptrain.resolve import resolve
from search.trainings.keypoint_resources import measured
print(measured(resolve({said}, "test"), "x.yaml"))
"""


@pytest.mark.slow  # two processes import torch
def test_a_script_without_a_main_guard_is_not_run_again_to_measure(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(said=FEW | {"data.root": "embedded"}))
    path = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "script.py"]
    said = subprocess.check_output(command, cwd=tmp_path, env=path, text=True).splitlines()
    assert said[0] == "begun"
    assert re.fullmatch(r"MemoryNeed\(peak=\d{9,}, context=0, total=0, busy=1\.0\)", said[1])
    assert len(said) == 2


def test_gpu_auto_without_a_gpu_here_means_cpus_and_is_refused_where_a_cluster_has_gpus(
    tmp_path: Path,
) -> None:
    space = read_space(written(tmp_path, GREEDY_SPACE), KEYPOINTS)
    base = resolved(space, {"data.root": "embedded"})
    assert "no GPU found" in describe_plan(space, base, num_gpus=0)
    with pytest.raises(SettingsError, match=r"resources.gpu must be .* but got auto"):
        describe_plan(space, base, num_gpus=1)


@pytest.mark.slow  # two processes import torch
def test_the_memory_of_two_steps_grows_with_the_batch() -> None:
    base = resolve({"data.root": "embedded", "train.device": "cpu"}, "test")
    peaks = []
    for size in (1, 128):  # each in a process of its own, as a process has one peak
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            chosen = change(base, {"train.batch_size": size}, "test")
            peaks.append(process.submit(measure_memory, chosen).result().peak)
    assert peaks[1] > peaks[0] + 300e6


def test_the_bytes_of_checkpoints_are_those_of_real_files(uninterrupted: Path) -> None:
    config = resolve(FEW | {"data.root": "embedded"}, "test")
    for name, told in zip((BEST, RESUME), checkpoint_bytes(config), strict=True):
        size = (uninterrupted / name).stat().st_size
        assert told < size < told + NAMES
    whole = resolve({"data.root": "embedded", "data.image_size": [256, 256]} | ORIGINAL, "test")
    best, resume = checkpoint_bytes(whole)
    assert (round(best / 1e6, 1), round(resume / 1e6)) == (270.5, 811)
    half = change(whole, {"checkpoint.best_dtype": "bfloat16"}, "test")
    assert round(checkpoint_bytes(half)[0] / 1e6, 1) == 135.3


@pytest.mark.parametrize(
    "given",
    [
        {"train.ema_decay": 0.9},
        {"optim.name": "sgd"},
        {"optim.name": "sgd", "optim.momentum": 0.0, "model.freeze": 4},
        {"optim.name": "adamw", "model.freeze": 3, "train.ema_decay": 0.9},
    ],
)
def test_the_bytes_of_checkpoints_count_what_is_averaged_frozen_and_kept_by_the_optimizer(
    config: TrainConfig, tmp_path: Path, given: dict[str, Any]
) -> None:
    chosen = change(config, given, "test")
    run(changed(chosen, "train.epochs", 1), tmp_path)
    for name, told in zip((BEST, RESUME), checkpoint_bytes(chosen), strict=True):
        size = (tmp_path / name).stat().st_size
        assert told < size < told + NAMES


@pytest.mark.parametrize(
    ("axes", "greediest_values"),
    [
        ({"train.accumulate": "[1, 2, 4]"}, {"train.accumulate": 1}),
        ({"train.ema_decay": "[null, 0.9]"}, {"train.ema_decay": 0.9}),
        ({"train.ema_decay": "{low: 0.9, high: 0.99}"}, {"train.ema_decay": 0.9}),
        ({"optim.name": "[sgd, adam]"}, {"optim.name": "adam"}),
        ({"model.freeze": "{low: 0, high: 3}"}, {"model.freeze": 0}),
    ],
)
def test_the_greediest_settings_have_the_largest_part_and_all_that_an_optimizer_keeps(
    tmp_path: Path, axes: dict[str, str], greediest_values: dict[str, Any]
) -> None:
    text = "".join(f"  {path}: {domain}\n" for path, domain in axes.items())
    base = "base: {optim.name: sgd, model.freeze: 3, train.accumulate: 4}\n"
    for path in axes:
        base = re.sub(rf"{re.escape(path)}: \w+,? ?", "", base)
    space = read_space(written(tmp_path, f"space:\n{text}{base}trials: 5\n"), KEYPOINTS)
    chosen = resolved(space, {"data.root": "embedded"})
    found = settings_of(greediest(space.axes, chosen, "test"))
    assert {path: found[path] for path in greediest_values} == greediest_values


ORIGINAL = {"model.trunk": "resnet50", "model.deconv_channels": [1024, 512, 256]}


def test_the_most_disk_grows_with_what_runs_and_with_what_is_kept(tmp_path: Path) -> None:
    text = GREEDY_SPACE.replace("trials: 5", "trials: 5\nkeep: 3")
    spaces = [read_space(written(tmp_path, t), KEYPOINTS) for t in (GREEDY_SPACE, text)]
    base = resolved(spaces[0], {"data.root": "embedded"})
    heaviest = {"model.trunk": "resnet34", "model.deconv_channels": [64, 8, 8]}
    largest = checkpoint_bytes(change(base, heaviest, "test"))
    best, resume = (size + NAMES for size in largest)
    waiting = spaces[0].asha.reduction * len(rungs_of(spaces[0].asha, 8).all())
    assert waiting > 0
    assert disk_bound(spaces[0], base, 4) == (8 + waiting) * (best + resume) + 2 * best
    assert disk_bound(spaces[1], base, 4) == (8 + waiting) * (best + resume) + 4 * best


@pytest.mark.gpu
def test_gpu_auto_measures_and_puts_several_small_trials_on_one_gpu(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, GREEDY_SPACE), KEYPOINTS)
    base = resolved(space, {"data.root": "embedded"})
    share, told = fit_gpu(space.axes, base, str(space.path))
    assert 0 < share <= 0.5
    assert re.search(r"one keeps the GPU busy for [1-9]\d*% of the time, so \d+ share it; ", told)
    assert "GB of context" in told
    assert f"{torch.cuda.get_device_properties(0).total_memory / 1e9:.1f} GB" in told


@pytest.mark.parametrize(
    ("axes", "base", "noted"),
    [
        ("data.image_size: [[256, 192], [192, 256], [96, 128]]", {"data.view": "person"}, 2),
        ("data.image_size: [[256, 192], [192, 256]]", {"data.view": "image"}, 0),
        ("data.view: [image, person]", {"data.image_size": [192, 256]}, 1),
        ("optim.lr: [0.1, 0.2]", {"data.view": "person", "data.image_size": [192, 256]}, 1),
        ("data.image_size: [[256, 192], [192, 256]]\n  data.view: [image, person]", {}, 1),
    ],
)
def test_a_search_notes_once_each_size_at_which_persons_would_lie_down(
    tmp_path: Path, axes: str, base: dict[str, object], noted: int
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(f"metric: val_ap\ntrials: 2\nspace:\n  {axes}\n")
    space = read_space(path, KEYPOINTS)
    config = resolved(space, {"data.root": str(tmp_path)} | base)
    notes = KEYPOINTS.describe(config, space.axes).splitlines()[1:]
    assert len(set(notes)) == len(notes) == noted
    assert all("data.image_size [" in note for note in notes)


def test_each_combination_that_a_trial_can_have_is_looked_at_and_no_other(tmp_path: Path) -> None:
    text = (
        "space:\n  model.trunk: [resnet18, resnet34]\n  train.batch_size: {values: [4, 8], when: "
        "{model.trunk: resnet18}}\n  optim.name: [adam, sgd]\n  optim.clip_norm: {low: 1, high: 2, "
        "when: {optim.name: sgd}}\ntrials: 5\n"
    )
    space = read_space(written(tmp_path, text), KEYPOINTS)
    base = resolved(space, {"data.root": "embedded", "model.weights": "none"})
    paths = ("train.batch_size", "model.trunk")
    first, *others = with_each(space.axes, base, "test", paths)
    assert first == base
    found = [(config.train.batch_size, config.model.trunk) for config in others]
    assert base.train.batch_size == 8
    assert found == [(4, "resnet18"), (8, "resnet34"), (8, "resnet18")]
