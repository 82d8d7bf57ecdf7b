"""The command `python -m search.run`: from a space file to the best training."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kptrain.config import TrainConfig
from kptrain.errors import KptrainError, SettingsError, TrainingError
from kptrain.resolve import banner, change, parse_assignments
from search.budget import Budget, count_of
from search.space import Space, read_space, resolve_space, with_budget

if TYPE_CHECKING:
    from search.confirm import Confirmation
    from search.importance import Importance
    from search.record import Record
    from search.warm import PastSearch

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as shells have it."""

# Torch, Optuna and Ray take seconds to import: a slip in the space file is answered before.


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m search.run",
        description="Search the settings of a keypoint training: Ray Tune runs the trials, Optuna "
        "proposes them, ASHA stops the hopeless ones. The best one is put into OUT/best.",
    )
    parser.add_argument("space", type=Path, metavar="SPACE.yaml", help="what to search")
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
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to make (default: in runs)")
    parser.add_argument("--address", metavar="A", help="a running Ray cluster, or 'auto'")
    parser.add_argument(
        "--plan", action="store_true", help="check everything, say what it can cost, and stop"
    )
    return parser.parse_args(arguments)


def _add_budget(parser: argparse.ArgumentParser) -> None:
    """The parts of a budget, each instead of the space file's."""
    told = "instead of the space's; the search ends with what is spent first"
    parser.add_argument("--trials", type=int, metavar="N", help=f"trials, {told}")
    parser.add_argument("--hours", type=float, metavar="H", help=f"of wall clock, {told}")
    parser.add_argument("--gpu-hours", type=float, metavar="H", help=f"of all trials, {told}")
    parser.add_argument("--epochs", type=int, metavar="N", help=f"of all trials together, {told}")


