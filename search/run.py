"""The command `python -m search.run`: from a space file to the best training."""

import json
import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from search.hidden import end_if_hidden

end_if_hidden(__name__)  # before all that the working folder may hide

from kptrain.console import spell_out_unknown
from kptrain.errors import KptrainError, TrainingError, spelt_out
from search.arguments import begin, build_parser, resume
from search.budget import count_of
from search.signals import end_at_once
from search.space import max_epochs
from search.way import Way

if TYPE_CHECKING:
    from search.confirm import Confirmation
    from search.importance import Importance
    from search.opening import Search
    from search.record import Record
    from search.state import SearchState

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C or SIGTERM ended, as shells have it for the first."""

# Torch, Optuna and Ray take seconds to import: a slip in the space file is answered before.


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    end_at_once()
    parsed = build_parser().parse_args(arguments)
    try:
        way = Way("quiet" if parsed.quiet else "json" if parsed.json else "auto")
        # Of --plan, the plan is all that is asked for.
        with nullcontext() if parsed.plan and parsed.quiet else way.by_the_way():
            search = resume(parsed) if parsed.resume else begin(parsed)
        if search is None:
            return 0
        return run(search, parsed.address, way, is_new=not parsed.resume, verify=parsed.verify)
    except (KptrainError, OSError) as error:
        print(f"error: {spelt_out(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED


def run(
    search: "Search", address: str | None, way: Way, *, is_new: bool, verify: bool = False
) -> int:
    """Run what is left of a search, and promote its best; returns the exit code.

    is_new: whether this command has begun it, so that its folder goes if nothing runs in it;
    verify: whether to read the data whole that was made ready before.
    Raises: KptrainError.
    """
    from search.opening import gone_if_nothing_ran

    with gone_if_nothing_ran(search) if is_new else nullcontext():
        return _run(search, address, way, verify)


def _run(search: "Search", address: str | None, way: Way, verify: bool) -> int:
    from search.opening import journal_of
    from search.rebuild import search_state, searcher_of
    from search.record import Record

    space, base = search.space, search.base
    with way.by_the_way():
        fingerprints = space.trainable.prepare(base, verify=verify)  # once, before the first trial
    with journal_of(search, fingerprints) as journal:
        record = Record(search.folder, space.trainable, space.metric, space.keep, search.storage)
        state = search_state(search, record, searcher_of(search), journal)
        state.expected = None if search.estimate is None else search.estimate.trials
        if state.read_back():
            state.resume(space)
        try:
            with way.by_the_way():
                is_whole, confirmation = _run_all(search, state, address, way)
        except KeyboardInterrupt:
            record.save()
            with way.in_the_end():
                print(f"Interrupted at once. {how_to_go_on(search)}")
            return INTERRUPTED
        record.sweep()  # all processes are gone by now
        with way.in_the_end():
            try:
                code = _conclude(search, record, confirmation, is_whole, way)
            finally:
                _draw_report(search)
        best = search.folder / "best"
        if best.is_dir():  # else it was interrupted before any epoch
            way.write({"event": "result"} | json.loads((best / "provenance.json").read_text()))
            space.trainable.log_artifact(base, best, group=record.title, run_id=search.wandb_id)
        if is_whole and not record.ranking():
            raise TrainingError(_why_none_succeeded(record, _as_given(search.folder)))
        return code


def _run_all(
    search: "Search", state: "SearchState", address: str | None, way: Way
) -> tuple[bool, "Confirmation | None"]:
    """Run what is left of the search, then of its confirmation; whether the search is at its end,
    and the confirmation if there is one."""
    from search.cluster import RayOnDemand
    from search.confirm import Confirmation, fresh_seeds
    from search.driver import run_trials
    from search.rebuild import Listed, confirmation_state
    from search.refresh import Refresh
    from search.study import StudyMirror
    from search.terminal import ProgressLog

    space, base = search.space, search.base
    url = "" if search.storage is None else f", and at {search.storage.url}"
    print(f"Results   {_as_given(search.folder) / 'trials.csv'}{url}", flush=True)
    uses_gpus, how = space.trainable.uses_gpu(base), how_to_go_on(search)
    with RayOnDemand(address, uses_gpus=uses_gpus, how_to_go_on=how) as ray:
        if not state.has_work() and space.confirm is None:
            print("Nothing is left of its budget; more is given by --trials and its like.")
        if state.has_work():
            ray.start()
            refresh = Refresh(search.folder, space.trainable.name)
            try:
                onlookers: list[Callable[[], None]]
                onlookers = [StudyMirror(state.record, space.axes).sync, refresh]
                if ray.logs is not None:
                    log = ray.logs / "search.log"
                    onlookers.append(ProgressLog(log, state, max_epochs(space, base)))
                run_trials(space, base, state, way, onlookers)
            finally:
                refresh.end()
        if state.interrupted or space.confirm is None or not state.record.ranking():
            return state.interrupted is None, None
        seeds = fresh_seeds(space, base, space.confirm.seeds)
        confirmation = Confirmation(state.record, space.confirm, seeds)
        print(confirmation.describe(), flush=True)
        points = Listed(confirmation.points())
        confirming = confirmation_state(search, confirmation, points, confirmation.journal())
        confirming.expected = None if search.estimate is None else search.estimate.confirm
        if confirming.read_back():
            confirming.resume(confirming.spending.budget)
        if confirming.has_work():
            ray.start()
            run_trials(space, base, confirming, way)
    return True, confirmation


def _draw_report(search: "Search") -> None:
    """A report that cannot be drawn costs no result."""
    from search.report import write_report

    try:
        write_report(search.folder, search.space.trainable)
    except Exception as error:
        print(f"Report    cannot be drawn: {type(error).__name__}: {error}")


def _conclude(
    search: "Search",
    record: "Record",
    confirmation: "Confirmation | None",
    is_whole: bool,
    way: Way,
) -> int:
    """Promote the best and say what the search came to; returns the exit code."""
    from search.closing import describe_result, first_reason, why_none
    from search.importance import importance, save_importance
    from search.promote import as_saved, promote

    out, space = _as_given(search.folder), search.space
    winner = record.leader()
    done = sum(trial.state in ("completed", "stopped", "failed") for trial in record.trials)
    counted = (
        count_of(done, "trial") if space.trials is None else f"{done} of {space.trials} trials"
    )
    if winner is None and not is_whole:
        print(f"Interrupted after {counted}; {why_none(record)}. {how_to_go_on(search)}")
        return INTERRUPTED
    if winner is None:
        reason = f"{why_none(record)}{first_reason(record)}"
        raise TrainingError(f"{out}: a trial must come to its end, but {reason}")
    mattered = importance(record, space.axes)
    save_importance(mattered, out)
    if confirmation is not None and _promote_confirmed(confirmation, search, mattered, out, way):
        return 0
    winner = as_saved(winner, space.trainable)
    with way.by_the_way():  # pictures say how far they are
        promote(winner, search)
    print(describe_result(winner, record, mattered, out))
    if not is_whole:
        unsure = "" if space.confirm is None else " The best is not confirmed."
        print(f"Interrupted after {counted}.{unsure} {how_to_go_on(search)}")
        return INTERRUPTED
    return 0 if confirmation is None else _say_not_confirmed(confirmation, search)


def _promote_confirmed(
    confirmation: "Confirmation",
    search: "Search",
    mattered: "Importance",
    out: Path,
    way: Way,
) -> bool:
    """Promote the best by its mean and say so; False if the confirmation came to nothing."""
    from search.confirm_report import (
        describe_confirmation,
        provenance_of,
        save_confirmation,
    )
    from search.promote import as_saved, promote

    confirmation.sweep()
    winner = confirmation.leader()
    if not confirmation.is_whole() or winner is None:
        return False
    save_confirmation(confirmation, out)
    winner = as_saved(winner, search.space.trainable)
    with way.by_the_way():
        promote(winner, search, provenance_of(confirmation))
    print(describe_confirmation(confirmation, mattered, out))
    return True


def _say_not_confirmed(confirmation: "Confirmation", search: "Search") -> int:
    """Why the search's own winner was promoted; returns the exit code."""
    if confirmation.is_whole():
        print(f"Not confirmed: every training failed; the first: {confirmation.trials[0].error}")
        return 0
    print(
        f"Not confirmed: interrupted after {confirmation.num_done()} of "
        f"{len(confirmation.points())} trainings; the best is the search's own. "
        f"{how_to_go_on(search)}"
    )
    return INTERRUPTED


def how_to_go_on(search: "Search") -> str:
    folder = shlex.quote(str(_as_given(search.folder)))
    option = search.space.trainable.option
    return f"Go on with python -m search.run --resume {folder}{option}"


def _as_given(folder: Path) -> Path:
    """As a user who stands here would write it."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _why_none_succeeded(record: "Record", out: Path) -> str:
    """Where the best of those that failed was promoted."""
    from search.closing import how_it_ended

    best = record.leader()
    assert best is not None  # else there was nothing to promote
    return (
        f"{out}: a trial must come to its end, but each failed; {out / 'best'} has the best of "
        f"them, trial {best.number}, which {how_it_ended(best)}"
    )


def script() -> NoReturn:
    """The command with its arguments, as it is installed."""
    spell_out_unknown()
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    script()
