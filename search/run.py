"""The command `python -m search.run`: from a space file to the best training."""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kptrain.config import TrainConfig
from kptrain.errors import KptrainError, SettingsError, TrainingError
from kptrain.layout import SplitName
from kptrain.resolve import banner, change, parse_assignments
from search.budget import Budget, count_of
from search.signals import end_at_once
from search.space import Space, max_epochs, read_space, resolve_space, with_budget
from search.way import Way

SPLITS: tuple[SplitName, ...] = ("train", "val")

if TYPE_CHECKING:
    from search.confirm import Confirmation
    from search.importance import Importance
    from search.opening import Search
    from search.record import Record
    from search.state import SearchState

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C or SIGTERM ended, as shells have it for the first."""

# Torch, Optuna and Ray take seconds to import: a slip in the space file is answered before.


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m search.run",
        description="Search the settings of a keypoint training: Ray Tune runs the trials, Optuna "
        "proposes them, ASHA stops the hopeless ones. The best one is put into OUT/best.",
    )
    parser.add_argument("--version", action="version", version=f"kptrain {version('kptrain')}")
    parser.add_argument("space", type=Path, nargs="?", metavar="SPACE.yaml", help="what to search")
    parser.add_argument(
        "--resume",
        metavar="DIR",
        help="go on with the search in this folder or at this URL, whatever ended it; with "
        "--trials and its like beyond its budget",
    )
    parser.add_argument("--data", metavar="P", help="folder with COCO, or 'embedded'")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="path=value",
        help="fix one setting for all trials, e.g. train.epochs=5; may be given several times",
    )
    _add_budget(parser)
    parser.add_argument(
        "--warm-from",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="an earlier search of the same training to learn from; may be given several times",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder to make (default: in runs), or a URL such as s3://bucket/name, to which all "
        "is written as well",
    )
    parser.add_argument("--address", metavar="A", help="a running Ray cluster, or 'auto'")
    parser.add_argument(
        "--plan", action="store_true", help="check everything, say what it can cost, and stop"
    )
    said = parser.add_mutually_exclusive_group()
    said.add_argument("--quiet", action="store_true", help="say only what the search came to")
    said.add_argument(
        "--json",
        action="store_true",
        help="an object a line on standard output, one for each event and one for the result; what "
        "people read goes to standard error",
    )
    return parser


def _add_budget(parser: argparse.ArgumentParser) -> None:
    """The parts of a budget, each instead of the space file's."""
    told = "instead of the space's; the search ends with what is spent first"
    parser.add_argument("--trials", type=int, metavar="N", help=f"trials, {told}")
    parser.add_argument("--hours", type=float, metavar="H", help=f"of wall clock, {told}")
    parser.add_argument("--gpu-hours", type=float, metavar="H", help=f"of all trials, {told}")
    parser.add_argument("--epochs", type=int, metavar="N", help=f"of all trials together, {told}")


def read_search(arguments: argparse.Namespace) -> tuple[Space, TrainConfig]:
    """The space and the settings of its first trial, checked before anything slow begins."""
    if arguments.space is None:
        raise SettingsError(
            "SPACE.yaml: must be given, but is not; name a space file such as "
            "spaces/lr_sched.yaml, or a search to go on with by --resume DIR"
        )
    space = with_budget(read_space(arguments.space), _budget(arguments))
    said: dict[str, Any] = parse_assignments(arguments.set)
    if arguments.data is not None:
        if "data.root" in said:
            raise SettingsError("--data: must not come with --set data.root; leave out one of them")
        said["data.root"] = arguments.data
    base = resolve_space(space, said)
    if base.train.threads is None:  # as many as Ray gives the trial; the rerun needs it, too
        base = change(base, {"train.threads": space.resources.cpu}, str(space.path))
    return space, base


