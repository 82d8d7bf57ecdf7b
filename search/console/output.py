"""The kind of a search's output: text, only the result, or JSON."""

import contextlib
import io
import json
import os
import sys
from typing import Any, Literal, TextIO

Kind = Literal["text", "quiet", "json"]


def discard_output(stream: TextIO) -> None:
    """Discard what is written to a stream from now on, as its reader has ended."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


class Output:
    """The output of a search. `text`: for people; `quiet`: only the result and errors; `json`: one
    object per line on standard output, and all other output on standard error."""

    def __init__(self, kind: Kind = "text") -> None:
        self.kind = kind
        self._out: TextIO = sys.stdout

    def as_progress(self) -> contextlib.AbstractContextManager[object]:
        """What is printed in the block is progress: hidden for `quiet`, on stderr for `json`."""
        if self.kind == "text":
            return contextlib.nullcontext()
        return contextlib.redirect_stdout(io.StringIO() if self.kind == "quiet" else sys.stderr)

    def as_result(self) -> contextlib.AbstractContextManager[object]:
        """What is printed in the block is the result: on stderr for `json`."""
        if self.kind == "json":
            return contextlib.redirect_stdout(sys.stderr)
        return contextlib.nullcontext()

    def write(self, content: dict[str, Any]) -> None:
        """Print an object, if the kind is `json`."""
        if self.kind == "json":
            try:
                print(json.dumps(content), file=self._out, flush=True)
            except BrokenPipeError:
                discard_output(self._out)
