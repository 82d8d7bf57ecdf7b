"""A search at a URL is fetched and resumed, from any machine."""

import shutil
from pathlib import Path

import pytest
from simulated import simulate

from kptrain.errors import CheckpointError
from search.journal.journal import JOURNAL
from search.run import main
from search.trainings.keypoints import KEYPOINTS
from search.trials.history import read_history
from search.trials.run_folder import fetch_search, open_search


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a killed search is; the working directory is another machine's."""
    simulate(tmp_path / "first" / "lr", 6, killed_after=10, url=(tmp_path / "lr").as_uri())
    (tmp_path / "machine").mkdir()
    monkeypatch.chdir(tmp_path / "machine")
    return tmp_path / "lr"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()


def test_another_machine_gets_all_that_the_search_resumes_from(there: Path, tmp_path: Path) -> None:
    folder = fetch_search(there.as_uri())
    assert folder == Path("runs/lr")
    begun = tmp_path / "first" / "lr"
    assert (folder / JOURNAL).read_bytes() == (begun / JOURNAL).read_bytes()
    assert read_history(folder, KEYPOINTS).record.num_epochs() == 10
    assert fetch_search(there.as_uri()) == folder


def test_a_search_that_was_resumed_elsewhere_is_brought_up_to_date(there: Path) -> None:
    journal = fetch_search(there.as_uri()) / JOURNAL
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:8]) + lines[8][:5])  # and torn
    assert (fetch_search(there.as_uri()) / JOURNAL).read_bytes() == whole
    ahead = whole + b"one more\n"  # which a kill kept from being sent
    journal.write_bytes(ahead)
    assert (fetch_search(there.as_uri()) / JOURNAL).read_bytes() == ahead


def test_a_folder_of_another_search_is_not_touched(there: Path) -> None:
    Path("runs").mkdir()
    simulate(Path("runs/lr"), 3)
    before = Path("runs/lr", JOURNAL).read_bytes()
    with pytest.raises(CheckpointError, match=f"runs/lr: .* {there.as_uri()}, but holds another"):
        fetch_search(there.as_uri())
    assert Path("runs/lr", JOURNAL).read_bytes() == before


def test_a_url_without_a_search_is_reported(there: Path) -> None:
    with pytest.raises(CheckpointError, match=r"must be the folder of a search, but holds no jour"):
        fetch_search(there.with_name("none").as_uri())


def test_no_search_is_begun_where_one_is(
    there: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = str(tmp_path / "first" / "lr.yaml")
    assert main([space, "--data", "embedded", "--out", there.as_uri(), "--plan"]) == 2
    assert f"--resume {there.as_uri()}" in capsys.readouterr().err


def test_a_search_that_was_moved_resumes_at_its_new_place(there: Path) -> None:
    moved = there.with_name("moved")
    shutil.copytree(there, moved)
    search = open_search(fetch_search(moved.as_uri()), KEYPOINTS, None, {}, None, moved.as_uri())
    assert search.storage is not None
    assert search.storage.url == moved.as_uri()
    again = open_search(Path("runs/moved"), KEYPOINTS, None, {}, None)
    assert again.storage is not None
    assert again.storage.url == there.as_uri()
