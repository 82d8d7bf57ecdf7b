"""The house: folders and files that are small enough to be seen whole."""

import ast
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for part in ("kptrain", "search") for path in (ROOT / part).rglob("*.py"))


def functions() -> list[tuple[str, int]]:
    """Name and lines of every function."""
    return [
        (f"{path.relative_to(ROOT)}:{node.name}", node.end_lineno - node.lineno + 1)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None
    ]


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=str)
def test_a_folder_has_at_most_twelve_files_and_says_what_it_is_for(folder: Path) -> None:
    assert len([path for path in FILES if path.parent == folder]) <= 12
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))


def test_no_file_has_more_than_300_lines() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert [path for path, count in lines.items() if count > 300] == []


def test_functions_are_short() -> None:
    lengths = functions()
    assert [name for name, length in lengths if length > 50] == []
    assert median(length for _, length in lengths) <= 9
