"""The written reference is what the code says."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings.md", "spaces.md"])
def test_a_page_is_what_the_code_says(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == reference().PAGES[name](), "run python docs/reference.py"


def test_every_setting_and_every_key_is_told() -> None:
    for name in ("settings.md", "spaces.md"):
        rows = [line for line in (DOCS / name).read_text().splitlines() if line.startswith("| `")]
        assert len(rows) > 10
        assert [row for row in rows if row.rstrip(" |").endswith("`")] == []
