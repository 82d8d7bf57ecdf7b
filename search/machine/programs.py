"""Programs of this Python environment: processes that run our own code, and how a user calls one.

A `multiprocessing` process would run the caller's script again; these run only the given code.
"""

import os
import sys
from pathlib import Path


def command(code: str) -> list[str]:
    """The command line that runs some code."""
    return [sys.executable, "-P", "-c", code]


def environment() -> dict[str, str]:
    """The environment in which it finds the same modules as this process."""
    path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    return os.environ | {"PYTHONPATH": path}


def program(name: str) -> str:
    """A program of this environment, as a user would call it from the working folder."""
    path, here = Path(sys.executable).with_name(name), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else name
