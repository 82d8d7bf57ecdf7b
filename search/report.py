"""The command `python -m search.report`: what a search came to so far, as a page and a picture.

Reads the folder alone: the search may run, have been killed, or be at its end.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from search.hidden import end_if_hidden

end_if_hidden(__name__)  # before all that the working folder may hide

from kptrain.console import spell_out_unknown
from kptrain.errors import KptrainError, spelt_out
from search import plot_cache  # noqa: F401  (before matplotlib)
from search.history import read_history
from search.named import add_trainable, trainable_named
from search.page import page_of, won, won_with
from search.plots import for_a_chat
from search.svg import drawing
from search.trainable import Trainable

PAGE = "report.html"
CHAT = "report.png"


def write_report(folder: Path, trainable: Trainable[Any]) -> Path:
    """Write `report.html` and `report.png` into a search's folder; returns the first.

    Raises: CheckpointError or SettingsError if it holds no search.
    """
    history = read_history(folder, trainable)
    _replace(folder / PAGE, page_of(history).encode())
    with drawing():
        temporary = folder / f".{CHAT}.tmp"
        title = f"{folder.absolute().name}: {won(history)}\n{won_with(history)}".strip()
        for_a_chat(history, title).savefig(temporary, format="png", dpi=110)
    temporary.replace(folder / CHAT)
    return folder / PAGE


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m search.report",
        description="Draw what a search came to so far: DIR/report.html, which opens offline, and "
        "DIR/report.png. The search may be running, killed or finished.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of a search")
    add_trainable(parser)
    return parser


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    parsed = build_parser().parse_args(arguments)
    try:
        print(write_report(parsed.folder, trainable_named(parsed.trainable)))
    except (KptrainError, OSError) as error:
        print(f"error: {spelt_out(error)}", file=sys.stderr)
        return 2
    return 0


def script() -> NoReturn:
    """The command with its arguments, as it is installed."""
    spell_out_unknown()
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    script()
