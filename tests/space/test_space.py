"""Space files: each slip is answered by its own line, and each domain includes both ends."""

import hashlib
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from space_files import LR, one_line, read, resolved

from kptrain.errors import DataError, SettingsError
from kptrain.resolve import EMBEDDED_SETTINGS
from search.space.axes import Choice, Range
from search.space.reader import read_space, with_budget
from search.space.space import Asha, Resources, Space, max_epochs, rungs_of
from search.trainings.keypoints import KEYPOINTS

SHIPPED = sorted((Path(__file__).parents[2] / "spaces").glob("*.yaml"))
MSE = (
    "changes what a loss value means, so metric val_loss would find the smallest loss, not "
    "the best model; use metric: val_ap"
)
MEASURED = "cannot be varied: it changes the data that every metric is measured on"
PLACE = (
    "cannot be varied: it changes where and how a training runs, not its result; "
    "set it in base or with --set"
)

Reader = Callable[..., Space]


@pytest.fixture(autouse=True)
def no_data_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the embedded set is found, unless a test says otherwise."""
    monkeypatch.delenv("KPTRAIN_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def test_importing_the_space_module_loads_neither_ray_nor_torch_nor_optuna() -> None:
    program = (
        "import sys, search.space.reader; print([m for m in ('ray', 'torch', 'optuna') if m in "
        "sys.modules], 'pydantic' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[] True"


def test_at_least_four_space_files_are_shipped() -> None:
    assert len(SHIPPED) >= 4
    assert {"quick", "lr_sched", "full", "person"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@pytest.mark.parametrize("data", ["embedded", "folder"])
def test_every_shipped_space_file_resolves_on_the_embedded_set_and_on_coco(
    path: Path, data: str, tmp_path: Path
) -> None:
    space = read_space(path, KEYPOINTS)
    root = "embedded" if data == "embedded" else str(tmp_path)
    config = resolved(space, {"data.root": root})
    assert config.data.root == root
    assert config.checkpoint.metric == space.metric.name
    assert rungs_of(space.asha, max_epochs(space, config)).stops, (
        "ASHA must be able to stop a trial"
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_space_file_opens_with_its_question_how_to_run_it_and_its_cost(
    path: Path,
) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# Question: ")
    assert lines[1] == f"# Run: python -m search.run spaces/{path.name}"
    assert lines[2].startswith(
        f"# Cost: At most {read_space(path, KEYPOINTS).trials} trainings of "
    )


def test_a_full_space_file_is_read_as_written() -> None:
    space = read(
        "{optim.lr: {low: 1e-5, high: 1e-2, log: true}, schedule.step_epochs: {low: 3, high: 12}, "
        "heatmap.sigma_px: {low: 1, high: 3, step: 0.25}, data.image_size: [[64, 64], [96, 96]]}",
        "base: {train: {epochs: 7}, model.trunk: resnet18}\nmetric: val_ap\n"
        "asha: {grace_epochs: 2, reduction: 4}\nresources: {cpu: 2, gpu: 0.5}\n"
        "start: [{optim.lr: 3e-4}, {data.image_size: [96, 96]}]\nseed: 5\nsampler: random",
    )
    assert space.axes == {
        "optim.lr": Range("float", 1e-5, 1e-2, log=True),
        "schedule.step_epochs": Range("int", 3, 12),
        "heatmap.sigma_px": Range("float", 1.0, 3.0, step=0.25),
        "data.image_size": Choice(([64, 64], [96, 96])),
    }
    assert space.base == {"train.epochs": 7, "model.trunk": "resnet18"}
    assert (space.metric.name, space.trials, space.seed, space.sampler) == (
        "val_ap",
        4,
        5,
        "random",
    )
    assert space.asha == Asha(grace_epochs=2, reduction=4)
    assert space.resources == Resources(cpu=2, gpu=0.5)
    assert space.start == ({"optim.lr": 3e-4}, {"data.image_size": [96, 96]})


def test_what_a_file_leaves_out_has_defaults() -> None:
    space = read()
    assert (space.base, space.start, space.metric.name) == ({}, (), "val_loss")
    assert (space.asha, space.resources) == (Asha(), Resources())
    assert (space.asha.grace_epochs, space.asha.reduction) == (4, 3)
    assert (space.resources.cpu, space.resources.gpu) == (1, 1.0)
    assert (space.seed, space.sampler) == (0, "gp")


def test_a_key_whose_lines_are_all_commented_out_counts_as_not_given() -> None:
    assert read(rest="base:\n  # train: {epochs: 3}\nstart:").base == {}


def test_the_text_and_its_fingerprint_are_those_of_the_file() -> None:
    space = read(rest="# é")
    raw = Path("x.yaml").read_bytes()
    assert space.text.encode() == raw
    assert space.sha256 == hashlib.sha256(raw).hexdigest()


def test_a_space_cannot_be_altered() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read().trials = 9


IN_THE_FILE = [
    ("spaces: 1", "must have base, space, metric, trials, hours, gpu_hours, epochs, keep, asha, "
     "resources, start, seed, sampler or confirm only, but got 'spaces'; did you mean space?"),
    ("axes: 1", "must have base, space, metric, trials, hours, gpu_hours, epochs, keep, asha, "
     "resources, start, seed, sampler or confirm only, but got 'axes'; did you mean base?"),
    ("hours: 0", "hours must be greater than 0, but got 0"),
    ("hours: .nan", "hours must be a finite number, but got nan"),
    ("gpu_hours: -1", "gpu_hours must be greater than 0, but got -1"),
    ("epochs: 2.5", "epochs must be a valid integer, but got 2.5"),
    ("epochs: 2", "epochs must be at least asha.grace_epochs (4) for the base and each of the 0 "
     "points of start, 4, but got 2; raise it"),
    ("epochs: 8\nstart: [{optim.lr: 2e-3}, {optim.lr: 3e-3}]", "epochs must be at least "
     "asha.grace_epochs (4) for the base and each of the 2 points of start, 12, but got 8; "
     "raise it"),
    ("metric: loss", "metric must be 'val_loss', 'val_ap', 'val_ap50', 'val_ap75', 'val_ap_m', "
     "'val_ap_l', 'val_ar', 'val_ar50', 'val_ar75', 'val_ar_m', 'val_ar_l' or 'val_oks', "
     "but got 'loss'"),
    ("seed: -1", "seed must be greater than or equal to 0, but got -1"),
    ("sampler: tpee", "sampler must be 'gp' or 'random', but got 'tpee'"),
    ("asha: 3", "asha: must be a mapping with grace_epochs or reduction, but got 3"),
    ("asha: {grace: 3}", "asha: must have grace_epochs or reduction only, but got 'grace'; "
     "did you mean grace_epochs?"),
    ("asha: {grace_epochs: 0}",
     "asha.grace_epochs must be greater than or equal to 1, but got 0"),
    ("asha: {reduction: 1}", "asha.reduction must be greater than or equal to 2, but got 1"),
    ("asha: {reduction: 2.5}", "asha.reduction must be a valid integer, but got 2.5"),
    ("resources: {gpus: 1}", "resources: must have cpu or gpu only, but got 'gpus'; "
     "did you mean gpu?"),
    *((f"resources: {{gpu: {gpu}}}",
       "resources.gpu must be auto or a share above 0 and at most 1, as a trial uses at most one "
       f"GPU, but got {shown}") for gpu, shown in ((2, 2), (0, 0), ("all", "'all'"))),
    ("keep: 0", "keep must be greater than or equal to 1, but got 0"),
    ("resources: {cpu: 0.5}", "resources.cpu must be a valid integer, but got 0.5"),
    ("resources: {cpu: 0}", "resources.cpu must be greater than or equal to 1, but got 0"),
    ("base: 3", "base: must map settings to values, but got 3"),
    ("base: {train: {epoch: 3}}",
     "base: train.epoch is not a setting; did you mean train.epochs?"),
    ("base: {train: {epochs: 3}, train.epochs: 4}",
     "base: train.epochs: must be given once, but is given nested and dotted"),
    ("base: {train.epochs: 0}",
     "base: train.epochs must be greater than or equal to 1, but got 0"),
    ("base: {optim: {lr: 1e-3}}", "base: optim.lr must be in base or in space, but is in both; "
     "remove it from one of the two"),
    ("base: {checkpoint: {metric: val_ap}}",
     "base: must not hold checkpoint.metric; use `metric` instead"),
    ("start: {optim.lr: 1e-3}", "start: must be a list of points, but got {'optim.lr': 0.001}"),
    ("start: [1e-3]", "start: point 1: must map settings to values, but got 0.001"),
    ("start: [{}]", "start: point 1: must name an axis, but is the base itself"),
    ("start: [{optim.lr: 1e-3}, {train.epochs: 3}]", "start: point 2: must name axes of the space "
     "only, but got train.epochs; vary it or remove it"),
    ("start: [{optim.lt: 1e-3}]",
     "start: point 1: optim.lt is not a setting; did you mean optim.lr?"),
    ("start: [{optim.lr: 0.1}]",
     "start: point 1: optim.lr must be from 0.0001 to 0.01 on a log scale, but got 0.1"),
    ("start: [{optim.lr: 2e-3}, {optim.lr: 3e-3}, {optim.lr: 4e-3}, {optim.lr: 5e-3}]",
     "trials must be more than the 4 points of start in x.yaml, as the base comes first, but got "
     "4; raise it"),
]  # fmt: skip


@pytest.mark.parametrize(("rest", "message"), IN_THE_FILE)
def test_a_slip_outside_of_the_axes_is_named(rest: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        read(rest=rest)
    assert one_line(error).startswith(f"x.yaml: {message}")


IN_AN_AXIS = [
    ("", "must vary at least one setting, but names none; name one"),
    ("{}", "must vary at least one setting, but names none; name one"),
    ("[optim.lr]", "must map settings to domains, but got ['optim.lr']"),
    ("{optim.ler: [1, 2]}", "optim.ler is not a setting; did you mean optim.lr?"),
    ("{1: [1, 2]}", "1 is not a setting"),
    ("{optim.lr: 1e-3}", "optim.lr: must be a list of values, or low and high with log or step, "
     "but got 0.001; put a single value into base"),
    ("{optim.lr: {min: 1, high: 2}}",
     "optim.lr: must have low, high, log, step or when only, but got 'min'"),
    ("{optim.lr: {low: 1, hihg: 2}}",
     "optim.lr: must have low, high, log, step or when only, but got 'hihg'; did you mean high?"),
    ("{optim.lr: {high: 2}}", "optim.lr: must have low and high, but low is missing"),
    ("{optim.lr: {low: 2}}", "optim.lr: must have low and high, but high is missing"),
    ("{model.trunk: {low: 1, high: 2}}", "model.trunk: must be a list of values, as it is not a "
     "number, but got the range {'low': 1, 'high': 2}"),
    ("{model.deconv_channels: {low: 1, high: 2}}", "model.deconv_channels: must be a list of "
     "values, as it is not a number, but got the range {'low': 1, 'high': 2}"),
    ("{train.batch_size: {low: 3.5, high: 8}}", "train.batch_size: low must be an integer, "
     "like the setting itself, but got 3.5"),
    ("{train.batch_size: {low: true, high: 8}}", "train.batch_size: low must be an integer, "
     "like the setting itself, but got True"),
    ("{train.batch_size: {low: 1, high: 8, step: 0.5}}", "train.batch_size: step must be an "
     "integer, like the setting itself, but got 0.5"),
    ("{optim.lr: {low: true, high: 8}}",
     "optim.lr: low must be a finite number, but got True"),
    ("{optim.lr: {low: a, high: 8}}", "optim.lr: low must be a finite number, but got 'a'"),
    ("{optim.lr: {low: null, high: 8}}", "optim.lr: low must be a finite number, but got None"),
    ("{optim.lr: {low: 1, high: .inf}}", "optim.lr: high must be a finite number, but got inf"),
    ("{optim.lr: {low: 1, high: .nan}}", "optim.lr: high must be a finite number, but got nan"),
    ("{optim.lr: {low: 1, high: 2, log: 1}}", "optim.lr: log must be true or false, but got 1"),
    ("{optim.lr: {low: 2, high: 1}}",
     "optim.lr: low must be below high, but got low 2.0 and high 1.0"),
    ("{train.epochs: {low: 2, high: 2}}",
     "train.epochs: low must be below high, but got low 2 and high 2"),
    ("{optim.weight_decay: {low: 0, high: 1, log: true}}",
     "optim.weight_decay: low must be above 0 with log, but got 0.0"),
    ("{optim.lr: {low: 1, high: 2, log: true, step: 1}}",
     "optim.lr: must have log or step, but got both; remove one of the two"),
    ("{optim.lr: {low: 1, high: 2, step: 0}}", "optim.lr: step must be above 0, but got 0.0"),
    ("{optim.lr: {low: 1, high: 2, step: -1}}", "optim.lr: step must be above 0, but got -1.0"),
    ("{schedule.gamma: {low: 0.1, high: 0.95, step: 0.1}}", "schedule.gamma: high must be low plus "
     "a whole number of steps of 0.1, but got 0.95; the nearest are 0.9 and 1.0"),
    ("{train.epochs: {low: 3, high: 10, step: 3}}", "train.epochs: high must be low plus a whole "
     "number of steps of 3, but got 10; the nearest are 9 and 12"),
    ("{train.batch_size: []}", "train.batch_size: must list at least two values, but got []; "
     "put a single value into base"),
    ("{train.batch_size: [8]}", "train.batch_size: must list at least two values, but got [8]; "
     "put a single value into base"),
    ("{train.batch_size: [8, 16, 8]}",
     "train.batch_size: must list a value once, but got 8 twice"),
    ("{data.image_size: [[64, 64], [64, 64]]}",
     "data.image_size: must list a value once, but got [64, 64] twice"),
    ("{train.device: [cpu, cuda]}", f"train.device: {PLACE}"),
    ("{train.threads: {low: 1, high: 4}}", f"train.threads: {PLACE}"),
    ("{wandb.mode: [offline, online]}", f"wandb.mode: {PLACE}"),
    ("{wandb.project: [a, b]}", f"wandb.project: {PLACE}"),
    ("{checkpoint.metric: [val_ap, val_oks]}",
     "checkpoint.metric: cannot be varied, trials must share it; use `metric`"),
    ("{data.root: [a, b]}", f"data.root: {MEASURED}"),
    ("{data.limit_val: {low: 1, high: 4}}", f"data.limit_val: {MEASURED}"),
    ("{heatmap.sigma_px: {low: 1, high: 3}}", f"heatmap.sigma_px: cannot be varied: it {MSE}"),
    ("{data.image_size: [[64, 64], [96, 96]]}", f"data.image_size: cannot be varied: it {MSE}"),
    ("{data.view: [image, person]}", f"data.view: cannot be varied: it {MSE}"),
    ("{loss.joint_weights: [[1], [2]]}", f"loss.joint_weights: cannot be varied: it {MSE}"),
]  # fmt: skip


@pytest.mark.parametrize(("space", "message"), IN_AN_AXIS)
def test_a_slip_in_an_axis_is_named(space: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        read(space)
    assert one_line(error).startswith(f"x.yaml: space: {message}")


@pytest.mark.parametrize("metric", ["val_oks", "val_ap"])
def test_settings_that_change_the_loss_can_be_varied_by_a_metric_free_of_scale(
    metric: str,
) -> None:
    axes = "{heatmap.sigma_px: {low: 1, high: 3}, data.view: [image, person]}"
    assert resolved(read(axes, f"metric: {metric}"), {}).checkpoint.metric == metric


@pytest.mark.parametrize("metric", ["val_oks", "val_ap"])
def test_settings_that_change_what_is_measured_cannot_be_varied_by_any_metric(metric: str) -> None:
    with pytest.raises(SettingsError, match="changes the data that every metric is measured on"):
        read("{data.limit_val: [50, 100]}", f"metric: {metric}")


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ("0", "trials must be greater than or equal to 1, but got 0"),
        ("1.5", "trials must be a valid integer, but got 1.5"),
        ("true", "trials must be a valid integer, but got True"),
    ],
)
def test_a_wrong_number_of_trials_is_named(trials: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        read(trials=trials)
    assert one_line(error).startswith(f"x.yaml: {message}")


def test_a_file_without_any_part_of_a_budget_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        read(trials="")
    assert one_line(error) == (
        "x.yaml: must have a budget, one or more of trials, hours, gpu_hours, epochs, but has "
        "none; add one, such as trials: 20"
    )


@pytest.mark.parametrize("part", ["hours: 0.5", "gpu_hours: 3", "epochs: 900"])
def test_any_part_of_a_budget_does_without_trials(part: str) -> None:
    space = read(trials="", rest=part)
    name, _, value = part.partition(": ")
    assert getattr(space, name) == float(value)
    assert space.trials is None


def test_the_command_line_replaces_parts_of_the_budget_and_leaves_the_others() -> None:
    space = with_budget(read(rest="epochs: 90"), {"epochs": 60, "hours": 2.0})
    assert (space.trials, space.hours, space.gpu_hours, space.epochs) == (4, 2.0, None, 60)


def test_start_points_need_room_in_the_budget_of_the_command_line_too() -> None:
    space = read(rest="start: [{optim.lr: 2e-3}]")
    with pytest.raises(SettingsError, match=r"^--trials: must be more than the 1 points of start"):
        with_budget(space, {"trials": 1})
    with pytest.raises(
        SettingsError, match=r"^--epochs: must be at least asha\.grace_epochs \(4\)"
    ):
        with_budget(space, {"epochs": 5})


def test_a_key_given_twice_is_named_with_its_line() -> None:
    with pytest.raises(SettingsError) as error:
        read(rest="trials: 5")
    assert one_line(error) == "x.yaml:3: must be valid YAML, but key 'trials' is given twice"


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^none\.yaml: must be a readable text file"):
        read_space(Path("none.yaml"), KEYPOINTS)


AGAINST_THE_BASE = [
    ("{optim.lr: {low: 0, high: 1}}", "",
     "at optim.lr=0.0: optim.lr must be greater than 0, but got 0.0"),
    ("{schedule.gamma: {low: 0.5, high: 1.5}}", "",
     "at schedule.gamma=1.5: schedule.gamma must be less than or equal to 1, but got 1.5"),
    ("{train.batch_size: [8, 0, 16]}", "",
     "at train.batch_size=0: train.batch_size must be greater than or equal to 1, but got 0"),
    ("{train.epochs: [9, x]}", "",
     "at train.epochs=x: train.epochs must be a valid integer, but got 'x'"),
    ("{train.batch_size: [8, 16.0]}", "",
     "at train.batch_size=16.0: train.batch_size must be a valid integer, but got 16.0"),
    ("{train.batch_size: [1, 16]}", "start: [{train.batch_size: true}]",
     "at train.batch_size=True: train.batch_size must be a valid integer, but got True"),
    ("{data.view: [image, person]}", "metric: val_ap\nbase: {data.limit_val: 50}",
     "data.view must not be varied while data.limit_val is set, but that is 50"),
    (LR, "base: {train.device: 'cuda:0'}",
     "train.device must be auto, cpu or cuda in a search, as Ray gives each trial its GPU, but got "
     "cuda:0; select it with CUDA_VISIBLE_DEVICES"),
    (LR, "base: {train.epochs: 2}", "asha.grace_epochs must be at most train.epochs (2), but got "
     "4; lower it, or raise train.epochs"),
    ("{heatmap.sigma_px: {low: 1, high: 8}}", "metric: val_ap",
     "at heatmap.sigma_px=8.0: heatmap.sigma_px must be at most a quarter of the heatmap's "
     "shorter side (24 px at data.image_size [96, 96]), but got 8.0"),
]  # fmt: skip


@pytest.mark.parametrize(("space", "rest", "message"), AGAINST_THE_BASE)
def test_what_the_base_refuses_is_named(space: str, rest: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        resolved(read(space, rest), {})
    assert one_line(error).startswith(f"x.yaml: {message}")


SGD = "with optim.name sgd, but optim.name is adam; set optim.name to sgd, or remove optim.momentum"
NOT_TAKEN = [
    ("{optim.momentum: [0.8, 0.9]}", "", {},
     f"x.yaml: space: optim.momentum must be given only {SGD}"),
    (LR, "base: {optim.momentum: 0.8}", {},
     f"x.yaml: base: optim.momentum must be given only {SGD}"),
    (LR, "", {"optim.momentum": 0.8}, f"--set: optim.momentum must be given only {SGD}"),
    ("{optim.name: [adam, adamw]}", "base: {optim.momentum: 0.8}", {},
     f"x.yaml: base: optim.momentum must be given only {SGD}"),
    (LR, "base: {schedule: {name: cosine, gamma: 0.5}}", {},
     "x.yaml: base: schedule.gamma must be given only with schedule.name step or multistep, but "
     "schedule.name is cosine; set schedule.name to step or multistep, or remove schedule.gamma"),
]  # fmt: skip


@pytest.mark.parametrize(("space", "rest", "given", "message"), NOT_TAKEN)
def test_a_setting_of_a_choice_of_no_trial_is_refused(
    space: str, rest: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError) as error:
        resolved(read(space, rest), given)
    assert one_line(error) == message


@pytest.mark.parametrize(
    ("space", "rest", "given"),
    [
        ("{optim.name: [adam, sgd], "
         "optim.momentum: {values: [0.8, 0.9], when: {optim.name: sgd}}}", "", {}),
        ("{optim.name: [adam, sgd]}", "base: {optim.momentum: 0.8}", {}),
        ("{optim.name: [adam, sgd]}", "", {"optim.momentum": 0.8}),
        ("{optim.momentum: [0.8, 0.9]}", "", {"optim.name": "sgd"}),
        ("{schedule.name: [step, cosine, constant]}",
         "base: {schedule: {step_epochs: 3, gamma: 0.1, min_lr: 1e-5}}", {}),
        ("{schedule.name: [step, multistep]}", "base: {schedule.milestones: [3, 5]}", {}),
    ],
)  # fmt: skip
def test_a_setting_of_any_choice_that_a_space_varies_is_allowed(
    space: str, rest: str, given: dict[str, Any]
) -> None:
    resolved(read(space, rest), given)


def test_a_choice_that_lacks_what_it_needs_is_found_before_a_trial() -> None:
    with pytest.raises(SettingsError, match=r"at schedule\.name=multistep: schedule\.mil.* must"):
        resolved(read("{schedule.name: [step, multistep]}"), {})


def test_two_ends_that_only_together_are_impossible_are_found() -> None:
    axes = "{data.image_size: [[256, 256], [64, 64]], heatmap.sigma_px: {low: 1, high: 8}}"
    with pytest.raises(SettingsError) as error:
        resolved(read(axes, "metric: val_ap"), {})
    assert one_line(error) == (
        "x.yaml: at data.image_size=[64, 64], heatmap.sigma_px=8.0: heatmap.sigma_px must be at "
        "most a quarter of the heatmap's shorter side (16 px at data.image_size [64, 64]), "
        "but got 8.0"
    )


def test_an_impossible_combination_that_is_at_no_corner_is_found_by_random_points() -> None:
    axes = (
        "{heatmap.sigma_px: {low: 1, high: 8}, data.image_size: [[256, 256], [64, 64], [256, 128]]}"
    )
    with pytest.raises(SettingsError, match=r"^x\.yaml: at heatmap\.sigma_px=.*\[64, 64\]"):
        resolved(read(axes, "metric: val_ap"), {})


def test_the_base_may_lie_outside_of_the_axes_where_it_is_not_combined_with_them() -> None:
    """Sigma 8 of the base and the small images of the axis never meet in a trial."""
    axes = "{data.image_size: [[64, 64], [96, 96]], heatmap.sigma_px: {low: 1, high: 2}}"
    space = read(axes, "metric: val_ap")
    assert resolved(space, {"data.root": str(Path.cwd())}).data.image_size == (256, 256)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("optim.lr", 1, "--set optim.lr: must not be varied by the space"),
        ("checkpoint.metric", "val_ap",
         "--set checkpoint.metric: must not be given"),
        ("train.epoch", 3, "--set: train.epoch is not a setting; did you mean train.epochs?"),
        ("train.epochs", 0, "--set: train.epochs must be greater than or equal to 1, but got 0"),
        ("train.epochs", 2, "x.yaml with --set: asha.grace_epochs must be at most train.epochs "
         "(2), but got 4; lower it, or raise train.epochs"),
    ],
)  # fmt: skip
def test_what_the_command_line_says_is_checked_against_the_space(
    name: str, value: Any, message: str
) -> None:
    with pytest.raises(SettingsError) as error:
        resolved(read(), {name: value})
    assert one_line(error).startswith(message)


def test_the_command_line_wins_over_the_base_and_the_base_over_the_embedded_settings() -> None:
    space = read(rest="base: {train: {epochs: 7, batch_size: 4}}")
    config = resolved(space, {"train.batch_size": 2})
    assert (config.train.epochs, config.train.batch_size) == (7, 2)
    assert config.model.trunk == "shufflenet_v2_x0_5"


def test_the_command_line_may_allow_what_the_defaults_refuse() -> None:
    space = read(rest="base: {data.image_size: [1024, 1024]}")
    assert resolved(space, {"heatmap.sigma_px": 30}).heatmap.sigma_px == 30


def test_data_that_is_not_there_is_an_error_of_the_data() -> None:
    with pytest.raises(DataError, match="must be a folder that holds COCO"):
        resolved(read(), {"data.root": "nowhere"})


@pytest.mark.parametrize(
    ("axes", "epochs"),
    [
        (LR, EMBEDDED_SETTINGS["train.epochs"]),
        ("{train.epochs: {low: 3, high: 30}}", 30),
        ("{train.epochs: [12, 40, 10]}", 40),
        # Trial 0 is the base, and may not be cut short.
        ("{train.epochs: {low: 3, high: 5}}", EMBEDDED_SETTINGS["train.epochs"]),
    ],
)
def test_the_longest_trial_is_the_base_or_the_top_of_the_axis(axes: str, epochs: int) -> None:
    space = read(axes)
    assert max_epochs(space, resolved(space, {})) == epochs


@pytest.mark.parametrize(
    ("grace", "reduction", "epochs", "expected"),
    [
        (3, 3, 25, (3, 9)),
        (3, 3, 27, (3, 9)),
        (3, 3, 28, (3, 9, 27)),
        (1, 10, 1000, (1, 10, 100)),
        (1, 2, 9, (1, 2, 4, 8)),
        (9, 3, 9, ()),
    ],
)
def test_rungs_are_at_grace_times_powers_of_reduction_before_the_last_epoch(
    grace: int, reduction: int, epochs: int, expected: tuple[int, ...]
) -> None:
    found = rungs_of(Asha(grace_epochs=grace, reduction=reduction), epochs)
    assert found.stops == expected


def domain(kind: Literal["int", "float"], low: float, width: float, log: bool) -> Range:
    return Range(kind, low, low + width, log)


int_ranges = st.builds(
    domain, st.just("int"), st.integers(1, 10**6), st.integers(1, 10**6), st.booleans()
)
float_ranges = st.builds(
    domain, st.just("float"), st.floats(1e-9, 1e6), st.floats(1e-3, 1e6), st.booleans()
)
int_grids = st.builds(
    lambda low, step, num_steps: Range("int", low, low + step * num_steps, step=step),
    st.integers(-100, 100),
    st.integers(1, 50),
    st.integers(1, 50),
)
# In hundredths, as somebody would write them: 0.07, 0.07 + 3 * 0.01 = 0.1.
float_grids = st.builds(
    lambda low, step, num_steps: Range(
        "float", low / 100, (low + step * num_steps) / 100, step=step / 100
    ),
    st.integers(-1000, 1000),
    st.integers(1, 500),
    st.integers(1, 500),
)


@given(st.one_of(int_ranges, float_ranges, int_grids, float_grids), st.integers(0, 2**32))
def test_every_value_drawn_is_contained_and_of_the_type_of_the_setting(
    axis: Range, seed: int
) -> None:
    rng = random.Random(seed)
    for _ in range(20):
        value = axis.draw(rng)
        assert type(value) is (int if axis.kind == "int" else float)
        assert axis.contains(value)


@given(st.one_of(int_ranges, float_ranges, int_grids, float_grids))
def test_both_ends_of_a_range_are_contained_and_nothing_beyond_them(axis: Range) -> None:
    low, high = axis.ends()
    assert (low, high) == (axis.low, axis.high)
    assert axis.contains(low)
    assert axis.contains(high)
    beyond = axis.step or (1 if axis.kind == "int" else 1e-3)
    assert not axis.contains(low - beyond)
    assert not axis.contains(high + beyond)


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        (Range("int", 3, 6), {3, 4, 5, 6}),
        (Range("int", 1, 4, log=True), {1, 2, 3, 4}),
        (Range("int", 2, 8, step=3), {2, 5, 8}),
        (Range("float", 0.1, 0.5, step=0.1), {0.1, 0.2, 0.3, 0.4, 0.5}),
        (Choice((8, 16, 32)), {8, 16, 32}),
    ],
)
def test_every_value_of_a_domain_is_drawn_both_ends_included(
    axis: Range | Choice, values: set[float]
) -> None:
    rng = random.Random(0)
    assert {axis.draw(rng) for _ in range(300)} == values


def test_a_log_range_is_drawn_evenly_over_its_decades() -> None:
    rng = random.Random(0)
    axis = Range("float", 1e-5, 1e-1, log=True)
    assert 450 < sum(axis.draw(rng) < 1e-3 for _ in range(1000)) < 550


def test_the_ends_of_a_log_range_of_integers_have_as_much_room_as_their_neighbours() -> None:
    rng = random.Random(0)
    axis = Range("int", 1, 4, log=True)  # 1 takes 0.5 to 1.5, a half of 0.5 to 4.5 in logs
    assert 450 < sum(axis.draw(rng) == 1 for _ in range(1000)) < 550


class Fixed(random.Random):
    """Draws the same number each time."""

    def __init__(self, fraction: float) -> None:
        super().__init__()
        self.fraction = fraction

    def random(self) -> float:
        return self.fraction


log_ranges = int_ranges.filter(lambda axis: axis.log)


@given(st.one_of(log_ranges, float_ranges), st.sampled_from([0.0, 1 - 2**-53]))
def test_the_lowest_and_highest_draw_do_not_round_beyond_an_end(
    axis: Range, fraction: float
) -> None:
    assert axis.contains(axis.draw(Fixed(fraction)))


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        (Choice(([64, 64], "a")), "one of [[64, 64], 'a']"),
        (Range("int", 3, 12), "from 3 to 12"),
        (Range("float", 1.0, 3.0, step=0.25), "from 1.0 to 3.0 in steps of 0.25"),
        (Range("float", 1e-5, 0.1, log=True), "from 1e-05 to 0.1 on a log scale"),
    ],
)
def test_a_domain_is_spelled_in_words(axis: Choice | Range, words: str) -> None:
    assert str(axis) == words


@pytest.mark.parametrize("value", [True, "3", 3.0, None, [3]])
def test_an_integer_range_contains_nothing_but_integers(value: Any) -> None:
    assert not Range("int", 0, 9).contains(value)


def test_a_float_range_contains_integers_and_a_step_only_its_grid() -> None:
    axis = Range("float", 0.0, 3.0, step=0.1)
    assert axis.contains(2)
    assert axis.contains(0.1 + 0.2)  # 0.30000000000000004, as a tuner computes it
    assert not axis.contains(0.25)
    assert not axis.contains(True)


def test_a_choice_of_lists_compares_by_equality() -> None:
    axis = Choice(([64, 64], [256, 192]))
    assert axis.contains([256, 192])
    assert not axis.contains([192, 256])
    assert axis.ends() == ([64, 64], [256, 192])
