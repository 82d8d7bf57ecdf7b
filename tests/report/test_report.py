"""The report of searches at their end, killed, of one trial, and of failures alone."""

import math
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from pages import Parsed
from PIL import Image
from records import epoch
from search_commands import unread
from simulated import simulate

from kptrain.config import BEST
from kptrain.machine.locks import held
from search import watch
from search.report.__main__ import main
from search.report.figures import is_outlier, lanes_of
from search.report.page import page_of
from search.report.refresher import Refresh
from search.report.setting_figures import _slice
from search.report.svg import drawing
from search.report.write import write_report
from search.space.space import axis_values
from search.trainings.keypoints import KEYPOINTS
from search.trials.assembly import ListedSettings, confirmation_state
from search.trials.confirmation import Confirmation, fresh_seeds
from search.trials.controller import SearchState
from search.trials.history import read_history
from search.trials.record import TrialRecord

pytestmark = pytest.mark.slow  # many small trainings and drawings, seconds together

ROOT = Path(__file__).parents[2]
KINDS = ("whole", "killed", "single", "failed")
SECTIONS = (
    *("best", "progress", "curves", "importance", "slices", "parallel", "timeline", "failures"),
    *("predictions", "trials", "next"),
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
UNSAFE = "<script>alert('&')</script>"


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, SearchState]]:
    """Each kind of search: its folder, and what it came to."""
    root = tmp_path_factory.mktemp("searches")
    how = {
        "whole": {},
        "killed": {"killed_after": 25},
        "single": {"trials": 1},
        "failed": {"trials": 4, "error": UNSAFE},
    }
    return {kind: (root / kind, simulate(root / kind, **how[kind])) for kind in KINDS}  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_every_section_is_there_and_says_something_and_nothing_is_loaded(
    searches: dict[str, tuple[Path, SearchState]], kind: str
) -> None:
    parsed = Parsed(page_of(read_history(searches[kind][0], KEYPOINTS)))
    assert parsed.open == []
    assert tuple(parsed.sections) == SECTIONS
    for key, text in parsed.sections.items():
        assert len(text.split()) > 3, key
    assert [url for url in parsed.loaded if not url.startswith(("data:", "#"))] == []
    assert "script" not in parsed.tags


def test_a_whole_search_has_all_its_figures(
    searches: dict[str, tuple[Path, SearchState]],
) -> None:
    folder, state = searches["whole"]
    page = page_of(read_history(folder, KEYPOINTS))
    assert page.count("<svg") == 4 + 2 + 3  # the best so far twice, a slice a setting
    leader = state.record.leader()
    assert leader is not None
    assert f"trial {leader.number}, val_loss {leader.best():.6f}" in page
    titles = re.findall(r"<title>(.*?)</title>", page)
    for trial in state.record.trials:
        assert any(title.startswith(f"trial {trial.number}: ") for title in titles)
    assert "rung: trials are compared after epoch 2" in titles


