"""A search outlives the words, the rules and the defaults of the version that began it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import Parsed
from simulated import resume, simulate
from space_files import resolved

from search import watch
from search.algorithms import asha
from search.algorithms.asha import Asha
from search.journal.journal import JOURNAL, read_events
from search.journal.reasons import Failed, Signal, Spent
from search.report.page import page_of
from search.report.wording import outcomes
from search.space import space
from search.space.reader import read_space
from search.trainings.keypoints import KEYPOINTS
from search.trials.history import read_history
from search.trials.run_folder import open_search
from search.trials.warm_start import read_earlier_search

pytestmark = pytest.mark.slow  # pages are drawn, seconds together

WITHOUT_ASHA = ""
"""A space file that leaves when trials are stopped to the defaults."""


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A version with other words, other rules, and other defaults of ASHA, once asked for."""
    yield monkeypatch
    monkeypatch.undo()
    _rebuild()


def change_all(later: pytest.MonkeyPatch) -> None:
    sentences = {Spent: "nothing is left", Signal: "told to stop", Failed: "is broken"}
    for kind, sentence in sentences.items():
        later.setattr(kind, "__str__", lambda _, sentence=sentence: sentence)
    later.setattr(space.Asha.model_fields["reduction"], "default", 5)
    later.setattr(space.Asha.model_fields["grace_epochs"], "default", 7)
    later.setattr(space.Space.model_fields["asha"], "default", None)
    later.setattr(space.Space.model_fields["seed"], "default", 9)
    later.setattr(space, "EARLY", 2)
    _rebuild()


def _rebuild() -> None:
    space.Asha.model_rebuild(force=True)
    default = space.Space.model_fields["asha"]
    default.default = space.Asha()
    space.Space.model_rebuild(force=True)


def end(folder: Path) -> Any:
    return [(t.settings, t.state, t.curve) for t in read_history(folder, KEYPOINTS).record.trials]


def test_words_rules_and_defaults_change_and_a_search_is_read_and_resumes_unchanged(
    tmp_path: Path, later: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate(tmp_path / "whole", 20, asha=WITHOUT_ASHA)
    simulate(tmp_path / "cut", 20, asha=WITHOUT_ASHA, killed_after=40)
    whole, before = end(tmp_path / "whole"), end(tmp_path / "cut")
    expected = outcomes(read_history(tmp_path / "whole", KEYPOINTS))
    change_all(later)
    assert space.Asha() == space.Asha(grace_epochs=7, reduction=5)
    assert end(tmp_path / "whole") == whole
    assert end(tmp_path / "cut") == before
    history = read_history(tmp_path / "whole", KEYPOINTS)
    assert outcomes(history) == expected
    trials = Parsed(page_of(history)).sections["trials"]
    assert all(outcome in trials for outcome in expected.values())
    assert watch.main([str(tmp_path / "whole")]) == 0
    assert "20/20 trials ended" in capsys.readouterr().out
    search = open_search(tmp_path / "cut", KEYPOINTS, None, {}, None)
    assert search.space.asha == space.Asha(grace_epochs=4, reduction=3)
    assert (search.space.seed, search.rungs.early) == (0, 1)
    resume(search)
    assert end(tmp_path / "cut") == whole


def test_interrupted_and_failed_trials_are_reported_in_the_present_words(
    tmp_path: Path, later: pytest.MonkeyPatch
) -> None:
    simulate(tmp_path / "spent", 9, more="epochs: 11\n")
    simulate(tmp_path / "failed", 4, error="KeyError: 'boom'", failed_after=1)
    told = outcomes(read_history(tmp_path / "spent", KEYPOINTS)).values()
    assert "interrupted: the budget of 11 epochs was spent" in told
    change_all(later)
    told = outcomes(read_history(tmp_path / "spent", KEYPOINTS)).values()
    assert "interrupted: the budget of 11 epochs was spent" not in told
    assert "interrupted: nothing is left" in told
    assert "failed: is broken" in page_of(read_history(tmp_path / "failed", KEYPOINTS))


def test_other_rules_for_all_that_is_decided_from_now_on_do_not_touch_what_was(
    tmp_path: Path, later: pytest.MonkeyPatch
) -> None:
    simulate(tmp_path / "cut", 20, killed_after=40)
    before = end(tmp_path / "cut")
    num_lines = len(read_events(tmp_path / "cut" / JOURNAL))
    later.setattr("search.trials.assembly.Asha", lambda *_: Asha((3, 5), 7, early=1))
    later.setattr(asha, "NUM_PAIRS", 3)
    assert end(tmp_path / "cut") == before
    search = open_search(tmp_path / "cut", KEYPOINTS, None, {}, None)
    state = resume(search)
    assert len(read_events(tmp_path / "cut" / JOURNAL)) > num_lines
    assert state.asha.epochs() == [1, 2, 3, 4, 5]
    assert not state.has_work()
    assert end(tmp_path / "cut") == [(t.settings, t.state, t.curve) for t in state.record.trials]


def test_a_search_learns_from_one_that_an_earlier_version_began(
    tmp_path: Path, later: pytest.MonkeyPatch
) -> None:
    state = simulate(tmp_path / "first", 8, asha=WITHOUT_ASHA)
    trials = state.record.trials[1:]  # the defaults lie beyond this space
    ended = [trial for trial in trials if trial.state in ("completed", "stopped")]
    change_all(later)
    later.setattr(type(KEYPOINTS), "fingerprints", lambda *_: {"train": "a", "val": "b"})
    here = read_space(tmp_path / "first.yaml", KEYPOINTS)
    past = read_earlier_search(tmp_path / "first", here, resolved(here, {"data.root": "embedded"}))
    assert [trial.settings for trial in past.trials] == [trial.settings for trial in ended]
    assert [[value for _, value in trial.curve] for trial in past.trials] == [
        trial.values() for trial in ended
    ]
