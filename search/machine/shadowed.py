"""What lies in the working folder and would be imported by trials instead of what is installed."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The folder that this package was imported from, and `kptrain` with it."""

sys.path.insert(0, str(ROOT))  # not the `kptrain` of the working folder
from kptrain.machine import shadowed as hidden

sys.path.remove(str(ROOT))

NEEDED = (
    *("search", "kptrain", "ray", "optuna", "pyarrow", "fsspec", "grpc", "jinja2"),
    *hidden.NEEDED,
)
"""By trials; of Python's own modules Ray's processes have most before they look there."""


def check_not_hidden(folder: Path) -> None:
    """Trials look into the working folder first, as Ray has it for trainings of one's own.

    Raises: SettingsError if they would find another package of a needed name there.
    """
    hidden.check_names(folder, NEEDED, "trials")


def end_if_hidden(module: str) -> None:
    """End a module that is run by `python -m` in a folder that hides what it imports next."""
    hidden.end_if_hidden(module, NEEDED)