def _budget(arguments: argparse.Namespace) -> dict[str, float]:
    """The parts that are given."""
    parts = {part: getattr(arguments, part) for part in Budget.model_fields}
    return {part: value for part, value in parts.items() if value is not None}


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    end_at_once()
    parsed = build_parser().parse_args(arguments)
    try:
        way = Way("quiet" if parsed.quiet else "json" if parsed.json else "auto")
        with way.by_the_way():
            search = _resumed(parsed) if parsed.resume else begin(parsed)
        return 0 if search is None else run(search, parsed.address, way)
    except (KptrainError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED


def begin(arguments: argparse.Namespace) -> "Search | None":
    """A new search, in a folder of its own; None if only its plan was asked for."""
    space, base = read_search(arguments)
    from search.opening import begin_search  # noqa: PLC0415  (see above)
    from search.warm import read_past_searches  # noqa: PLC0415  (see above)

    out, url = _where(arguments.out or time.strftime(f"runs/{space.path.stem}-%Y%m%d-%H%M%S"))
    if out.exists():
        raise SettingsError(
            f"--out: must be a folder that does not exist yet, but {out} does; choose another, or "
            f"go on with the search in it by --resume {shlex.quote(str(out))}"
        )
    space = _planned(space, base, arguments.address)
    past = read_past_searches(arguments.warm_from, space, base)
    for search in past:
        print(f"Warm      {search}")
    return None if arguments.plan else begin_search(out, space, base, past, url)


def _where(out: str) -> tuple[Path, str | None]:
    """The folder to work in, and its URL if it has one.

    Raises: SettingsError if nothing can be written there, or there is a search already.
    """
    from search.journal import JOURNAL  # noqa: PLC0415  (see above)
    from search.storage import Storage, is_url, url_name  # noqa: PLC0415  (see above)

    if not is_url(out):
        if ":/" in out:  # what a path makes of a URL
            raise SettingsError(
                f"--out: must be a path, or a URL with ://, but got {out}; give a URL as text"
            )
        return Path(out), None
    storage = Storage(out)
    storage.check()
    if storage.read(JOURNAL) is not None:
        raise SettingsError(
            f"--out: must be a folder that does not exist yet, but at {out} is a search; choose "
            f"another, or go on with it by --resume {shlex.quote(out)}"
        )
    return Path("runs") / url_name(out), out


def _resumed(arguments: argparse.Namespace) -> "Search | None":
    """The search in a folder, likewise."""
    given = {"--set": arguments.set, "--warm-from": arguments.warm_from, "--out": arguments.out}
    for option, value in given.items():
        if value:
            raise SettingsError(
                f"{option}: must not come with --resume, as the search goes on with what it began "
                f"with; leave it out, or begin another search"
            )
    from search.opening import fetch_search, open_search, with_space  # noqa: PLC0415  (see above)
    from search.storage import is_url  # noqa: PLC0415  (see above)

    url = arguments.resume if is_url(arguments.resume) else None
    folder = Path(arguments.resume) if url is None else fetch_search(url)
    search = open_search(folder, arguments.space, _budget(arguments), arguments.data, url)
    space = _planned(search.space, search.base, arguments.address)
    return None if arguments.plan else with_space(search, space)


def _planned(space: Space, base: TrainConfig, address: str | None) -> Space:
    """Say what the search will do, and check all that can be checked before.

    Returns the space with the share of a GPU that fits.
    """
    import torch  # noqa: PLC0415  (see above)

    from search.plan import check_files, check_machine, describe_plan, fit_gpu  # noqa: PLC0415  (see above)

    print(banner(base))
    num_gpus = torch.cuda.device_count()
    if space.resources.gpu == "auto" and num_gpus and base.train.device != "cpu":
        space, told = fit_gpu(space, base)
        print(told)
    print(describe_plan(space, base, num_gpus))
    check_files(space, base)
    if address is None:
        check_machine(space, base)
    else:
        from search.cluster import check_address  # noqa: PLC0415  (see above)

        check_address(address)
    return space


def run(search: "Search", address: str | None, way: Way) -> int:
    """Run what is left of a search, and promote its best; returns the exit code.

    Raises: KptrainError.
    """
    from kptrain.loggers import log_artifact  # noqa: PLC0415  (see above)
    from kptrain.pack import open_pack  # noqa: PLC0415  (see above)
    from search.opening import journal_of  # noqa: PLC0415  (see above)
    from search.rebuild import search_state, searcher_of  # noqa: PLC0415  (see above)
    from search.record import Record  # noqa: PLC0415  (see above)

    data = search.base.data
    with way.by_the_way():
        progress = sys.stdout.isatty()
        packs = {name: open_pack(data, name, progress, check_images=True) for name in SPLITS}
        for pack in packs.values():  # made once, before the first trial
            print(pack.summary)
    fingerprints = {name: pack.fingerprint for name, pack in packs.items()}
    space, base = search.space, search.base
    with journal_of(search, fingerprints) as journal:
        record = Record(search.folder, space.metric, space.keep, search.storage)
        state = search_state(search, record, searcher_of(search), journal)
        if state.redo():
            state.resume(space)
        try:
            with way.by_the_way():
                is_whole, confirmation = _run_all(search, state, address, way)
        except KeyboardInterrupt:
            record.save()
            with way.in_the_end():
                print(f"Interrupted at once. {how_to_go_on(_as_given(search.folder))}")
            return INTERRUPTED
        record.sweep()  # all processes are gone by now
        with way.in_the_end():
            try:
                code = _conclude(search, record, confirmation, is_whole)
            finally:
                _draw_report(search.folder)
        best = search.folder / "best"
        if best.is_dir():  # else it was interrupted before any epoch
            way.write({"event": "result"} | json.loads((best / "provenance.json").read_text()))
            log_artifact(base, best, group=record.title, run_id=search.wandb_id)
        return code


def _run_all(
    search: "Search", state: "SearchState", address: str | None, way: Way
) -> tuple[bool, "Confirmation | None"]:
    """Run what is left of the search, then of its confirmation; whether the search is at its end,
    and the confirmation if there is one."""
    from search.cluster import RayOnDemand  # noqa: PLC0415  (see above)
    from search.confirm import Confirmation, fresh_seeds  # noqa: PLC0415  (see above)
    from search.driver import run_trials  # noqa: PLC0415  (see above)
    from search.rebuild import Listed, confirmation_state  # noqa: PLC0415  (see above)
    from search.refresh import Refresh  # noqa: PLC0415  (see above)
    from search.study import StudyMirror  # noqa: PLC0415  (see above)
    from search.terminal import ProgressLog  # noqa: PLC0415  (see above)

    space, base = search.space, search.base
    url = "" if search.storage is None else f", and at {search.storage.url}"
    print(f"Results   {_as_given(search.folder) / 'trials.csv'}{url}", flush=True)
    with RayOnDemand(address, uses_gpus=base.train.device != "cpu") as ray:
        if state.has_work():
            ray.start()
            refresh = Refresh(search.folder)
            try:
                onlookers: list[Callable[[], None]]
                onlookers = [StudyMirror(state.record, space.axes).sync, refresh]
                if ray.logs is not None:
                    log = ray.logs / "search.log"
                    onlookers.append(ProgressLog(log, state, max_epochs(space, base)))
                run_trials(space, base, state, way, onlookers)
            finally:
                refresh.end()
        if state.interrupted or space.confirm is None or state.record.leader() is None:
            return not state.interrupted, None
        seeds = fresh_seeds(space, base, space.confirm.seeds)
        confirmation = Confirmation(state.record, space.confirm, seeds)
        print(confirmation.describe(), flush=True)
        points = Listed(confirmation.points())
        confirming = confirmation_state(search, confirmation, points, confirmation.journal())
        if confirming.redo():
            confirming.resume(confirming.spending.budget)
        if confirming.has_work():
            ray.start()
            run_trials(space, base, confirming, way)
    return True, confirmation


def _draw_report(folder: Path) -> None:
    """A report that cannot be drawn costs no result."""
    from search.report import write_report  # noqa: PLC0415  (see above)

    try:
        write_report(folder)
    except Exception as error:
        print(f"Report    cannot be drawn: {type(error).__name__}: {error}")


def _conclude(
    search: "Search",
    record: "Record",
    confirmation: "Confirmation | None",
    is_whole: bool,
) -> int:
    """Promote the best and say what the search came to; returns the exit code."""
    from search.closing import describe_result  # noqa: PLC0415  (see above)
    from search.importance import importance, save_importance  # noqa: PLC0415  (see above)
    from search.promote import as_saved, promote  # noqa: PLC0415  (see above)

    out, space = _as_given(search.folder), search.space
    winner = record.leader()
    done = sum(trial.state in ("completed", "stopped", "failed") for trial in record.trials)
    counted = (
        count_of(done, "trial") if space.trials is None else f"{done} of {space.trials} trials"
    )
    if winner is None and not is_whole:
        print(f"Interrupted after {counted}; none had finished an epoch. {how_to_go_on(out)}")
        return INTERRUPTED
    if winner is None:
        raise TrainingError(_why_none_won(record, out))
    mattered = importance(record, space.axes)
    save_importance(mattered, out)
    if confirmation is not None and _promote_confirmed(confirmation, search, mattered, out):
        return 0
    winner = as_saved(winner, record.metric)
    promote(winner, search)
    print(describe_result(winner, record, mattered, out))
    if not is_whole:
        unsure = "" if space.confirm is None else " The best is not confirmed."
        print(f"Interrupted after {counted}.{unsure} {how_to_go_on(out)}")
        return INTERRUPTED
    return 0 if confirmation is None else _say_not_confirmed(confirmation, out)


def _promote_confirmed(
    confirmation: "Confirmation", search: "Search", mattered: "Importance", out: Path
) -> bool:
    """Promote the best by its mean and say so; False if the confirmation came to nothing."""
    from search.confirm_report import (  # noqa: PLC0415  (see above)
        describe_confirmation,
        provenance_of,
        save_confirmation,
    )
    from search.promote import as_saved, promote  # noqa: PLC0415  (see above)

    confirmation.sweep()
    winner = confirmation.leader()
    if not confirmation.is_whole() or winner is None:
        return False
    save_confirmation(confirmation, out)
    winner = as_saved(winner, confirmation.metric)
    promote(winner, search, provenance_of(confirmation))
    print(describe_confirmation(confirmation, mattered, out))
    return True


def _say_not_confirmed(confirmation: "Confirmation", out: Path) -> int:
    """Why the search's own winner was promoted; returns the exit code."""
    if confirmation.is_whole():
        print(f"Not confirmed: every training failed; the first: {confirmation.trials[0].error}")
        return 0
    print(
        f"Not confirmed: interrupted after {confirmation.num_done()} of "
        f"{len(confirmation.points())} trainings; the best is the search's own. {how_to_go_on(out)}"
    )
    return INTERRUPTED


def how_to_go_on(out: Path) -> str:
    return f"Go on with python -m search.run --resume {shlex.quote(str(out))}"


def _as_given(folder: Path) -> Path:
    """As a user who stands here would write it."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _why_none_won(record: "Record", out: Path) -> str:
    error = next((trial.error for trial in record.trials if trial.error), "no trial was begun")
    return f"{out}: at least one trial must finish an epoch, but none did; the first: {error}"


def script() -> NoReturn:
    """The command with its arguments, as it is installed."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    script()
