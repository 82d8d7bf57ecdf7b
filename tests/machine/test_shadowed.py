"""A folder to work in that holds what trials would import instead of this package."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from kptrain.errors import SettingsError
from search.machine.shadowed import NEEDED, ROOT, check_not_hidden

COMMAND = Path(sys.executable).with_name("kptrain-search")


@pytest.mark.parametrize(
    "name", ["search.py", "kptrain.py", "search/__init__.py", "kptrain/__init__.py", "torch.py"]
)
def test_what_would_be_imported_instead_is_named_with_the_package_that_it_hides(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    package = Path(name).parts[0].removesuffix(".py")
    with pytest.raises(SettingsError, match=f"of the installed package {package}, ") as caught:
        check_not_hidden(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_checkout_a_folder_of_files_and_other_names_hide_nothing(tmp_path: Path) -> None:
    for name in ("search/space.yaml", "kptrain/data/a.jpg", "wandb/run/a.wandb", "research.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    check_not_hidden(tmp_path)
    check_not_hidden(ROOT)


@pytest.mark.skipif(not COMMAND.exists(), reason="the package is not installed here")
def test_the_installed_command_says_so_in_one_line_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "search.py").write_text("from search import run_search\n")
    (tmp_path / "space.yaml").write_text("space: {optim.lr: [1e-4, 1e-3]}\ntrials: 3\n")
    done = subprocess.run(
        [COMMAND, "space.yaml", "--data", "embedded"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'search.py'}: must not have the name")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_every_package_that_this_one_requires_is_looked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {re.split(r"[^\w-]", line)[0].lower() for line in project["dependencies"]}
    modules = packages_distributions()
    found = {name.lower() for module in NEEDED for name in modules.get(module, [])}
    assert required <= found


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("search.run", "kptrain.py"),
        ("search.run", "yaml.py"),
        ("search.report", "numpy/__init__.py"),
        ("kptrain", "torch.py"),
    ],
)
def test_a_module_run_by_python_names_what_hides_its_imports_in_one_line(
    tmp_path: Path, module: str, name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {path}: must not have the name of the installed package")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_training_alone_minds_no_file_that_only_a_search_would_import(tmp_path: Path) -> None:
    for name in ("search.py", "ray.py"):
        (tmp_path / name).write_text("raise RuntimeError\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "kptrain", "--help"]
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