def test_a_search_that_was_killed_is_shown_as_it_is_with_the_best_of_all_its_trials(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "killed"
    state = simulate(folder, killed_after=20)
    page = page_of(read_history(folder, KEYPOINTS))
    best = min(state.record.trials, key=lambda t: t.best() or math.inf)
    assert best.state == "running"
    assert f"trial {best.number} so far, val_loss {best.best():.6f}" in page
    assert axis_values(best.settings) in Parsed(page).sections["best"]
    assert "; cut off" in page
    assert "cut off after epoch" in Parsed(page).sections["trials"]
    assert f"--resume {folder}</pre>" in page
    assert "best/config.yaml" not in page
    with held(folder / ".lock"):
        page = page_of(read_history(folder, KEYPOINTS))
    assert "cut off" not in page
    assert "; under way." in page


def test_a_search_at_its_end_says_why_each_trial_was_stopped_and_offers_what_can_be_done(
    searches: dict[str, tuple[Path, SearchState]],
) -> None:
    folder, state = searches["whole"]
    sections = Parsed(page_of(read_history(folder, KEYPOINTS))).sections
    stopped = sum(trial.state == "stopped" for trial in state.record.trials)
    assert (
        len(re.findall(r"stopped: \d+(?:st|nd|rd|th) of \d+ at the rung", sections["trials"]))
        == stopped
    )
    assert f"--resume {folder} --trials 32" in sections["next"]
    assert "Go on where it was ended" not in sections["next"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_history_is_what_the_search_came_to(
    searches: dict[str, tuple[Path, SearchState]], kind: str
) -> None:
    folder, state = searches[kind]
    before = (folder / "journal.jsonl").read_bytes()
    found = read_history(folder, KEYPOINTS).record.trials
    assert [(t.settings, t.curve, t.state, t.error) for t in found] == [
        (t.settings, t.curve, t.state, t.error) for t in state.record.trials
    ]
    assert (folder / "journal.jsonl").read_bytes() == before


def test_a_page_of_failures_counts_them_by_cause_with_their_text_made_harmless(
    searches: dict[str, tuple[Path, SearchState]],
) -> None:
    page = page_of(read_history(searches["failed"][0], KEYPOINTS))
    assert UNSAFE not in page
    failures = Parsed(page).sections["failures"]
    assert UNSAFE in failures
    assert "0, 1, 2" in failures


def test_where_all_have_failed_the_best_says_after_which_epoch_and_why(tmp_path: Path) -> None:
    state = simulate(tmp_path / "all", trials=3, error="KeyError: 'boom'", failed_after=1)
    history = read_history(tmp_path / "all", KEYPOINTS)
    assert "No trial has ended or left" in Parsed(page_of(history)).sections["best"]
    number = min(state.record.trials, key=TrialRecord.rank).number
    for trial in state.record.trials:
        trial.run_dir.mkdir(parents=True)
        (trial.run_dir / BEST).touch()
    page = Parsed(page_of(history))
    assert f"trial {number}, val_loss" in page.sections["best"]
    assert "failed after epoch 1: KeyError: 'boom'" in page.sections["best"]


def test_spans_are_the_times_in_which_trials_ran_and_those_of_a_lane_follow_each_other(
    searches: dict[str, tuple[Path, SearchState]],
) -> None:
    history = read_history(searches["whole"][0], KEYPOINTS)
    spans = history.spans()
    assert {span.trial for span in spans} == set(range(16))
    lanes = lanes_of(spans)
    assert sum(len(lane) for _, lane in lanes) == len(spans)
    for place, lane in lanes:
        assert place == "host cuda:0"
        for one, next_ in pairwise(lane):
            assert one.end <= next_.begin


@pytest.mark.parametrize("is_of_these", [True, False])
def test_a_confirmation_names_the_winner_unless_it_was_of_other_trials(
    tmp_path: Path, is_of_these: bool
) -> None:
    folder = tmp_path / "s"
    record = simulate(folder, more="confirm: {top: 2, seeds: 2}\n").record
    search = read_history(folder, KEYPOINTS).search
    how = search.space.confirm
    assert how is not None
    confirmation = Confirmation(record, how, fresh_seeds(search.space, search.base, how.seeds))
    points = confirmation.points()
    state = confirmation_state(search, confirmation, ListedSettings(points), confirmation.journal())
    for _ in points:
        number = state.next_trial(lambda: "id")
        assert number is not None
        state.start(number, 0.5)
        for done in range(1, 9):
            # The second setting turns out to be the better one.
            loss = 0.5 - 0.1 * (number in (2, 3))
            state.report(number, epoch(done, loss + 1e-3 * number), "host", "cpu")
    if not is_of_these:
        confirmation.settings.reverse()
        shutil.rmtree(folder / "confirm")
        confirmation.journal()
    history = read_history(folder, KEYPOINTS)
    page = page_of(history)
    second = record.ranking()[1]
    assert (history.confirmation is not None) == is_of_these
    assert (f"trial {second.number}, mean val_loss 0.402500" in page) == is_of_these
    assert ('<section id="confirmed">' in page) == is_of_these


def test_what_is_outlier_worse_than_most_does_not_flatten_the_others() -> None:
    values = [1.0, 1.1, 1.2, 1.3, 9.0, float("nan")]
    loss = KEYPOINTS.metrics["val_loss"]
    assert [is_outlier(value, values, loss) for value in values] == [False] * 4 + [True] * 2
    assert not is_outlier(0.0, values, loss)
    assert is_outlier(-9.0, values, KEYPOINTS.metrics["val_ap"])


def test_the_command_writes_the_page_and_a_picture(
    searches: dict[str, tuple[Path, SearchState]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = searches["whole"]
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    with Image.open(folder / "report.png") as picture:
        assert picture.width > 600
        assert len(picture.convert("RGB").getcolors(maxcolors=2**24) or ()) > 10
    assert (folder / "report.png").stat().st_size < 200_000


@pytest.mark.parametrize("module", ["search.report.__main__", "search.watch"])
def test_what_looks_at_a_search_imports_neither_torch_nor_ray(
    searches: dict[str, tuple[Path, SearchState]], module: str
) -> None:
    folder, _ = searches["whole"]
    look = (
        f"import sys; from {module} import main; code = main([{str(folder)!r}]); "
        "print(sorted({'torch', 'torchvision', 'ray'} & sys.modules.keys())); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr


def test_a_folder_without_a_search_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def seen_by_chromium(path: Path, folder: Path) -> tuple[str, list[str]]:
    """The page as the browser has it, and what its console says."""
    assert CHROMIUM is not None
    quiet = ["quic", "background-networking", "component-update", "sync", "gpu"]
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--no-first-run", "--dump-dom"),
        *(f"--disable-{name}" for name in quiet),
        *("--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", path.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("kind", KINDS)
def test_a_browser_shows_it_without_a_word_on_its_console(
    searches: dict[str, tuple[Path, SearchState]], tmp_path: Path, kind: str
) -> None:
    page, console = seen_by_chromium(write_report(searches[kind][0], KEYPOINTS), tmp_path)
    assert console == []
    for key in SECTIONS:
        assert f'<section id="{key}">' in page


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_page_that_loads_something_would_be_noticed(
    searches: dict[str, tuple[Path, SearchState]], tmp_path: Path
) -> None:
    page = page_of(read_history(searches["single"][0], KEYPOINTS))
    path = tmp_path / "page.html"
    path.write_text(page.replace("<h1>", '<img src="http://127.0.0.1:9/x.png"><h1>'))
    _, console = seen_by_chromium(path, tmp_path)
    assert any("Content Security Policy" in line for line in console)


def test_a_running_search_is_drawn_again_one_drawing_at_a_time(
    searches: dict[str, tuple[Path, SearchState]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "killed"
    shutil.copytree(searches["killed"][0], folder)
    (folder / "report.html").unlink(missing_ok=True)
    refresh = Refresh(folder, None)
    refresh()
    assert refresh._process is None  # it is too early
    monkeypatch.setattr("search.report.refresher.LEAST", 0.0)
    refresh = Refresh(folder, None)
    refresh()
    first = refresh._process
    assert first is not None
    refresh()
    assert refresh._process is first
    assert first.wait(60) == 0
    assert (folder / "report.html").exists()
    refresh()
    assert refresh._process is None  # it took too long to be drawn again at once
    refresh.end()


def test_watching_a_search_that_no_command_runs_shows_its_state(
    searches: dict[str, tuple[Path, SearchState]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch.main([str(searches["whole"][0])]) == 0
    assert capsys.readouterr().out.startswith("16/16 trials ended, best val_loss 0.0")
    assert watch.main([str(searches["whole"][0].parent)]) == 2
    assert "must be the journal of a search" in capsys.readouterr().err


def test_watching_ends_well_when_its_output_is_closed(
    searches: dict[str, tuple[Path, SearchState]],
) -> None:
    assert unread([sys.executable, "-m", "search.watch", str(searches["whole"][0])]) == (0, "")


def test_the_best_of_a_choice_of_texts_is_marked_at_its_place() -> None:
    study = optuna.create_study()
    space = CategoricalDistribution(["resnet18", "[8, 8]"])
    for number, text in enumerate(space.choices):
        params: dict[str, Any] = {"trunk": text}
        trial = optuna.create_trial(params=params, distributions={"trunk": space}, value=number)
        study.add_trial(trial)
    with drawing():
        axes = _slice(study, "trunk", "val_loss").axes[0]
    star: Any = axes.collections[-1]
    low, high = axes.get_xlim()
    assert low <= star.get_offsets()[0][0] <= high


def test_watching_follows_a_search_until_its_command_ends(
    searches: dict[str, tuple[Path, SearchState]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "killed"
    shutil.copytree(searches["killed"][0], folder)
    whole = (folder / "journal.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    (folder / "journal.jsonl").write_bytes(b"".join(lines[:8]))
    holder = ExitStack()
    holder.enter_context(held(folder / ".lock"))

    def meanwhile(_: float) -> None:
        (folder / "journal.jsonl").write_bytes(whole)
        holder.close()

    monkeypatch.setattr("search.watch.time.sleep", meanwhile)
    assert watch.main([str(folder)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
