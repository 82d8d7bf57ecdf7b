"""A folder at a URL: what is sent when, and what is refused."""

import _thread
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kptrain.errors import CheckpointError, SettingsError
from search.journal.remote import Storage, StorageError, join, url_name


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "there"


@pytest.fixture
def storage(there: Path) -> Storage:
    return Storage(there.as_uri())


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    (folder / "sub").mkdir(parents=True)
    (folder / "late").write_text("late")
    for name in ("first", "sub/second"):
        (folder / name).write_text(name)
    (folder / ".lock").touch()
    (folder / "link").symlink_to("first")
    return folder


def files(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


def written(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What it writes from now on, in order."""
    names: list[str] = []
    put = storage._put

    def note(name: str, content: bytes) -> None:
        names.append(name)
        put(name, content)

    monkeypatch.setattr(storage, "_put", note)
    return names


def test_what_is_sent_comes_back_as_it_was(storage: Storage, here: Path, tmp_path: Path) -> None:
    storage.send(here)
    storage.fetch(tmp_path / "back")
    assert files(tmp_path / "back") == {
        "late": "late",
        "first": "first",
        "sub/second": "sub/second",
    }
    assert storage.read("first") == b"first"
    assert storage.read("none") is None


def test_files_are_sent_in_the_order_of_their_writing_and_again_only_if_they_change(
    storage: Storage, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age, name in enumerate(("late", "sub/second", "first")):
        _set_age(here / name, age)
    names = written(storage, monkeypatch)
    storage.send(here)
    assert names == ["first", "sub/second", "late"]
    storage.send(here)
    assert len(names) == 3
    (here / "first").write_text("other")
    storage.send(here, skip=lambda name: name.name == "late")
    assert names[3:] == ["first"]


def _set_age(path: Path, hours: int) -> None:
    changed = path.stat().st_mtime - 3600 * hours
    os.utime(path, (changed, changed))


def test_what_was_fetched_is_not_sent_again(
    storage: Storage, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.send(here)
    storage.fetch(tmp_path / "back")
    names = written(storage, monkeypatch)
    storage.send(tmp_path / "back")
    assert names == []


class Failing:
    """A file system that does something before it writes."""

    def __init__(self, files: Any, before: Callable[[], None]) -> None:
        self._files = files
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    def open_output_stream(self, path: str) -> Any:
        stream = self._files.open_output_stream(path)
        self._before()
        return stream


@pytest.mark.parametrize("is_atomic", [False, True])
def test_a_signal_leaves_a_file_whole(
    storage: Storage,
    here: Path,
    there: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_atomic: bool,
) -> None:
    storage.send(here)
    (here / "first").write_text("a longer one")

    def interrupt() -> None:
        _thread.interrupt_main()
        time.sleep(0.2)

    monkeypatch.setattr(storage, "_files", Failing(storage._files, interrupt))
    if is_atomic:
        monkeypatch.setattr("search.journal.remote.ATOMIC", ("local",))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            storage.send(here)
    finally:
        signal.signal(signal.SIGINT, before)
    assert files(there)["first"] == "a longer one"


def test_what_another_command_went_on_with_is_not_written_over(there: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    one, other = Storage(there.as_uri()), Storage(there.as_uri())
    journal.write_text("a\n")
    one.grow(journal)
    journal.write_text("a\nb\n")
    other.grow(journal)  # of another machine, from where the first had come
    journal.write_text("a\nc\nd\n")
    for storage in (one, Storage(there.as_uri())):
        with pytest.raises(StorageError, match=f"journal: .*--resume {there.as_uri()}"):
            storage.grow(journal)
    assert (there / "journal").read_text() == "a\nb\n"


def test_nor_when_it_did_so_while_this_one_was_cut_off(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.journal.remote.PAUSES", (0.0,))
    journal = tmp_path / "journal"
    one, other = Storage(there.as_uri()), Storage(there.as_uri())
    journal.write_text("a\n")
    one.grow(journal)
    journal.write_text("a\nb\n")

    def cut_off() -> None:
        other.grow(journal)
        raise OSError("no route to the server")

    monkeypatch.setattr(one, "_files", Failing(one._files, cut_off))
    longer = tmp_path / "own" / "journal"
    longer.parent.mkdir()
    longer.write_text("a\nc\n")
    with pytest.raises(StorageError, match=f"journal: .*--resume {there.as_uri()}"):
        one.grow(longer)
    assert (there / "journal").read_text() == "a\nb\n"


def test_what_fails_for_a_while_is_retried_and_then_reported(
    storage: Storage, here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.journal.remote.PAUSES", (0.0, 0.0))
    failures = iter([True, True, False])

    def fail() -> None:
        if next(failures, True):
            raise RuntimeError("the server is busy")  # as some clients' errors are

    monkeypatch.setattr(storage, "_files", Failing(storage._files, fail))
    with pytest.raises(StorageError, match=r"the server is busy.*--resume"):
        storage.send(here)
    sent = [name for name in files(there) if not name.startswith(".")]
    assert len(sent) == 1  # the first of them, in the third try


def test_a_trial_that_could_not_reach_it_may_be_tried_again() -> None:
    from search.backend.failures import kind_of

    assert kind_of(StorageError("there: must be in reach")) == "lost"
    assert kind_of(CheckpointError("here: must be whole")) == "own"


def test_what_is_removed_is_gone_and_what_is_not_there_may_be(
    storage: Storage, here: Path, there: Path
) -> None:
    storage.send(here)
    storage.remove("first")
    storage.remove("first")
    storage.below("sub").clear()
    Storage(join(storage.url, "never")).clear()
    assert list(files(there)) == ["late"]


def test_a_file_system_of_fsspec_is_one_too(here: Path, tmp_path: Path) -> None:
    storage = Storage("memory://bucket/of/mine")
    storage.check()
    storage.send(here)
    storage.below("sub").fetch(tmp_path / "back")
    assert files(tmp_path / "back") == {"second": "sub/second"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nope://bucket/x", "nope://bucket/x: must be a URL that pyarrow or fsspec can open, but"),
        ("s3://KEY:SECRET@bucket/x", "s3://…: must not hold a key, a token or a password"),
        ("s3://KEY@bucket/x", "s3://…: must not hold a key"),
        ("abfs://account/x?client_secret=SECRET", "abfs://…: must not hold a key"),
        ("s3://bucket/x?nonsense=1", "s3://bucket/x: must be a URL .* but Unexpected query param"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        Storage(url)
    assert "SECRET" not in str(caught.value)


def test_a_url_that_cannot_be_written_is_reported_before_anything_is_sent(
    storage: Storage, there: Path
) -> None:
    storage.check()
    assert files(there) == {}
    there.rmdir()
    there.write_text("a file")
    with pytest.raises(SettingsError, match=r"at which files can be written from here, but .+; co"):
        storage.check()


def test_a_url_keeps_its_query_and_has_a_name() -> None:
    url = "s3://bucket/runs/lr/?scheme=http"
    assert join(url, "trials/001") == "s3://bucket/runs/lr/trials/001?scheme=http"
    assert url_name(url) == "lr"
    assert url_name("s3://bucket") == "bucket"
