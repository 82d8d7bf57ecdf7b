"""What lies in the working folder and would be imported by trials instead of what is installed."""

from importlib.machinery import PathFinder
from pathlib import Path

from kptrain.errors import SettingsError

ROOT = Path(__file__).parents[1]
"""The folder that this package was imported from, and `kptrain` with it."""
NEEDED = (
    *("search", "kptrain", "torch", "torchvision", "ray", "optuna", "numpy", "pydantic", "yaml"),
    *("PIL", "filelock", "rich", "pycocotools", "wandb", "tensorboardX", "matplotlib", "pyarrow"),
    *("fsspec",),
)
"""By trials; of Python's own modules Ray's processes have most before they look there."""


def check_not_hidden(folder: Path) -> None:
    """Trials look into the working folder first, as Ray has it for trainings of one's own.

    Raises: SettingsError if they would find another package of a needed name there.
    """
    if folder.resolve() == ROOT.resolve():
        return
    for name in NEEDED:
        found = PathFinder.find_spec(name, [str(folder)])
        if found is not None and found.origin is not None:  # else a folder that is no package
            raise SettingsError(
                f"{found.origin}: must not have the name of the installed package {name}, as "
                f"trials would import it instead; rename it, or run the search from another folder"
            )
