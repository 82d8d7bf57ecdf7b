"""How a search speaks: as people read it, hardly at all, or in JSON."""

import contextlib
import io
import json
import os
import sys
from typing import Any, Literal, TextIO

Kind = Literal["text", "quiet", "json"]


def discard_output(stream: TextIO) -> None:
    """What is written there from now on goes nowhere, as nobody reads it any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class Output:
    """How a search speaks. `text`: as people read it; `quiet`: nothing but what it came to, and
    errors; `json`: an object a line on standard output, and the rest on standard error."""

    def __init__(self, kind: Kind = "text") -> None:
        self.kind = kind
        self._out: TextIO = sys.stdout

    def as_progress(self) -> contextlib.AbstractContextManager[object]:
        """What is printed within is not what the search came to."""
        if self.kind == "text":
            return contextlib.nullcontext()
        away = io.StringIO() if self.kind == "quiet" else sys.stderr
        return contextlib.redirect_stdout(away)

    def as_result(self) -> contextlib.AbstractContextManager[object]:
        """What is printed within is."""
        if self.kind == "json":
            return contextlib.redirect_stdout(sys.stderr)
        return contextlib.nullcontext()

    def write(self, content: dict[str, Any]) -> None:
        """An object of `json`."""
        if self.kind == "json":
            try:
                print(json.dumps(content), file=self._out, flush=True)
            except BrokenPipeError:
                discard_output(self._out)
