"""The command `python -m search.run`: from a space file to the best training."""

import sys
from contextlib import nullcontext
from functools import partial

from search.machine.shadowed import end_if_hidden

end_if_hidden(__name__)  # before all that the working folder may hide

from kptrain.machine.console import errors_printed, run_as_script
from search.console.output import Output
from search.machine.signals import end_at_once
from search.options import build_parser, keywords
from search.request import Request
from search.session import plan_search, resume_search, run_search

INTERRUPTED = 130
"""The exit code after Ctrl-C or SIGTERM: that of shells for Ctrl-C."""


@errors_printed
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    end_at_once()
    parsed = build_parser().parse_args(arguments)
    try:
        arguments_of_search = keywords(parsed)
        output = Output(arguments_of_search["output"])
        if parsed.plan:
            with nullcontext() if parsed.quiet else output.as_progress():
                plan_search(Request(**arguments_of_search, only_plan=True))
            return 0
        run = resume_search if parsed.resume else run_search
        result = run(**arguments_of_search)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    return 0 if result.is_whole else INTERRUPTED


script = partial(run_as_script, main)
"""The installed command."""

if __name__ == "__main__":
    script()
