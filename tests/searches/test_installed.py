"""Two searches of the installed package that are begun at once, each with a Ray of its own: one of
them on one core, with a home that cannot be written."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import kptrain
from search import read_history

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OWN = """
import ray
import kptrain, search
from search import Metric, OwnTraining, Settings

class Own(Settings):
    x: float = 0.5
    epochs: int = 2

def fit(config, folder):
    (folder / "packages").write_text(f"{kptrain.__file__} {search.__file__}")
    for epoch in (1, 2):
        yield {"epoch": epoch, "loss": config.x, "cores": ray.cluster_resources()["CPU"]}

OWN = OwnTraining(Own, fit, [Metric("loss"), Metric("cores")], uses_gpu=False)
"""
SPACE = "space: {x: {low: 0.0, high: 1.0}}\ntrials: 2\nasha: {grace_epochs: 2}\n"


@dataclass(frozen=True)
class Searches:
    """What both wrote, and what the one on one core printed."""

    folder: Path
    site: Path
    """Where the package is installed."""
    home: Path
    output: str
    errors: str


def install(folder: Path) -> Path:
    """A folder with what the wheel installs, and nothing of the checkout."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = folder / "source"  # a build leaves files in it
    for name in ("kptrain", "search"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    wheels = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, *wheels, str(source)], check=True)
    (wheel,) = folder.glob(f"kptrain-{kptrain.__version__}-*.whl")
    site = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    return site


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> Searches:
    folder = tmp_path_factory.mktemp("installed")
    site, here, home = install(folder), folder / "here", folder / "home"
    here.mkdir()
    (here / "own_training.py").write_text(OWN)
    (here / "space.yaml").write_text(SPACE)
    home.touch()  # which nobody can write into, not even root
    environment = os.environ | {"PYTHONPATH": str(site)}
    search = [str(site / "bin" / "kptrain-search"), "space.yaml", "--trainable", "own_training:OWN"]
    on_one_core = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    both = [
        subprocess.Popen(
            [*before, *search],
            cwd=here,
            env=environment | others,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for before, others in (([], {}), (on_one_core, {"HOME": str(home)}))
    ]
    (_, other), (output, errors) = [one.communicate(timeout=300) for one in both]
    assert [one.returncode for one in both] == [0, 0], other + output + errors
    return Searches(here, site, home, output, errors)


def test_both_end_each_with_a_folder_of_its_own(searches: Searches) -> None:
    folders = list((searches.folder / "runs").iterdir())
    assert len(folders) == 2
    assert all((folder / "best" / "config.yaml").exists() for folder in folders)
    assert all((folder / "report.html").exists() for folder in folders)


def test_all_of_it_is_the_wheels(searches: Searches) -> None:
    used = [path.read_text().split() for path in searches.folder.rglob("packages")]
    assert len(used) == 4
    assert all(Path(path).is_relative_to(searches.site) for paths in used for path in paths)
    done = subprocess.run(
        [searches.site / "bin" / "kptrain", "train", "--help"],
        env=os.environ | {"PYTHONPATH": str(searches.site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "embedded" in done.stdout


def test_on_one_core_of_several_one_trial_runs_at_once(
    searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "At once   1 on this machine (1 CPU" in searches.output
    monkeypatch.chdir(searches.folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = re.search(r"--resume (\S+)|^Saved +(\S+)/best$", searches.output, re.M)
    assert found is not None
    trials = read_history(found[1] or found[2], "own_training:OWN").record.trials
    assert [report["cores"] for trial in trials for report in trial.curve] == [1] * 4


def test_a_home_that_cannot_be_written_is_not_needed_and_the_command_for_the_token_is_right(
    searches: Searches,
) -> None:
    assert searches.errors == ""  # nor does matplotlib look for it
    found = re.search(r"\(its token: (.*)\)", searches.output)
    assert found is not None
    setting, _, call = found[1].partition(" ")
    name, _, path = setting.partition("=")
    program = Path(sys.executable).with_name("ray")
    assert [name, call.split()[-1]] == ["RAY_AUTH_TOKEN_PATH", "get-auth-token"]
    token = subprocess.run(
        [program, "get-auth-token"], env=os.environ | {"HOME": str(searches.home), name: path},
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert len(token) == 64
    assert token == Path(path).read_text()
    assert Path(path).stat().st_mode & 0o777 == 0o600
