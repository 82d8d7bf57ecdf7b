"""What lies in the working folder and would be imported instead of what is installed.

Imports nothing that could be hidden itself.
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
"""By trainings."""


def check_names(folder: Path, names: Iterable[str], whom: str) -> None:
    """Raises: SettingsError if `whom` would find another package of one of the names there."""
    if folder.resolve() == ROOT.resolve():
        return
    for name in names:
        found = PathFinder.find_spec(name, [str(folder)])
        if found is not None and found.origin is not None:  # else a folder that is no package
            raise SettingsError(
                f"{found.origin}: must not have the name of the installed package {name}, as "
                f"{whom} would import it instead; rename it, or work in another folder"
            )


def end_if_hidden(module: str, names: Iterable[str] = NEEDED) -> None:
    """End a module that is run by `python -m` in a folder that hides what it imports next."""
    if module != "__main__" or sys.flags.safe_path:  # else Python does not look there first
        return
    try:
        check_names(Path.cwd(), names, "Python")
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
