"""The version: one text in the code, also where nothing of the package is installed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NOT_INSTALLED = """
import runpy, sys
from importlib import metadata

find = metadata.distribution

def find_others(name):
    if name == "kptrain":
        raise metadata.PackageNotFoundError(name)
    return find(name)

metadata.distribution = find_others
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
"""What `python -m` does, where pip knows nothing of the package."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source alone, of a version that is installed nowhere."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("kptrain", "search"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "kptrain" / "__init__.py"
    text, count = re.subn('(?m)^__version__ = ".+"$', '__version__ = "98.7"', file.read_text())
    assert count == 1
    file.write_text(text)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("module", ["kptrain", "search.run"])
def test_a_copy_that_is_not_installed_says_its_version(copy: Path, module: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", NOT_INSTALLED, module, "--version"],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "kptrain 98.7\n", "")
