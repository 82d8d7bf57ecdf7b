"""What all commands do: print errors, and text in any encoding."""

import io
import sys
from collections.abc import Callable
from functools import wraps
from typing import NoReturn

from kptrain.errors import KptrainError, spelt_out

Main = Callable[[list[str]], int]
"""A command: from its arguments to its exit code."""


def errors_printed(main: Main) -> Main:
    """The command with an error printed in one line, and exit code 2 for it."""

    @wraps(main)
    def printing(arguments: list[str]) -> int:
        try:
            return main(arguments)
        except (KptrainError, OSError) as error:
            print(f"error: {spelt_out(error)}", file=sys.stderr)
            return 2

    return printing


def run_as_script(main: Main) -> NoReturn:
    """Run a command with the arguments of this process, and end with its exit code."""
    spell_out_unknown()
    sys.exit(main(sys.argv[1:]))


def spell_out_unknown() -> None:
    """Print the escape of a character that the encoding lacks; Python would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
