"""What is proposed, in which order, and what is reported to Optuna."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from space_files import resolved

from kptrain.config import TrainConfig
from kptrain.resolve import change, setting_infos
from search.algorithms.searcher import Searcher
from search.space.reader import read_space
from search.space.space import Space, axis_values
from search.trainings.keypoints import KEYPOINTS


def make(tmp_path: Path, text: str) -> tuple[Space, TrainConfig]:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    space = read_space(path, KEYPOINTS)
    return space, resolved(space, {"data.root": "embedded"})


BOTH = """
space:
  optim.lr: {low: 1e-4, high: 1e-2, log: true}
  train.batch_size: [8, 16, 32]
trials: 30
seed: 4
"""


def proposals(searcher: Searcher, num: int, begin: int = 0) -> list[dict[str, Any]]:
    """Propose trials one at a time; report a value of each that depends on its settings alone."""
    return [reported(searcher, number, searcher.propose(number)) for number in range(begin, num)]


def reported(searcher: Searcher, number: int, settings: dict[str, Any]) -> dict[str, Any]:
    searcher.report(number, 8, settings["optim.lr"])
    searcher.finish(number, "completed", settings["optim.lr"])
    return settings


def test_the_defaults_come_first_then_the_start_points_with_the_base_elsewhere(
    tmp_path: Path,
) -> None:
    space, base = make(tmp_path, BOTH + "start: [{optim.lr: 3e-4}, {train.batch_size: 32}]\n")
    searcher = Searcher.of(space, base)
    assert searcher.propose(0) == {"optim.lr": 1e-3, "train.batch_size": 8}
    assert searcher.propose(1) == {"optim.lr": 3e-4, "train.batch_size": 8}
    assert searcher.propose(2) == {"optim.lr": 1e-3, "train.batch_size": 32}
    assert searcher.propose(3)["optim.lr"] not in (1e-3, 3e-4)


def test_defaults_outside_of_the_space_are_tried_first_and_not_reported_to_optuna(
    tmp_path: Path,
) -> None:
    space, base = make(tmp_path, "space: {optim.lr: {low: 1e-2, high: 1e-1}}\ntrials: 3\n")
    searcher = Searcher.of(space, base)
    assert searcher.propose(0) == {"optim.lr": 1e-3}
    searcher.report(0, 1, 0.5)
    searcher.finish(0, "completed", 0.5)
    assert searcher.study.trials == []
    assert 1e-2 <= searcher.propose(1)["optim.lr"] <= 1e-1


def test_a_list_is_the_same_choice_however_its_numbers_are_spelled(tmp_path: Path) -> None:
    ones, twos = [1] * 17, [2] * 17
    text = f"space: {{loss.joint_weights: [{ones}, {twos}]}}\nmetric: val_ap\ntrials: 3\n"
    searcher = Searcher.of(*make(tmp_path, text))
    assert searcher.propose(0) == {"loss.joint_weights": ones}
    assert len(searcher.study.trials) == 1


@pytest.mark.parametrize("sampler", ["gp", "random"])
def test_the_same_seed_proposes_the_same_and_another_seed_does_not(
    tmp_path: Path, sampler: str
) -> None:
    text = BOTH + f"sampler: {sampler}\n"
    first = proposals(Searcher.of(*make(tmp_path, text)), 25)
    assert proposals(Searcher.of(*make(tmp_path, text)), 25) == first
    assert proposals(Searcher.of(*make(tmp_path, text.replace("seed: 4", "seed: 5"))), 25) != first


def test_gp_learns_from_reported_values_and_random_does_not(tmp_path: Path) -> None:
    text = BOTH.replace("trials: 30", "trials: 60")
    low = [p["optim.lr"] for p in proposals(Searcher.of(*make(tmp_path, text)), 60)[-20:]]
    text += "sampler: random\n"
    drawn = [p["optim.lr"] for p in proposals(Searcher.of(*make(tmp_path, text)), 60)[-20:]]
    assert sum(lr < 3e-4 for lr in low) > sum(lr < 3e-4 for lr in drawn)


def test_a_stopped_trial_is_reported_as_pruned_with_the_best_up_to_each_epoch(
    tmp_path: Path,
) -> None:
    searcher = Searcher.of(*make(tmp_path, BOTH))
    searcher.propose(0)
    for epoch, value in ((1, 0.9), (2, 0.7), (3, 0.8)):
        searcher.report(0, epoch, value)
    searcher.finish(0, "stopped", 0.7)
    (trial,) = searcher.study.trials
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.9, 2: 0.7, 3: 0.7}
    assert trial.last_step == 3


def test_a_failed_trial_is_reported_as_failed_and_a_completed_one_with_its_best(
    tmp_path: Path,
) -> None:
    searcher = Searcher.of(*make(tmp_path, BOTH))
    searcher.propose(0)
    searcher.finish(0, "failed", None)
    searcher.propose(1)
    searcher.report(1, 1, 0.4)
    searcher.report(1, 2, 0.6)
    searcher.finish(1, "completed", 0.4)
    failed, completed = searcher.study.trials
    assert failed.state == TrialState.FAIL
    assert completed.state == TrialState.COMPLETE
    assert completed.value == 0.4


@pytest.mark.parametrize("sampler", ["gp", "random"])
@pytest.mark.parametrize("num", [1, 6, 12])
def test_what_was_proposed_before_is_taken_without_a_draw_and_leads_to_the_same_proposals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str, num: int
) -> None:
    text = BOTH + f"sampler: {sampler}\nstart: [{{optim.lr: 3e-4}}]\n"
    first, again = (Searcher.of(*make(tmp_path, text)) for _ in range(2))
    lines = []
    for number in range(num):
        settings = first.propose(number)
        lines.append(json.dumps([settings, first.memory()]))
        reported(first, number, settings)
    with monkeypatch.context() as patch:
        patch.setattr(type(again._sampler), "sample_relative", None)  # nothing is drawn
        for number, line in enumerate(lines):
            settings, memory = json.loads(line)
            again.take(number, settings, memory)
            reported(again, number, settings)
    trials = [[(t.params, t.value, t.state) for t in s.study.trials] for s in (first, again)]
    assert trials[0] == trials[1]
    assert proposals(again, 15, num) == proposals(first, 15, num)


def test_a_trial_that_was_proposed_here_is_not_registered_again(tmp_path: Path) -> None:
    once, twice = (Searcher.of(*make(tmp_path, BOTH)) for _ in range(2))
    for searcher in (once, twice):
        settings = searcher.propose(0)
    twice.take(0, settings, twice.memory())
    assert len(twice.study.trials) == 1
    assert twice.propose(1) == once.propose(1)


def test_a_point_beyond_the_axes_is_taken_and_not_reported_to_optuna(tmp_path: Path) -> None:
    text = "space: {optim.lr: {low: 1e-2, high: 1e-1}}\ntrials: 3\n"
    first, again = (Searcher.of(*make(tmp_path, text)) for _ in range(2))
    memory = (first.propose(0), first.memory())
    again.take(0, *memory)
    again.report(0, 1, 0.5)
    again.finish(0, "completed", 0.5)
    assert again.study.trials == []
    assert again.propose(1) == first.propose(1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": {"optim.lr": 1e-3}}, "settings must name optim.lr, train.batch_size, but"),
        ({"memory": None}, "sampler must hold the state of a generator and logs, but got None"),
        ({"generator": 3}, "sampler must hold the state of a generator and logs, but got"),
        ({"logs": ["one"]}, "sampler must hold the state of a generator and logs, but got"),
        ({"logs": [0.0]}, "sampler.logs must be 3 numbers, but got"),
    ],
)
def test_what_cannot_have_been_proposed_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    searcher = Searcher.of(*make(tmp_path, BOTH))
    whole = {"settings": {"optim.lr": 1e-3, "train.batch_size": 8}}
    memory = (searcher.memory() or {}) | change
    given = {"memory": memory} | whole | change
    with pytest.raises(ValueError, match=said):
        searcher.take(0, given["settings"], given["memory"])


def test_an_ap_is_maximised_and_a_loss_minimised(tmp_path: Path) -> None:
    by_loss = Searcher.of(*make(tmp_path, BOTH))
    by_ap = Searcher.of(*make(tmp_path, BOTH + "metric: val_ap\n"))
    assert by_loss.study.direction == optuna.study.StudyDirection.MINIMIZE
    assert by_ap.study.direction == optuna.study.StudyDirection.MAXIMIZE


def test_both_ends_of_each_axis_can_be_proposed(tmp_path: Path) -> None:
    text = """
