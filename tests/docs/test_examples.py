"""The examples run as they stand."""

import runpy
from contextlib import chdir
from pathlib import Path

import pytest
from without_ray import trials_in_this_process

from search.machine.signals import handlers_restored

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def run(name: str, folder: Path) -> None:
    """An example, which writes below `folder`."""
    (folder / "spaces").symlink_to(ROOT / "spaces")
    with chdir(folder), handlers_restored():
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")


@pytest.mark.parametrize("page", ["README.md", "docs/own_training.md"])
def test_a_page_shows_the_training_of_ones_own_whole(page: str) -> None:
    text = (ROOT / "examples" / "ridge.py").read_text(encoding="utf-8")
    assert f"```python\n{text}```" in (ROOT / page).read_text(encoding="utf-8")


def test_a_training_from_python_reports_its_epochs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("train.py", tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert (tmp_path / "runs" / "example" / "metrics.csv").exists()


def test_a_search_from_python_gives_its_best_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with trials_in_this_process():
        run("search_settings.py", tmp_path)
    number, *_, value = capsys.readouterr().out.splitlines()[-1].split()
    assert 0 <= int(number) < 3
    assert float(value) > 0
    assert (tmp_path / "runs" / "example-search" / "best" / "config.yaml").exists()
