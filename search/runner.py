"""Runs a prepared search to its result: trials, confirmation, promotion and report."""

import json
from collections.abc import Callable
from pathlib import Path

from kptrain.errors import TrainingError
from search.backend.ray_session import RayOnDemand
from search.backend.tune_driver import run_trials
from search.conclusion import conclude, how_to_resume, relative_to_here, why_all_failed
from search.console.output import Output
from search.console.progress import ProgressLog
from search.report.optuna_study import StudyCopy
from search.report.refresher import Refresh
from search.report.write import write_report
from search.space.space import max_epochs
from search.trials.assembly import ListedSettings, confirmation_state, search_state, searcher_of
from search.trials.confirmation import Confirmation, fresh_seeds
from search.trials.controller import SearchState
from search.trials.record import Record
from search.trials.run_folder import Search, journal_of


def run(search: Search, output: Output, *, address: str | None, verify: bool) -> bool:
    """Run what is left of a search, and promote its best; returns whether it is finished.

    address: of a running Ray cluster; verify: whether to check prepared data by reading them in
    full.
    Raises: KptrainError.
    """
    space, base = search.space, search.base
    with output.as_progress():  # once, before the first trial
        fingerprints = space.trainable.prepare(base, verify=verify)
    with journal_of(search, fingerprints) as journal:
        record = Record(search.folder, space.trainable, space.metric, space.keep, search.storage)
        state = search_state(search, record, searcher_of(search), journal)
        state.expected = None if search.estimate is None else search.estimate.trials
        if state.read_back():
            state.resume(space)
        try:
            with output.as_progress():
                all_ran, confirmation = _run_all(search, state, address, output)
        except KeyboardInterrupt:
            record.save()
            with output.as_result():
                print(f"Interrupted at once. {how_to_resume(search)}")
            return False
        record.sweep()  # all processes have ended
        with output.as_result():
            try:
                is_whole = conclude(search, record, confirmation, all_ran, output)
            finally:
                _draw_report(search)
        best = search.folder / "best"
        if best.is_dir():  # unless it was interrupted before any epoch
            output.write({"event": "result"} | json.loads((best / "provenance.json").read_text()))
            space.trainable.log_artifact(base, best, group=record.title, run_id=search.wandb_id)
        if all_ran and not record.ranking():
            raise TrainingError(why_all_failed(record, relative_to_here(search.folder)))
        return is_whole


def _run_all(
    search: Search, state: SearchState, address: str | None, output: Output
) -> tuple[bool, Confirmation | None]:
    """Run what is left of the search, then of its confirmation; returns whether the search's trials
    have all ended, and the confirmation if there is one."""
    space, base = search.space, search.base
    url = "" if search.storage is None else f", and at {search.storage.url}"
    print(f"Results   {relative_to_here(search.folder) / 'trials.csv'}{url}", flush=True)
    uses_gpus, how = space.trainable.uses_gpu(base), how_to_resume(search)
    with RayOnDemand(address, uses_gpus=uses_gpus, how_to_resume=how) as ray:
        if not state.has_work() and space.confirm is None:
            print("Nothing is left of its budget; extend it with --trials, --hours or --epochs.")
        if state.has_work():
            ray.start()
            _run_search_trials(search, state, ray.logs, output)
        if state.interrupted or space.confirm is None or not state.record.ranking():
            return state.interrupted is None, None
        seeds = fresh_seeds(space, base, space.confirm.seeds)
        confirmation = Confirmation(state.record, space.confirm, seeds)
        print(confirmation.describe(), flush=True)
        points = ListedSettings(confirmation.points())
        confirming = confirmation_state(search, confirmation, points, confirmation.journal())
        confirming.expected = None if search.estimate is None else search.estimate.confirm
        if confirming.read_back():
            confirming.resume(confirming.spending.budget)
        if confirming.has_work():
            ray.start()
            run_trials(space, base, confirming, output)
    return True, confirmation


def _run_search_trials(
    search: Search, state: SearchState, logs: Path | None, output: Output
) -> None:
    """Run the trials of the search itself, and update its study, its report and its log.

    logs: the folder of logs that Ray's dashboard shows; None if there is none.
    """
    space, base = search.space, search.base
    refresh = Refresh(search.folder, space.trainable.name)
    try:
        observers: list[Callable[[], None]]
        observers = [StudyCopy(state.record, space.axes).sync, refresh]
        if logs is not None:
            observers.append(ProgressLog(logs / "search.log", state, max_epochs(space, base)))
        run_trials(space, base, state, output, observers)
    finally:
        refresh.end()


def _draw_report(search: Search) -> None:
    """Draw the report; an error here must not hide the result of the search."""
    try:
        write_report(search.folder, search.space.trainable)
    except Exception as error:  # printed below: the result matters more
        print(f"Report    cannot be drawn: {type(error).__name__}: {error}")
