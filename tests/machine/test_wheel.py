"""The package as it is installed from its wheel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kptrain

ROOT = Path(__file__).parents[2]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with what the wheel installs, and nothing of the checkout."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = tmp_path / "source"  # a build leaves files in it
    for name in ("kptrain", "search"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    wheels = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*pip, *wheels, str(source)], check=True)
    (wheel,) = tmp_path.glob(f"kptrain-{kptrain.__version__}-*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    return site


@pytest.mark.slow
def test_a_search_runs_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name in ("ridge.py", "ridge.yaml"):
        (own / name).write_bytes((ROOT / "examples" / name).read_bytes())
    environment = os.environ | {"PYTHONPATH": str(installed)}
    found = subprocess.run(
        [sys.executable, "-c", "import kptrain, search; print(kptrain.__file__, search.__file__)"],
        cwd=own,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert all(Path(path).is_relative_to(installed) for path in found)
    command = installed / "bin" / "kptrain-search"
    done = subprocess.run(
        [command, "ridge.yaml", "--trainable", "ridge:RIDGE", "--trials", "3", "--out", "out"],
        cwd=own,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (own / "out" / "best" / "config.yaml").exists()
    assert (
        "embedded"
        in subprocess.run(
            [installed / "bin" / "kptrain", "train", "--help"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
