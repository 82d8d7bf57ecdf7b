"""The journal: whole lines only, on the disk, and never two histories."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kptrain.errors import CheckpointError
from search.journal.journal import Journal, Line, read_events

EVENTS: list[Line] = [
    {"at": 0.0, "event": "begin", "trial": 0, "settings": {"optim.lr": 0.1 + 0.2}},
    {"at": 1.5, "event": "epoch", "trial": 0, "report": {"val_loss": 1e-17, "is_best": True}},
    {"at": 2.25, "event": "fail", "trial": 0, "error": 'ä "quoted"\nline', "out": [1, 2]},
]


def written(path: Path, events: list[Line] = EVENTS) -> Path:
    journal = Journal(path)
    for event in events[len(journal.written) :]:
        journal.write(event)
    return path


def test_what_was_written_is_read_and_lines_are_json(tmp_path: Path) -> None:
    path = written(tmp_path / "journal")
    assert read_events(path) == EVENTS
    assert [json.loads(line)["at"] for line in path.read_text().splitlines()] == [0.0, 1.5, 2.25]


def test_cut_at_any_byte_it_holds_the_complete_lines_and_continues_after_them(
    tmp_path: Path,
) -> None:
    whole = written(tmp_path / "journal").read_bytes()
    ends = [0, *(at + 1 for at, byte in enumerate(whole) if byte == ord("\n"))]
    path = tmp_path / "cut"
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        num_whole = sum(end <= size for end in ends) - 1
        assert read_events(path) == EVENTS[:num_whole]
        written(path)  # writes the others
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("order", "line"),
    [([1, 2], 1), ([0, 2, 2], 2), ([0, 0, 1, 2], 2), ([1, 0, 2], 1), ([0, 1, 1, 2], 3)],
)
def test_a_line_that_is_missing_doubled_or_moved_is_named(
    tmp_path: Path, order: list[int], line: int
) -> None:
    path = written(tmp_path / "journal")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[index] for index in order))
    with pytest.raises(CheckpointError, match=f"journal:{line}: .*checksum"):
        read_events(path)


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit_is_named_by_its_line_unless_the_last_one_has_no_end(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    path = written(tmp_path_factory.mktemp("flipped") / "journal")
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1 << bit
    path.write_bytes(content)
    line = 1 + path.read_bytes()[: at % len(content)].count(b"\n")
    if not path.read_bytes().endswith(b"\n"):
        assert read_events(path) == EVENTS[:2]
        return
    with pytest.raises(CheckpointError) as refused:
        read_events(path)
    assert f"{path}:{line}" in str(refused.value)


def test_a_full_disk_is_reported_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "journal", EVENTS[:2])
    journal = Journal(path)
    assert journal.written == EVENTS[:2]

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            journal.write(EVENTS[2])
    journal.write(EVENTS[2])  # there is room again
    assert read_events(path) == EVENTS


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="must be the journal of a search"):
        read_events(tmp_path / "journal")
