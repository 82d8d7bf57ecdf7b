"""Checks for files in the working folder that trials would import instead of installed packages."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The folder that holds this package and `kptrain`."""

sys.path.insert(0, str(ROOT))  # so that no `kptrain` in the working folder is imported
from kptrain.machine import shadowed as hidden

sys.path.remove(str(ROOT))

NEEDED = (
    *("search", "kptrain", "ray", "optuna", "pyarrow", "fsspec", "grpc", "jinja2"),
    *hidden.NEEDED,
)
"""Packages that trials import; most modules of Python itself are imported before the folder
counts."""


def check_not_hidden(folder: Path) -> None:
    """Check the working folder, which trials search first, as Ray does for a user's own training.

    Raises: SettingsError if it holds a module with the name of a needed package.
    """
    hidden.check_names(folder, NEEDED, "trials")


def end_if_hidden(module: str) -> None:
    """End a module run by `python -m` if the working folder hides a package that it imports."""
    hidden.end_if_hidden(module, NEEDED)
