"""Commands that begin at the same time: each has a folder of its own, or is refused in words."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import pytest
from space_files import resolved

from kptrain.commands import train
from kptrain.errors import SettingsError
from search.journal.journal import JOURNAL, read_events
from search.space.reader import read_space
from search.trainings.keypoints import KEYPOINTS
from search.trials.run_folder import Search, begin_search, fetch_search

ROOT = Path(__file__).parents[2]
MANY = 8
Result = TypeVar("Result")


def at_once(act: Callable[[], Result]) -> list[Result]:
    """What it comes to, begun by many at the same time."""
    barrier = Barrier(MANY)

    def begin() -> Result:
        barrier.wait()
        return act()

    with ThreadPoolExecutor(MANY) as pool:
        return [done.result() for done in [pool.submit(begin) for _ in range(MANY)]]


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., Search | SettingsError]:
    (tmp_path / "space.yaml").write_text("space: {optim.lr: [1e-4, 1e-3]}\ntrials: 3\n")
    space = read_space(tmp_path / "space.yaml", KEYPOINTS)
    base = resolved(space, {"data.root": "embedded"})

    def begin(*, numbered: bool) -> Search | SettingsError:
        try:
            return begin_search(tmp_path / "runs" / "a", space, base, [], numbered=numbered)
        except SettingsError as error:
            return error

    return begin


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_of_searches_with_one_folder_one_begins_and_the_others_are_refused_as_it_exists(
    begin: Callable[..., Search | SettingsError], tmp_path: Path
) -> None:
    done = at_once(lambda: begin(numbered=False))
    (search,) = (one for one in done if isinstance(one, Search))
    refused = [str(one) for one in done if isinstance(one, SettingsError)]
    assert len(refused) == MANY - 1
    assert all("--out: must be a folder that does not exist yet, but" in one for one in refused)
    assert names(tmp_path / "runs") == ["a"]
    assert read_events(search.folder / JOURNAL) == [search.first]


def test_searches_without_a_chosen_folder_each_begin_in_one_of_their_own(
    begin: Callable[..., Search | SettingsError], tmp_path: Path
) -> None:
    done = [one for one in at_once(lambda: begin(numbered=True)) if isinstance(one, Search)]
    expected = ["a", *(f"a-{number}" for number in range(2, MANY + 1))]
    assert names(tmp_path / "runs") == expected
    assert sorted(search.folder.name for search in done) == expected
    for search in done:
        assert read_events(search.folder / JOURNAL) == [search.first]
    assert len({search.wandb_id for search in done}) == MANY


def test_a_search_at_a_url_that_many_fetch_is_whole_for_each(
    begin: Callable[..., Search | SettingsError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = begin(numbered=False)
    assert isinstance(search, Search)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folders = at_once(lambda: fetch_search(search.folder.as_uri()))
    assert len(set(folders)) == 1
    assert read_events(folders[0] / JOURNAL) == [search.first]
    assert names(Path("runs")) == [folders[0].name]
    assert names(search.folder) == names(folders[0])  # no probe of the URL is left


def test_trainings_without_a_chosen_folder_each_have_one_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kptrain.commands.train.time.strftime", lambda _: "kptrain-now")
    found = at_once(train._new_folder)
    expected = ["kptrain-now", *(f"kptrain-now-{number}" for number in range(2, MANY + 1))]
    assert sorted(path.name for path in found) == names(Path("runs")) == expected
