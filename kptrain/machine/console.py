"""What the commands print to, in whatever encoding it has."""

import io
import sys


def spell_out_unknown() -> None:
    """Print a character that the encoding lacks as its number; Python would end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
