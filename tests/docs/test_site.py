"""The pages and the docstrings make a site: every link leads somewhere, and nothing is loaded from
another server."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MISSING = [n for n in ("mkdocs", "mkdocstrings_handlers") if importlib.util.find_spec(n) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"no site without {', '.join(MISSING)}: pip install 'kptrain[docs]'"
)


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages <= {path.stem for path in site.glob("*.html")}


def test_every_public_name_is_in_the_api(site: Path) -> None:
    import kptrain
    import search

    text = (site / "api.html").read_text(encoding="utf-8")
    names = [f"{module.__name__}.{n}" for module in (search, kptrain) for n in module.__all__]
    assert len(names) > 10
    assert [name for name in names if f'id="{name}"' not in text] == []


def test_nothing_is_loaded_from_another_server(site: Path) -> None:
    loads = re.compile(
        r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?(?:https?:)?//|url\([\"']?(?:https?:)?//"
    )
    files = [path for kind in ("html", "css") for path in site.rglob(f"*.{kind}")]
    assert len(files) > 10
    assert [path for path in files if loads.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("link", ["[x](gone.md)", "[x](data.md#gone)", "[x](/gone)"])
def test_a_broken_link_ends_the_build(tmp_path: Path, link: str) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copyfile(ROOT / "mkdocs.yml", tmp_path / "mkdocs.yml")
    for name in ("kptrain", "search"):
        (tmp_path / name).symlink_to(ROOT / name)
    page = tmp_path / "docs" / "recovery.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{link}\n", encoding="utf-8")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "recovery.md" in done.stderr
