"""Programs of this Python environment: processes that run our own code, and how a user calls one.

A process of `multiprocessing` would run the caller's script again; ours runs the given code alone.
"""

import os
import sys
from pathlib import Path


def command(code: str) -> list[str]:
    """That runs some code."""
    return [sys.executable, "-P", "-c", code]


def environment() -> dict[str, str]:
    """With which it finds the same modules."""
    path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    return os.environ | {"PYTHONPATH": path}


def program(name: str) -> str:
    """How a user who stands here calls a program of this environment."""
    path, here = Path(sys.executable).with_name(name), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else name
