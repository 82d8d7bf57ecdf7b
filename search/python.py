"""A Python process of our own code, which does not run the caller's script again, as those of
`multiprocessing` do."""

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
