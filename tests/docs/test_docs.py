"""The written reference is what the code says."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")))
NEEDED = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
NEEDED += [n for n in ("selenium", "optuna_dashboard") if importlib.util.find_spec(n) is None]


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


def test_every_setting_and_every_key_is_described() -> None:
    for name in ("settings.md", "spaces.md"):
        rows = [line for line in (DOCS / name).read_text().splitlines() if line.startswith("| `")]
        assert len(rows) > 10
        assert [row for row in rows if row.rstrip(" |").endswith("`")] == []


def messages() -> list[str]:
    """What the troubleshooting page quotes, in the order of its table."""
    rows = (DOCS / "troubleshooting.md").read_text(encoding="utf-8").splitlines()
    return [found[1] for row in rows if (found := re.match(r"\| `([^`]+)` \|", row))]


@pytest.fixture(scope="module")
def code() -> str:
    """All of the code, with each text in one piece: lines joined, what is filled in left out."""
    files = [path for part in ("kptrain", "search") for path in (DOCS.parent / part).rglob("*.py")]
    joined = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return re.sub(r"\{[^{}]*\}", "", re.sub(r'"\s*\n\s*f?"', "", joined))


@pytest.mark.parametrize("message", messages())
def test_a_message_that_is_explained_is_one_of_the_code(message: str, code: str) -> None:
    assert [part for part in message.split("…") if part not in code] == []


def test_many_messages_are_explained() -> None:
    assert len(messages()) > 20


def anchors(page: Path) -> set[str]:
    """Of the headings, as Markdown makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", h.lower()).strip()) for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in (link for link in links if "://" not in link):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    names = [page.name for page in DOCS.glob("*.md") if page.name != "index.md"]
    assert len(names) > 10
    assert [name for name in names if f"({name})" not in index] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_file_or_a_module_that_a_page_names_is_there(page: Path) -> None:
    """In backticks: `search/plan.py`, `search.plan`, `kptrain.errors.KptrainError`."""
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:kptrain|search|tests|bench|docs|spaces|examples)/[\w./]*)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    names = re.findall(r"`((?:kptrain|search|bench|tests)(?:\.(?!py`|log`)\w+)+)`", text)
    assert [name for name in names if not is_there(name)] == []


def is_there(name: str) -> bool:
    """A module, a folder, or a word of one."""
    path = ROOT.joinpath(*name.split("."))
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    files = (path.parent / "__init__.py", path.parent.with_suffix(".py"))
    found = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    return any(re.search(rf"\b{path.name}\b", text) for text in found)


def test_a_module_that_is_gone_would_be_noticed() -> None:
    assert is_there("search.run_search")
    assert is_there("kptrain.errors.KptrainError")
    assert not is_there("search.gone")
    assert not is_there("search.gone.Space")


@pytest.mark.slow
@pytest.mark.skipif(bool(NEEDED), reason=f"the pictures are not taken without {', '.join(NEEDED)}")
def test_the_pictures_are_taken_of_a_search_that_runs(tmp_path: Path) -> None:
    """The step ends with an error where a dashboard does not show what it should."""
    command = [sys.executable, "docs/screenshots.py", "--folder", str(tmp_path), "--trials", "3"]
    done = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("ray_dashboard.png", "optuna_dashboard.png", "report.png"):
        with Image.open(tmp_path / name) as picture, Image.open(DOCS / name) as shown:
            assert picture.width == shown.width
        assert (DOCS / name).stat().st_size < 200_000
