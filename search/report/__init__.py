"""The report of a search, as a page and as a picture."""

import os
from pathlib import Path


def use_writable_folder() -> None:
    """Let matplotlib keep its fonts in our cache if the home folder is not writable; otherwise it
    prints a warning."""
    if os.environ.get("MPLCONFIGDIR"):
        return
    try:
        for name, usual in (("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache")):
            folder = Path(os.environ.get(name) or Path.home() / usual) / "matplotlib"
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        from kptrain.data.pack import cache_dir  # noqa: PLC0415  (imports numpy)

        os.environ["MPLCONFIGDIR"] = str(cache_dir() / "matplotlib")


use_writable_folder()  # before any module of this package imports matplotlib