space:
  schedule.step_epochs: {low: 3, high: 5}
  schedule.gamma: {low: 0.1, high: 0.3, step: 0.1}
  data.image_size: [[64, 64], [96, 96]]
  train.batch_size: {low: 1, high: 3, log: true}
metric: val_ap
trials: 100
sampler: random
"""
    searcher = Searcher.of(*make(tmp_path, text))
    seen = [searcher.propose(number) for number in range(100)][1:]
    assert len(searcher.study.trials) == 99 + searcher._is_on_axes(searcher._first[0])
    assert all(searcher._is_on_axes(point) for point in seen)  # else it is not reported again
    assert {p["schedule.step_epochs"] for p in seen} == {3, 4, 5}
    assert {round(p["schedule.gamma"], 9) for p in seen} == {0.1, 0.2, 0.3}
    assert {tuple(p["data.image_size"]) for p in seen} == {(64, 64), (96, 96)}
    assert {p["train.batch_size"] for p in seen} == {1, 2, 3}


def test_every_setting_that_can_be_varied_arrives_in_the_config_that_is_trained(
    tmp_path: Path,
) -> None:
    varied = {
        "data.image_size": "[[64, 64], [96, 64]]",
        "data.pack": "[raw, jpeg]",
        "data.limit_train": "{low: 5, high: 50}",
        "augment.flip": "{low: 0.1, high: 0.5}",
        "augment.rotation_deg": "{low: 1, high: 40}",
        "augment.scale": "{low: 0.1, high: 0.4}",
        "augment.shift": "{low: 0.1, high: 0.2}",
        "augment.rotation_prob": "{low: 0.1, high: 0.9}",
        "augment.distribution": "[uniform, normal]",
        "augment.half_body_prob": "{low: 0.1, high: 0.4}",
        "augment.half_body_keypoints": "{low: 6, high: 12}",
        "augment.colour": "{low: 0.1, high: 0.4}",
        "augment.hue": "{low: 0.1, high: 0.4}",
        "augment.dropout_prob": "{low: 0.1, high: 0.4}",
        "augment.dropout_patches": "{low: 1, high: 4}",
        "augment.dropout_size": "{low: 0.1, high: 0.4}",
        "heatmap.sigma_px": "{low: 1.5, high: 2.5}",
        "heatmap.decode": "[parabola, dark]",
        "loss.joint_weights": f"[{[1.0] * 17}, {[2.0] * 17}]",
        "model.trunk": "[resnet18, resnet34]",
        "model.deconv_channels": "[[8, 8, 8], [4, 4, 4]]",
        "model.weights": "[imagenet, none]",
        "model.freeze": "{low: 1, high: 5}",
        "optim.name": "[adamw, sgd]",
        "optim.lr": "{low: 0.1, high: 0.2}",
        "optim.weight_decay": "{low: 0.1, high: 0.2}",
        "optim.decay_norms": "[true, false]",
        "optim.momentum": "{low: 0.1, high: 0.2, when: {optim.name: sgd}}",
        "optim.nesterov": "{values: [true, false], when: {optim.name: sgd}}",
        "optim.clip_norm": "{low: 0.1, high: 0.2}",
        "optim.backbone_lr_factor": "{low: 0.1, high: 0.2}",
        "schedule.name": "[step, multistep, cosine]",
        "schedule.step_epochs": "{low: 2, high: 5, when: {schedule.name: step}}",
        "schedule.milestones": "{values: [[3, 4], [4, 5]], when: {schedule.name: multistep}}",
        "schedule.gamma": "{low: 0.1, high: 0.2, when: {schedule.name: [step, multistep]}}",
        "schedule.min_lr": "{low: 0.001, high: 0.002, when: {schedule.name: cosine}}",
        "schedule.interval": "[epoch, step]",
        "schedule.warmup_epochs": "{low: 1, high: 2, when: {schedule.interval: epoch}}",
        "schedule.warmup_steps": "{low: 1, high: 20, when: {schedule.interval: step}}",
        "schedule.warmup_factor": "{low: 0.2, high: 0.3}",
        "train.epochs": "{low: 4, high: 6}",
        "train.batch_size": "{low: 3, high: 7}",
        "train.accumulate": "{low: 2, high: 3}",
        "train.ema_decay": "{low: 0.8, high: 0.9}",
        "train.seed": "{low: 1, high: 9}",
    }
    infos = setting_infos()
    others = {"data.view": "[image, person]", "heatmap.sigma_relative": "{low: 0.05, high: 0.1}"}
    assert varied.keys() | others.keys() == {
        path for path, info in infos.items() if info.changes in ("nothing", "loss")
    }
    arrives(tmp_path, varied, "data.view: person")
    arrives(tmp_path, others, "heatmap.sigma_px: null")


def arrives(tmp_path: Path, varied: dict[str, str], base_text: str) -> None:
    axes = "".join(f"  {path}: {domain}\n" for path, domain in varied.items())
    space, base = make(
        tmp_path,
        f"base: {{{base_text}}}\nspace:\n{axes}metric: val_ap\ntrials: 5\nsampler: random\n",
    )
    searcher = Searcher.of(space, base)
    searcher.propose(0)
    seen: set[str] = set()
    for number in range(1, 20):
        settings = searcher.propose(number)
        config = change(base, settings, "test")
        for path, value in settings.items():
            branch, leaf = path.split(".")
            arrived = getattr(getattr(config, branch), leaf)
            assert arrived == (tuple(value) if isinstance(arrived, tuple) else value)
            assert type(arrived) is not str or arrived in varied[path]
        seen |= settings.keys()
    assert seen == varied.keys()


def test_settings_are_spelled_in_short() -> None:
    settings = {"optim.lr": 0.00123456, "data.image_size": [64, 96], "train.batch_size": 8}
    assert axis_values(settings) == "lr=0.00123 image_size=[64,96] batch_size=8"
    alike = {"optim.name": "sgd", "optim.lr": 0.1, "schedule.name": "step"}
    assert axis_values(alike) == "optim.name=sgd lr=0.1 schedule.name=step"
