"""Concludes a search: promotes its best trial and reports the result."""

import shlex
from pathlib import Path

from kptrain.errors import TrainingError
from search.console.output import Output
from search.promote import promote, up_to_checkpoint
from search.report.confirmation import describe_confirmation, provenance_of, save_confirmation
from search.report.importance import Importance, importance, save_importance
from search.report.wording import describe_result, first_reason, how_it_ended, why_no_best
from search.space.budget import count_of
from search.trials.confirmation import Confirmation
from search.trials.record import Record
from search.trials.run_folder import Search


def conclude(
    search: Search,
    record: Record,
    confirmation: Confirmation | None,
    all_ran: bool,
    output: Output,
) -> bool:
    """Promote the best and report the result; returns whether the search is finished.

    all_ran: whether all trials of the search itself have ended.
    Raises: TrainingError if they have and none has finished an epoch.
    """
    out, space = relative_to_here(search.folder), search.space
    winner = record.leader()
    done = sum(trial.state in ("completed", "stopped", "failed") for trial in record.trials)
    counted = (
        count_of(done, "trial") if space.trials is None else f"{done} of {space.trials} trials"
    )
    if winner is None and not all_ran:
        print(f"Interrupted after {counted}; {why_no_best(record)}. {how_to_resume(search)}")
        return False
    if winner is None:
        reason = f"{why_no_best(record)}{first_reason(record)}"
        raise TrainingError(f"{out}: a trial must complete, but {reason}")
    measured = importance(record, space.axes)
    save_importance(measured, out)
    if confirmation is not None and _promote_confirmed(confirmation, search, measured, out, output):
        return True
    winner = up_to_checkpoint(winner, space.trainable)
    with output.as_progress():  # drawing pictures prints progress
        promote(winner, search)
    print(describe_result(winner, record, measured, out))
    if not all_ran:
        note = "" if space.confirm is None else " The best is not confirmed."
        print(f"Interrupted after {counted}.{note} {how_to_resume(search)}")
        return False
    return True if confirmation is None else _report_not_confirmed(confirmation, search)


def _promote_confirmed(
    confirmation: Confirmation, search: Search, measured: Importance, out: Path, output: Output
) -> bool:
    """Promote the best by its mean and report it; False if the confirmation has no winner."""
    confirmation.sweep()
    winner = confirmation.leader()
    if not confirmation.is_whole() or winner is None:
        return False
    save_confirmation(confirmation, out)
    winner = up_to_checkpoint(winner, search.space.trainable)
    with output.as_progress():
        promote(winner, search, provenance_of(confirmation))
    print(describe_confirmation(confirmation, measured, out))
    return True


def _report_not_confirmed(confirmation: Confirmation, search: Search) -> bool:
    """Report why the search's own winner was promoted; returns whether the search is finished."""
    if confirmation.is_whole():
        print(f"Not confirmed: every training failed; the first: {confirmation.trials[0].error}")
        return True
    print(
        f"Not confirmed: interrupted after {confirmation.num_done()} of "
        f"{len(confirmation.points())} trainings; the best is the search's own. "
        f"{how_to_resume(search)}"
    )
    return False


def how_to_resume(search: Search) -> str:
    folder = shlex.quote(str(relative_to_here(search.folder)))
    option = search.space.trainable.option
    return f"Resume it with python -m search.run --resume {folder}{option}"


def relative_to_here(folder: Path) -> Path:
    """A path as a user in the working folder would write it."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def why_all_failed(record: Record, out: Path) -> str:
    """The error if every trial failed, and the best of them was promoted."""
    best = record.leader()
    assert best is not None  # one was promoted
    return (
        f"{out}: a trial must complete, but each failed; {out / 'best'} has the best of them, "
        f"trial {best.number}, which {how_it_ended(best)}"
    )
