"""What a search has found so far, as a page and as a picture."""

import os
from pathlib import Path


def find_room() -> None:
    """Let matplotlib keep its fonts in our cache where the home folder cannot be written: it would
    say in two lines that it has made a folder."""
    if not os.environ.get("MPLCONFIGDIR") and not _home_has_room():
        from kptrain.data.pack import cache_dir  # noqa: PLC0415  (the folder may hide numpy)

        os.environ["MPLCONFIGDIR"] = str(cache_dir() / "matplotlib")


def _home_has_room() -> bool:
    try:
        for name, usual in (("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache")):
            folder = Path(os.environ.get(name) or Path.home() / usual) / "matplotlib"
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                return False
    except (OSError, RuntimeError):  # no home at all
        return False
    return True


find_room()  # before any module of this package imports matplotlib
