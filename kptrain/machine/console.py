"""Standard output and standard error, in any encoding."""

import io
import sys


def spell_out_unknown() -> None:
    """Print the escape of a character that the encoding lacks; Python would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
