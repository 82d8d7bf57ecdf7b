"""Whole searches that learn from an earlier one."""

import json
import shutil
from pathlib import Path

import pytest
from in_process import run_here
from search_commands import rows
from without_ray import search_alone

from search.run import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space file, and a finished search of it in `first`."""
    folder = tmp_path_factory.mktemp("warm")
    shutil.copytree(whole, folder / "first")
    shutil.copyfile(whole / "space.yaml", folder / "space.yaml")
    return folder


def test_a_search_takes_the_trials_of_an_earlier_one_as_its_own(folder: Path) -> None:
    done = search_alone(
        "space.yaml", "--data", "embedded", "--warm-from", "first", "--trials", 2,
        "--out", "warm", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\nWarm      5 of 5 trials of first\n" in done.stdout
    cold, warm = rows(folder / "first"), rows(folder / "warm")
    assert warm[0]["optim.lr"] == cold[0]["optim.lr"] == "0.001"
    # With the same seed: what a cold search draws by chance, this one has chosen.
    assert warm[1]["optim.lr"] != cold[1]["optim.lr"]
    provenance = json.loads((folder / "warm" / "best" / "provenance.json").read_text())
    assert provenance["warm_from"] == [str(folder / "first")]
    assert json.loads((folder / "first/best/provenance.json").read_text())["warm_from"] == []


def test_a_search_of_another_training_is_refused_with_the_reason(folder: Path) -> None:
    done = run_here(
        main, "space.yaml", "--data", "embedded", "--warm-from", "first", "--out", "other",
        "--set", "train.batch_size=6", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "error: --warm-from first: trial 0: train.batch_size must be 6, as it is in this search, "
        "but is 8; vary it, set it to the same value, or leave out --warm-from\n"
    )
    assert not (folder / "other").exists()
