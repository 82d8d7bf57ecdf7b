"""Finds files in the working folder that Python would import instead of installed packages.

Imports nothing that could itself be shadowed.
"""

import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path

from kptrain.errors import SettingsError

ROOT = Path(__file__).parents[2]
"""The folder that this package was imported from."""
NEEDED = (
    *("torch", "torchvision", "numpy", "pydantic", "yaml", "PIL", "filelock", "rich", "jaxtyping"),
    *("pycocotools", "wandb", "tensorboardX", "matplotlib"),
)
"""Packages that trainings import."""


def check_names(folder: Path, names: Iterable[str], importer: str) -> None:
    """Raises: SettingsError if `importer` would find a package of one of the names in a folder."""
    if folder.resolve() == ROOT.resolve():
        return
    for name in names:
        found = PathFinder.find_spec(name, [str(folder)])
        if found is not None and found.origin is not None:  # else a folder that is not a package
            raise SettingsError(
                f"{found.origin}: must not have the name of the installed package {name}, as "
                f"{importer} would import it instead; rename it, or work in another folder"
            )


def end_if_hidden(module: str, names: Iterable[str] = NEEDED) -> None:
    """Exit with code 2 if `python -m` runs a module in a folder that shadows a package it needs."""
    if module != "__main__" or sys.flags.safe_path:  # else Python does not look there first
        return
    try:
        check_names(Path.cwd(), names, "Python")
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