def read_search(arguments: argparse.Namespace) -> tuple[Space, TrainConfig]:
    """The space and the settings of its first trial, checked before anything slow begins."""
    budget = {part: getattr(arguments, part) for part in Budget.model_fields}
    given = {part: value for part, value in budget.items() if value is not None}
    space = with_budget(read_space(arguments.space), given)
    said: dict[str, Any] = parse_assignments(arguments.set)
    if arguments.data is not None:
        if "data.root" in said:
            raise SettingsError("--data: must not come with --set data.root; leave out one of them")
        said["data.root"] = arguments.data
    base = resolve_space(space, said)
    if base.train.threads is None:  # as many as Ray gives the trial; the rerun needs it, too
        base = change(base, {"train.threads": space.resources.cpu}, str(space.path))
    return space, base


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    try:
        return _search(parse_arguments(arguments))
    except (KptrainError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED


def _search(arguments: argparse.Namespace) -> int:
    space, base = read_search(arguments)
    import torch  # noqa: PLC0415  (see above)

    from search.plan import check_files, check_machine, describe_plan, fit_gpu  # noqa: PLC0415  (see above)
    from search.warm import read_past_searches  # noqa: PLC0415  (see above)

    out = arguments.out or Path("runs") / time.strftime(f"{space.path.stem}-%Y%m%d-%H%M%S")
    if out.exists():
        raise SettingsError(f"--out: must be a folder that does not exist yet, but {out} does")
    print(banner(base))
    num_gpus = torch.cuda.device_count()
    if space.resources.gpu == "auto" and num_gpus and base.train.device != "cpu":
        space, told = fit_gpu(space, base)
        print(told)
    print(describe_plan(space, base, num_gpus))
    check_files(space, base)
    if arguments.address is None:
        check_machine(space, base)
    past = read_past_searches(arguments.warm_from, space, base)
    for search in past:
        print(f"Warm      {search}")
    if arguments.plan:
        return 0
    if arguments.address is not None:
        from search.cluster import check_address  # noqa: PLC0415  (see above)

        check_address(arguments.address)
    out.mkdir(parents=True)
    (out / "space.yaml").write_text(space.text, encoding="utf-8")
    return _run(space, base, out, arguments.address, past)


def _run(
    space: Space, base: TrainConfig, out: Path, address: str | None, past: list["PastSearch"]
) -> int:
    from kptrain.pack import open_pack  # noqa: PLC0415  (see above)
    from search.cluster import ray_session  # noqa: PLC0415  (see above)
    from search.driver import run_trials  # noqa: PLC0415  (see above)
    from search.importance import importance, save_importance  # noqa: PLC0415  (see above)
    from search.promote import as_saved, promote  # noqa: PLC0415  (see above)
    from search.record import Record  # noqa: PLC0415  (see above)
    from search.report import describe_result  # noqa: PLC0415  (see above)

    for name in ("train", "val"):  # once, before the first trial
        print(open_pack(base.data, name, progress=sys.stdout.isatty()).summary)
    # Trials run in another working directory, so every path is absolute.
    record = Record(out.absolute(), space.metric, space.keep)
    print("Starting Ray ...", flush=True)
    with ray_session(address) as dashboard:
        if dashboard:
            print(f"Dashboard http://{dashboard} (its token: ray get-auth-token)")
        print(f"Results   {out / 'trials.csv'}", flush=True)
        is_whole = run_trials(space, base, record, past)
        confirmation = _confirm(space, base, record) if is_whole else None
    record.sweep()  # all processes are gone by now
    winner = record.leader()
    done = sum(trial.state != "interrupted" for trial in record.trials)
    counted = (
        count_of(done, "trial") if space.trials is None else f"{done} of {space.trials} trials"
    )
    if winner is None and not is_whole:
        print(f"Interrupted after {counted}; none had finished an epoch.")
        return INTERRUPTED
    if winner is None:
        raise TrainingError(_why_none_won(record.trials[0].error, out))
    mattered = importance(record, space.axes)
    save_importance(mattered, out)
    warm_from = [search.folder for search in past]
    if confirmation is not None and _promote_confirmed(
        confirmation, space, warm_from, mattered, out
    ):
        return 0
    winner = as_saved(winner, record.metric)
    promote(winner, record, space, warm_from)
    print(describe_result(winner, record, mattered, out))
    if not is_whole:
        unsure = "" if space.confirm is None else " The best is not confirmed."
        print(f"Interrupted after {counted}.{unsure}")
        return INTERRUPTED
    return 0 if confirmation is None else _say_not_confirmed(confirmation)


def _confirm(space: Space, base: TrainConfig, record: "Record") -> "Confirmation | None":
    """Train the best few again, where the space says so and there are any."""
    from search.confirm import Confirmation, fresh_seeds  # noqa: PLC0415  (see above)
    from search.driver import run_confirmation  # noqa: PLC0415  (see above)

    if space.confirm is None or record.leader() is None:
        return None
    seeds = fresh_seeds(space, base, space.confirm.seeds)
    confirmation = Confirmation(record, space.confirm, seeds)
    print(confirmation.describe(), flush=True)
    run_confirmation(space, base, confirmation)
    return confirmation


def _promote_confirmed(
    confirmation: "Confirmation",
    space: Space,
    warm_from: list[Path],
    mattered: "Importance",
    out: Path,
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
    promote(winner, confirmation.search, space, warm_from, provenance_of(confirmation))
    print(describe_confirmation(confirmation, mattered, out))
    return True


def _say_not_confirmed(confirmation: "Confirmation") -> int:
    """Why the search's own winner was promoted; returns the exit code."""
    if confirmation.is_whole():
        print(f"Not confirmed: every training failed; the first: {confirmation.trials[0].error}")
        return 0
    print(
        f"Not confirmed: interrupted after {confirmation.num_done()} of "
        f"{len(confirmation.points())} trainings; the best is the search's own."
    )
    return INTERRUPTED


def _why_none_won(error: str, out: Path) -> str:
    return f"{out}: at least one trial must finish an epoch, but none did; the first: {error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
