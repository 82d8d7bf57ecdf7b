"""Whole searches under a real Ray, through the command that users run."""

import json
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from search_commands import (
    SMALL,
    rows,
    run,
    watch,
    write_space,
)
from without_ray import search_alone

from kptrain.config import BEST, TrainConfig, save_config
from kptrain.machine.cores import usable_cores
from kptrain.model.checkpoint import load_checkpoint
from kptrain.resolve import flatten, resolve
from kptrain.tree import without_effect
from search.journal.journal import JOURNAL, read_events
from search.machine.gpus import CONTEXT

pytestmark = pytest.mark.slow

FOUR_AXES = {
    "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "train.batch_size": [4, 6, 8],
    "schedule.step_epochs": {"low": 1, "high": 10},
    "schedule.gamma": {"low": 0.1, "high": 0.9},
}


def actors(dashboard: str) -> str:
    """What the dashboard lists of actors, as its page fetches it."""
    token = (Path.home() / ".ray" / "auth_token").read_text().strip()
    request = urllib.request.Request(  # noqa: S310  (on loopback)
        f"{dashboard}/logical/actors", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return str(answer.read().decode())


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One search, watched through its dashboard while it runs."""
    folder = tmp_path_factory.mktemp("search")
    told = {"wandb": {"mode": "offline"}, "tensorboard": {"enabled": True}, "train": {"epochs": 3}}
    space = write_space(folder, base=SMALL | told, space=FOUR_AXES)
    listed: list[str] = []
    addresses: list[str] = []

    def look(_: int, line: str) -> None:
        if found := re.match(r"Dashboard (http://\S+)", line):
            addresses.append(found[1])
            listed.append(_first_trial_listed(found[1]))
        if "4/5 trials ended" in line and len(listed) == 1:
            listed.append(actors(addresses[0]))

    done = watch(space, folder, look)
    return {
        "folder": folder,
        "out": folder / "out",
        "said": done.stdout,
        "code": done.returncode,
        "actors": listed[0],
        "late_actors": listed[-1],
    }


def _first_trial_listed(dashboard: str) -> str:
    for _ in range(100):
        listed = actors(dashboard)
        if "trial 000" in listed:
            break
        time.sleep(0.2)
    return listed


def test_a_search_ends_well_and_says_only_its_own_words(search: dict[str, Any]) -> None:
    assert search["code"] == 0, search["said"]
    said = search["said"]
    assert said.startswith("Data: EMBEDDED")
    assert "Traceback" not in said
    assert "WARNING" not in said.upper()
    assert "\x1b" not in said
    assert "5/5 trials ended" in said
    assert re.search(r"^Rerun     python -m kptrain out/best/config.yaml$", said, re.M)


def test_the_dashboard_is_on_loopback_and_lists_trials_by_number_and_settings(
    search: dict[str, Any],
) -> None:
    assert re.search(r"^Dashboard http://127\.0\.0\.1:\d+ ", search["said"], re.M)
    assert "trial 000 lr=0.001" in search["actors"]


def test_the_table_holds_every_trial_and_every_epoch(search: dict[str, Any]) -> None:
    table = rows(search["out"])
    assert {row["trial"] for row in table} == set("01234")
    for number in "01234":
        epochs = [int(row["epoch"]) for row in table if row["trial"] == number]
        assert epochs == list(range(1, len(epochs) + 1))
        state = next(row["state"] for row in table if row["trial"] == number)
        assert state == ("completed" if len(epochs) == 3 else "stopped")
    assert "stopped" in {row["state"] for row in table}
    assert len({row["optim.lr"] for row in table}) == 5
    assert table[0]["optim.lr"] == "0.001"


def assert_arrived(out: Path, paths: list[str]) -> None:
    """What each trial trained with, as `fit` itself kept it, is what was proposed."""
    table = {row["trial"]: row for row in rows(out)}
    kept = {
        number: flatten(yaml.safe_load((out / f"trials/{int(number):03d}/config.yaml").read_text()))
        for number in table
    }
    for path in paths:
        assert [str(kept[n][path]) for n in table] == [row[path] for row in table.values()]
        assert len({row[path] for row in table.values()}) > 1, f"{path} was not varied"


def test_every_sampled_setting_arrives_in_the_training(search: dict[str, Any]) -> None:
    assert_arrived(search["out"], list(FOUR_AXES))
    # And is what the training goes by: the table's rate is the schedule's of these settings.
    for row in rows(search["out"]):
        steps = (int(row["epoch"]) - 1) // int(row["schedule.step_epochs"])
        rate = float(row["optim.lr"]) * float(row["schedule.gamma"]) ** steps
        assert float(row["lr"]) == pytest.approx(rate)


def test_the_promoted_trial_is_the_best_completed_one(search: dict[str, Any]) -> None:
    completed = [row for row in rows(search["out"]) if row["state"] == "completed"]
    best = min(completed, key=lambda row: float(row["val_loss"]))
    provenance = json.loads((search["out"] / "best" / "provenance.json").read_text())
    assert provenance["trial"] == int(best["trial"])
    assert provenance["value"] == float(best["val_loss"])
    assert f"trial {best['trial']} (completed)" in search["said"]
    config = yaml.safe_load((search["out"] / "best" / "config.yaml").read_text())
    assert config["optim"]["lr"] == float(best["optim.lr"])
    assert config["train"]["threads"] == 1
    without = without_effect(TrainConfig())  # as of a choice that was not made
    assert flatten(config).keys() == flatten(TrainConfig().model_dump()).keys() - set(without)


def test_each_trial_is_a_run_at_weights_and_biases_and_the_winner_an_artifact_of_another(
    search: dict[str, Any],
) -> None:
    out = search["out"]
    logs = "wandb/offline-run-*/run-*.wandb"  # a folder each time one goes on; the run's id below
    ids = [{log.name for log in trial.glob(logs)} for trial in (out / "trials").iterdir()]
    assert [len(found) for found in ids] == [1] * 5
    (last,) = out.glob(logs)
    assert len(set.union({last.name}, *ids)) == 6
    assert (out / "best" / BEST).name.encode() in last.read_bytes()


def test_each_trial_has_files_of_tensorboard(search: dict[str, Any]) -> None:
    for trial in (search["out"] / "trials").iterdir():
        assert list(trial.glob("tensorboard/events.*"))


def test_the_winners_folder_is_complete(search: dict[str, Any]) -> None:
    best = search["out"] / "best"
    names = {path.name for path in best.iterdir()}
    tables = {"metrics.csv", "timing.csv"}
    assert (
        names == {BEST, "config.yaml", "predictions.png", "worst.png", "provenance.json"} | tables
    )
    provenance = json.loads((best / "provenance.json").read_text())
    assert provenance["space_text"] == (search["folder"] / "space.yaml").read_text()
    assert len(provenance["data"]["fingerprint"]["train"]) == 64
    assert provenance["versions"]["torch"] == torch.__version__.partition("+")[0]
    checkpoint = load_checkpoint(best / BEST)
    assert checkpoint["metrics"]["val_loss"] == provenance["value"]


def test_no_other_checkpoint_is_left(search: dict[str, Any]) -> None:
    left = sorted(path.name for path in (search["out"] / "trials").rglob("*.p*t*"))
    assert left == [BEST]


def test_real_photographs_are_searched_by_ap_and_counted(tmp_path: Path, coco_sample: Path) -> None:
    small = {
        "model.trunk": "shufflenet_v2_x0_5",
        "model.weights": "none",
        "model.deconv_channels": [16, 16, 16],
        "data.image_size": [64, 64],
        "train.epochs": 4,
    }
    options = [part for path, value in small.items() for part in ("--set", f"{path}={value}")]
    full = (Path(__file__).parents[2] / "spaces" / "full.yaml").read_text()
    space = tmp_path / "full.yaml"
    space.write_text(full.replace("{top: 3, seeds: 3}", "{top: 1, seeds: 2}"))
    done = search_alone(
        space, "--data", coco_sample, "--trials", 3, "--out", "out", *options, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "train: 115 images with 324 labelled persons" in done.stdout
    assert "val: 84 images with 236 labelled persons" in done.stdout
    assert {row["trial"] for row in rows(tmp_path / "out")} == {"0", "1", "2"}
    assert_arrived(tmp_path / "out", ["heatmap.sigma_px", "train.batch_size", "optim.lr"])


def test_trials_follow_each_other_in_the_same_processes(search: dict[str, Any]) -> None:
    listed = json.loads(search["late_actors"])["data"]["actors"].values()
    trials = [actor for actor in listed if "trial 0" in actor["reprName"]]
    assert 1 <= len(trials) <= usable_cores() < 5


@pytest.mark.gpu
def test_trials_share_one_gpu_within_their_fractions(tmp_path: Path) -> None:
    space = write_space(tmp_path, resources={"gpu": 0.25}, trials=4)
    done = run("search.run", space, "--data", "embedded", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    epochs = [e for e in read_events(tmp_path / "out" / JOURNAL) if e["event"] == "epoch"]
    assert {e["device"].partition(",")[0] for e in epochs} == {torch.cuda.get_device_name()}
    used = [float(row["peak_memory_bytes"]) for row in rows(tmp_path / "out")]
    assert max(used) < 0.25 * torch.cuda.get_device_properties(0).total_memory - CONTEXT


def test_a_saved_config_of_a_search_is_a_config_of_kptrain(tmp_path: Path) -> None:
    config = resolve({"data.root": "embedded"}, "test")
    save_config(config, tmp_path / "config.yaml")
    assert resolve(flatten(yaml.safe_load((tmp_path / "config.yaml").read_text())), "x") == config
