"""The benches: their peer trains the same thing, their figures are what was timed, they all run."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from small_trainings import changed, read_metrics

from bench import gather, measure, overhead, textbook, whole_search
from bench.command import Said
from bench.measure import in_turns, ratio, spread
from bench.repeated import repeat
from kptrain.annotations.reader import read_split
from kptrain.config import TrainConfig
from kptrain.data.pack import open_pack
from kptrain.files.layout import SplitName
from kptrain.training.batches import batches, targets

ROOT = Path(__file__).parents[2]


def test_things_are_timed_alternately_after_one_untimed_round() -> None:
    called: list[str] = []
    things = {name: lambda name=name: called.append(name) for name in "ab"}
    seconds = in_turns(things, repetitions=3, amount=2)
    assert "".join(called) == "ab" + "ababab"
    assert [len(times) for times in seconds.values()] == [3, 3]


@pytest.mark.parametrize(
    ("slow", "fast", "told"),
    [
        ([4, 6, 8], [2, 2, 2], "3.00 (2.00 to 4.00) x"),
        ([1, 9, 1], [1, 3, 2], "1.00 (0.50 to 3.00) x"),
    ],
)
def test_a_ratio_is_of_neighbours(slow: Sequence[float], fast: Sequence[float], told: str) -> None:
    assert ratio(slow, fast) == told
    assert spread([1000.4, 3000.0, 2000.0], 0) == "2,000 (1,000 to 3,000)"


def test_the_textbook_learns_from_the_same_samples_targets_and_masks(config: TrainConfig) -> None:
    data = textbook.KeypointDataset(config, "train")
    pack = open_pack(config.data, "train")
    (batch,) = batches(pack, np.arange(len(pack)), len(pack), torch.device("cpu"))
    wanted = targets(batch, config)
    for number in range(len(data)):
        image, heatmaps, mask = data[number]
        assert (image - batch.images[number]).abs().max() < 1e-5
        assert (heatmaps - wanted[number]).abs().max() < 1e-5
        assert torch.equal(mask, batch.mask[number])


def test_the_textbooks_curve_is_ours_up_to_rounding(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    curve = list(textbook.train(changed(config, "train.epochs", 2), tmp_path, num_workers=0))
    for (train_loss, val_loss), ours in zip(
        curve, read_metrics(uninterrupted / "metrics.csv"), strict=False
    ):
        assert train_loss == pytest.approx(ours["train_loss"], rel=0.01)
        assert val_loss == pytest.approx(ours["val_loss"], rel=0.01)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["epoch1.pth", "epoch2.pth"]


SAID = Said(
    [
        (1.0, "Trials    2, judged by val_loss; the first has the defaults\n"),
        (4.0, "Starting Ray ...\n"),
        (
            9.0,
            "0:00:05  trial  1  lr=0.1  epoch  1/2  val_loss 0.25  | best val_loss 0.25, at most\n",
        ),
        (
            9.5,
            "0:00:06  trial  0  lr=0.2  epoch  1/2  val_loss 0.5  | best val_loss 0.25, at most\n",
        ),
        (9.6, "0:00:06  trial  0  lr=0.2  stopped after epoch 1  best val_loss 0.5  | 1/2 ended\n"),
        (9.7, "reached 0.125\n"),
    ],
    total=10.0,
)


def test_the_output_of_a_search_is_read_with_its_times(tmp_path: Path) -> None:
    assert whole_search.reached(SAID, whole_search.OURS) == [(9.0, 0.25), (9.5, 0.5)]
    assert whole_search.reached(SAID, whole_search.TEXTBOOKS) == [(9.7, 0.125)]
    (tmp_path / "trials.csv").write_text("trial,epoch,seconds\n0,1,3.5\n1,1,2.0\n1,2,9\n")
    assert overhead.first_step(SAID, tmp_path) == 7.0
    assert SAID.at("epoch  1/") == 9.0
    assert SAID.last("epoch  1/") == 9.5


@pytest.mark.parametrize("has_git", [True, False])
def test_a_row_is_added_where_there_is_no_commit(
    has_git: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_git:
        monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr("sys.argv", ["bench/epoch.py", "--record"])
    measure.record(argparse.Namespace(record=True), "3 s")
    assert f"| no commit | {measure.cpu_name()} | `python -m bench.epoch` | 3 s |" in (
        measure.RESULTS.read_text()
    )


def test_what_a_process_maps_of_a_file_is_counted(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(1_000_000, dtype=np.uint8))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert mapped.sum() == 1_000_000
    resident, own = gather.mapped_bytes(os.getpid(), str(tmp_path / "a.npy"))
    assert 1_000_000 <= resident <= 1_010_000
    assert own == resident


def test_a_repeated_data_set_has_the_given_number_of_images_each_with_its_persons(
    small_coco: Path, tmp_path: Path
) -> None:
    root = repeat(small_coco, tmp_path / "more", num_train=50, num_val=13)
    splits: list[tuple[SplitName, int, int]] = [("train", 24, 50), ("val", 12, 13)]
    for name, once, least in splits:
        before, after = (read_split(r, name).images for r in (small_coco, root))
        times = -(-least // once)
        assert len(after) == times * len(before) >= least
        for number, image in enumerate(after):
            original = before[number % len(before)]
            assert image.path.resolve() == original.path.resolve()
            assert len(image.persons) == len(original.persons)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("targets", "loop / ours"),
        ("validation", "pycocotools / ours"),
        ("decoding", "Pillow / torchvision"),
    ],
)
def test_a_bench_runs_and_shows_its_ratio(script: str, told: str) -> None:
    command = [sys.executable, "-m", *f"bench.{script}".split(), "--repetitions", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert told in done.stdout
