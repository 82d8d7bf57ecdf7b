"""The command `python -m search.watch`: follow a search from another terminal, by its journal."""

import argparse
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from search.machine.shadowed import end_if_hidden

end_if_hidden(__name__)  # before all that the working folder may hide

from rich.console import Console
from rich.live import Live

from kptrain.machine.console import errors_printed, run_as_script
from search.console.live_table import render, summary
from search.console.output import discard_output
from search.space.space import max_epochs
from search.space.training import Trainable
from search.trainings.loading import add_trainable, trainable_named
from search.trials.history import read_history

SECONDS = 1.0
"""The time between two updates."""


def watch(folder: Path, trainable: Trainable[Any]) -> None:
    """Show a search while a command runs it: a live table, or without a terminal a line per change.

    Raises: CheckpointError or SettingsError if the folder holds no search.
    """
    console = Console(highlight=False)
    shown = ""
    # Without a terminal `Live` would draw at the end, and fail if the output is closed.
    with (
        Live(console=console, auto_refresh=False) if console.is_terminal else nullcontext() as live
    ):
        while True:
            history = read_history(folder, trainable)
            epochs = max_epochs(history.search.space, history.search.base)
            if live is not None:
                live.update(render(history.state, epochs, console.width), refresh=True)
            elif (line := summary(history.state, epochs)) != shown:
                shown = line
                print(line, flush=True)
            if not history.is_run:
                return
            time.sleep(SECONDS)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m search.watch",
        description="Show the progress of a search that another terminal runs.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of a search")
    add_trainable(parser)
    return parser


@errors_printed
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    parsed = build_parser().parse_args(arguments)
    try:
        watch(parsed.folder, trainable_named(parsed.trainable))
    except BrokenPipeError:  # the reader has ended, such as `head`
        discard_output(sys.stdout)
    except KeyboardInterrupt:
        return 0  # the search itself continues
    return 0


script = partial(run_as_script, main)
"""The installed command."""

if __name__ == "__main__":
    script()
