"""Whole searches under a real Ray that learn from an earlier one."""

import json
from pathlib import Path

import pytest
from test_search import SMALL, rows, run, write_space

pytestmark = pytest.mark.slow

NUM_TRIALS = 7
"""One more than those that are drawn by chance."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space file, and a finished search of it in `first`."""
    folder = tmp_path_factory.mktemp("warm")
    base = SMALL | {"train": {"epochs": 1}}
    space = write_space(folder, base=base, trials=NUM_TRIALS)
    done = run("search.run", space, "--data", "embedded", "--out", "first", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_search_takes_the_trials_of_an_earlier_one_as_its_own(folder: Path) -> None:
    done = run(
        "search.run", "space.yaml", "--data", "embedded", "--warm-from", "first", "--trials", 2,
        "--out", "warm", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"\nWarm      {NUM_TRIALS} of {NUM_TRIALS} trials of first\n" in done.stdout
    cold, warm = rows(folder / "first"), rows(folder / "warm")
    assert warm[0]["optim.lr"] == cold[0]["optim.lr"] == "0.001"
    # With the same seed: what a cold search draws by chance, this one has chosen.
    assert warm[1]["optim.lr"] != cold[1]["optim.lr"]
    provenance = json.loads((folder / "warm" / "best" / "provenance.json").read_text())
    assert provenance["warm_from"] == [str(folder / "first")]
    assert json.loads((folder / "first/best/provenance.json").read_text())["warm_from"] == []


def test_a_search_of_another_training_is_refused_with_the_reason(folder: Path) -> None:
    done = run(
        "search.run", "space.yaml", "--data", "embedded", "--warm-from", "first", "--out", "other",
        "--set", "train.batch_size=6", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "error: first/trials.csv:2: train.batch_size must be 6, as it is in this search, but is 8; "
        "vary it, set it to the same value, or leave out --warm-from\n"
    )
    assert not (folder / "other").exists()
