"""What a machine without a network is given: what it lacks, and of Ray what is used."""

import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bench.gpu import wheels


def test_all_that_is_imported_is_taken_along_but_what_comes_with_torch() -> None:
    taken = wheels.needed("3.12", there={})
    assert {"ray", "optuna", "alembic", "pydantic-core", "aiohttp-cors", "pytest"} <= set(taken)
    assert not {"torch", "torchvision", "triton", "numpy", "pillow", "filelock"} & set(taken)
    pins = wheels.read_names(wheels.ROOT / "constraints.txt")
    assert set(taken) <= set(pins)
    assert all(version(name) for name in taken)


def test_what_the_machine_has_is_left_out_with_all_that_this_needs(tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("Optuna==5.0.0\npyarrow==1.0\nwandb\n# a note\n")
    there = wheels.read_names(tmp_path / "there.txt")
    assert there == {"optuna": "5.0.0", "pyarrow": "1.0", "wandb": ""}
    taken = wheels.needed("3.12", there)
    assert not {"optuna", "alembic", "wandb"} & set(taken)
    assert "pyarrow" in taken  # that one is too old


@pytest.mark.parametrize(
    ("there", "is_enough"), [(None, False), ("", True), ("2.0", True), ("1.9", False)]
)
def test_a_version_suffices_where_it_is_one_that_is_wanted(
    there: str | None, is_enough: bool
) -> None:
    assert wheels.suffices(Requirement("a>=2"), there) is is_enough


def test_a_torch_that_the_package_does_not_take_is_refused() -> None:
    wheels.check_torch("2.11")
    with pytest.raises(SystemExit, match=r"TORCH: must be >=2\.\d+, but got 2\.1; update it there"):
        wheels.check_torch("2.1")


FILES = {
    "ray/__init__.py": "print('here')\n",
    "ray/jars/a.jar": "large",
    "ray/rllib/__init__.py": "",
    "ray/tune/llm.py": "",
    "ray/dashboard/client/build/static/a.js.map": "",
    "ray-2.dist-info/METADATA": "Metadata-Version: 2.1\nName: ray\nVersion: 2\n",
    "ray-2.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}


def test_a_slim_ray_can_be_installed_and_lists_what_it_has(tmp_path: Path) -> None:
    wheel = tmp_path / "ray-2-py3-none-any.whl"
    listed = [*FILES, "ray-2.dist-info/RECORD"]
    with zipfile.ZipFile(wheel, "w") as file:
        for name, text in FILES.items():
            file.writestr(name, text)
        file.writestr(listed[-1], "".join(f"{name},,\n" for name in listed))
    wheels.slim(wheel)
    kept = [name for name in listed if not wheels.UNUSED.match(name)]
    with zipfile.ZipFile(wheel) as file:
        assert file.namelist() == kept
        record = file.read("ray-2.dist-info/RECORD").decode()
    assert record == "".join(f"{name},,\n" for name in kept)
    pip = [sys.executable, "-m", "pip", "--isolated", "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(wheel)], check=True)
    assert sorted(path.name for path in (tmp_path / "site" / "ray").iterdir()) == [
        "__init__.py",
        "__pycache__",
        "tune",
    ]
