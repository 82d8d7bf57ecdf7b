"""What trials have of a GPU under a real Ray, on a node that only says that it has one."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import search_here
from search_commands import ONE_GPU, SMALL, cluster_of, rows, run, write_space

from search.journal.journal import JOURNAL, read_events

pytestmark = pytest.mark.slow

TRAINING = """
import os
import torch
from search import Metric, OwnTraining, Settings

torch.cuda.is_available = lambda: True
torch.cuda.mem_get_info = lambda: (0, 2 * 10**9)
caps = []
torch.cuda.set_per_process_memory_fraction = caps.append

class Config(Settings):
    lr: float = 0.1
    epochs: int = 1

def fit(config, folder):
    sees = float(os.environ["CUDA_VISIBLE_DEVICES"] != "")
    yield {"epoch": 1, "loss": config.lr, "sees": sees, "cap": caps[-1] if caps else 0.0}

SHARES = OwnTraining(Config, fit, [Metric("loss")])
NONE = OwnTraining(Config, fit, [Metric("loss")], uses_gpu=False)
"""
"""On a GPU of 2 GB, as torch says."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with cluster_of(ONE_GPU) as there:
        yield there


def test_a_share_that_cuda_fills_is_tried_again_twice_as_large_and_no_share_sees_no_gpu(
    address: str, tmp_path: Path
) -> None:
    (tmp_path / "of_shares.py").write_text(TRAINING)
    space = tmp_path / "space.yaml"
    space.write_text(
        "space: {lr: {low: 0.1, high: 0.2}}\ntrials: 2\nasha: {grace_epochs: 1}\n"
        "resources: {gpu: 0.25}\n"
    )
    for name in ("SHARES", "NONE"):
        done = run(
            "search.run", space, "--trainable", f"of_shares:{name}", "--address", address,
            "--out", name, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        again = re.findall(r"to be resumed after epoch 0: resources\.gpu: .* 0\.25 of", done.stdout)
        assert len(again) == (2 if name == "SHARES" else 0)
    with_share, without = (reports(tmp_path / name) for name in ("SHARES", "NONE"))
    assert with_share == [{"sees": 1.0, "cap": 0.25}] * 2  # a half of 2 GB, less 0.5
    assert without == [{"sees": 0.0, "cap": 0.0}] * 2


def reports(folder: Path) -> list[dict[str, float]]:
    epochs = [event for event in read_events(folder / JOURNAL) if event["event"] == "epoch"]
    return [{name: event["report"][name] for name in ("sees", "cap")} for event in epochs]


def test_a_trial_out_of_memory_gets_a_larger_share_once_and_harms_no_other(
    address: str, tmp_path: Path
) -> None:
    channels = [[16, 16, 16], [16, 16, 200_000_000]]
    space = write_space(
        tmp_path,
        base={"data": SMALL["data"], "heatmap": SMALL["heatmap"], "train": {"epochs": 3}},
        space={"model.deconv_channels": channels},
        start=[{"model.deconv_channels": channels[1]}],
        metric="val_ap",
        trials=2,
        seed=1,
        resources={"gpu": 0.25},
    )
    done = search_here(address, space, "--data", "embedded", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path / "out")
    failed = [row for row in table if row["trial"] == "1"]
    assert [row["state"] for row in failed] == ["failed"]
    assert failed[0]["error"].startswith("the training must fit into memory, but with train.batch")
    assert failed[0]["error"].endswith("(tried with 0.25 and 0.5 of a GPU)")
    again = [line for line in done.stdout.splitlines() if "to be resumed after epoch 0" in line]
    assert len(again) == sum(row["state"] == "failed" for row in table)
    assert {row["state"] for row in table if row["trial"] != "1"} <= {
        "completed",
        "stopped",
        "failed",
    }
    assert "completed" in {row["state"] for row in table}
