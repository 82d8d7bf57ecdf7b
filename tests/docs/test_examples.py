"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(name: str, folder: Path) -> list[str]:
    """What an example prints, line by line; it writes below `folder`."""
    (folder / "spaces").symlink_to(ROOT / "spaces")
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("page", ["README.md", "docs/own_training.md"])
def test_a_page_shows_the_training_of_ones_own_whole(page: str) -> None:
    text = (ROOT / "examples" / "ridge.py").read_text(encoding="utf-8")
    assert f"```python\n{text}```" in (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_training_from_python_reports_its_epochs(tmp_path: Path) -> None:
    lines = run("train.py", tmp_path)
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert (tmp_path / "runs" / "example" / "metrics.csv").exists()


@pytest.mark.slow
def test_a_search_from_python_gives_its_best_trial(tmp_path: Path) -> None:
    lines = run("search_settings.py", tmp_path)
    number, *_, value = lines[-1].split()
    assert 0 <= int(number) < 3
    assert float(value) > 0
    assert (tmp_path / "runs" / "example-search" / "best" / "config.yaml").exists()
