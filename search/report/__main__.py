"""The command `python -m search.report`: the report of a search, as a page and a picture.

Reads only the folder: the search may be running, killed or finished.
"""

import argparse
from functools import partial
from pathlib import Path

from search.machine.shadowed import end_if_hidden

end_if_hidden(__name__)  # before all that the working folder may hide

from kptrain.machine.console import errors_printed, run_as_script
from search.report.write import write_report
from search.trainings.loading import add_trainable, trainable_named


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m search.report",
        description="Write the report of a search: DIR/report.html, which opens offline, and "
        "DIR/report.png. The search may be running, killed or finished.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of a search")
    add_trainable(parser)
    return parser


@errors_printed
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    parsed = build_parser().parse_args(arguments)
    print(write_report(parsed.folder, trainable_named(parsed.trainable)))
    return 0


script = partial(run_as_script, main)
"""The installed command."""

if __name__ == "__main__":
    script()
