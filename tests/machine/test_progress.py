"""Long work says where it is: a bar on a terminal, lines in a file."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from kptrain.data import pack_format as pack_files
from kptrain.machine import progress
from kptrain.machine.progress import in_words, track
from kptrain.synthetic.data_set import write_embedded


@pytest.fixture
def ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock finds it ten seconds later."""
    clock = itertools.count(0, 10)
    monkeypatch.setattr("kptrain.machine.progress.time.monotonic", lambda: float(next(clock)))


def counted(number: int) -> Iterator[int]:
    yield from range(number)


@pytest.mark.usefixtures("ten_seconds")
def test_a_file_has_a_line_each_half_minute_with_the_share_and_the_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(track(counted(8), "Packing train", 2000)) == list(range(8))
    assert capsys.readouterr().out.splitlines() == [
        "Packing train: 0% (2 of 2,000), 8.3 hours left",  # 30 s for two
        "Packing train: 0% (5 of 2,000), 6.7 hours left",  # 60 s for five
    ]


@pytest.mark.usefixtures("ten_seconds")
def test_what_is_not_to_be_shown_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(counted(8), "Packing", 8, shown=False)) == list(range(8))
    assert capsys.readouterr().out == ""


def test_short_work_says_nothing_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(counted(8), "Packing", 8)) == list(range(8))
    assert capsys.readouterr().out == ""


def test_a_terminal_has_a_bar_instead(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    for name, value in {"TTY_COMPATIBLE": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("rich._console", None, raising=False)  # made anew, for this terminal
    assert list(track(counted(3), "Packing", 3)) == [0, 1, 2]
    said = capsys.readouterr().out
    assert "Packing" in said
    assert "of 3" not in said


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "under 1 s"),
        (0.99, "under 1 s"),
        (1.0, "1 s"),
        (45.4, "45 s"),
        (89.0, "89 s"),
        (90.0, "1.5 min"),
        (1200.0, "20 min"),
        (5399.0, "90 min"),
        (5400.0, "1.5 hours"),
        (35 * 3600.0, "35 hours"),
        (36 * 3600.0, "1.5 days"),
        (12 * 86400.0, "12 days"),
        (152 * 86400.0, "5.0 months"),
        (700 * 86400.0, "1.9 years"),
        (36525 * 86400.0, "100 years"),
    ],
)
def test_a_time_is_in_the_unit_that_a_person_would_take(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_drawing_and_the_checksums_of_a_large_file_say_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(pack_files, "BLOCK", 4)
    write_embedded(tmp_path / "drawn", 2, 1, progress=True)
    assert "Drawing train2017: 50% (1 of 2), " in capsys.readouterr().out
    path = tmp_path / "images.npy"
    path.write_bytes(bytes(16))
    pack_files._checksums(path, progress=True)
    assert "Checksums of images.npy: 75% (3 of 4), " in capsys.readouterr().out
