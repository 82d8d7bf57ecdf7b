"""Commands in the process of the tests, which has imported by then what takes seconds."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from search.machine.signals import handlers_restored
from search.run import main


def run_here(
    command: Callable[[list[str]], int], *arguments: object, cwd: Path
) -> subprocess.CompletedProcess[str]:
    """What a command says and returns, run in this process; signals are answered as before it."""
    given = [str(argument) for argument in arguments]
    with TemporaryFile("w+") as out, TemporaryFile("w+") as error:
        with ExitStack() as around:
            for each in (
                chdir(cwd),
                handlers_restored(),
                _in_place_of(1, out),
                _in_place_of(2, error),
            ):
                around.enter_context(each)
            around.enter_context(redirect_stdout(out))
            around.enter_context(redirect_stderr(error))
            code = command(given)
        said = [_read(file) for file in (out, error)]
    return subprocess.CompletedProcess(given, code, *said)


def search_here(address: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A search in this process, on a running Ray."""
    return run_here(main, *arguments, "--address", address, cwd=cwd)


@contextmanager
def _in_place_of(number: int, file: IO[str]) -> Iterator[None]:
    """What is written to the file of that number, not by Python alone, goes into another."""
    kept_open = os.dup(number)
    os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        os.dup2(kept_open, number)
        os.close(kept_open)


def _read(file: IO[str]) -> str:
    file.flush()
    file.seek(0)
    return file.read()
