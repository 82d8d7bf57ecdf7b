"""The options of `python -m search.run`: the parser, and the arguments for `run_search`."""

import argparse
from pathlib import Path
from typing import Any

from kptrain import __version__
from kptrain.commands.settings import add_changes
from kptrain.errors import SettingsError
from kptrain.resolve import parse_assignments
from search.space.budget import Budget
from search.trainings.loading import add_trainable

SHARED = ("space", "data", "trainable", "address", "verify", *Budget.model_fields)
"""Arguments that `run_search` and `resume_search` have in common."""
EXAMPLES = """\
check everything and print the plan and its cost, without starting it:
  python -m search.run spaces/lr_sched.yaml --data /path/to/coco --plan
run a search on COCO, or without --data on the synthetic data set:
  python -m search.run spaces/lr_sched.yaml --data /path/to/coco --trials 40
resume a search, whatever ended it, with a larger budget:
  python -m search.run --resume runs/lr_sched-20260101-120000 --trials 80
run on a Ray cluster, with a copy of the results at a URL:
  python -m search.run spaces/full.yaml --address auto --out s3://bucket/name
search a training of your own:
  python -m search.run examples/ridge.yaml --trainable examples.ridge:RIDGE

A space file says which settings are varied, such as
  space: {optim.lr: {low: 1e-4, high: 1e-2, log: true}, train.batch_size: [8, 16]}
  trials: 20
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m search.run",
        description="Search the settings of a training, the keypoint training or your own: Ray\n"
        "Tune runs the trials, an Optuna sampler proposes them, ASHA stops the worse ones\n"
        "early. The best one is saved in OUT/best.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"kptrain {__version__}")
    parser.add_argument("space", type=Path, nargs="?", metavar="SPACE.yaml", help="what to search")
    parser.add_argument(
        "--resume",
        metavar="DIR",
        help="resume the search in this folder or at this URL, whatever ended it; --trials, "
        "--hours, --gpu-hours and --epochs change its budget",
    )
    add_trainable(parser)
    add_changes(parser, "fix one setting for all trials, e.g. train.epochs=5")
    _add_budget(parser)
    parser.add_argument(
        "--warm-from",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="an earlier search of the same training to learn from; may be given several times",
    )
    _add_run_options(parser)
    return parser


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add where the search runs and writes, and what it prints."""
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder to create (default: in runs), or a URL such as s3://bucket/name for a copy of "
        "the folder",
    )
    parser.add_argument("--verify", action="store_true", help="check all decoded images in full")
    parser.add_argument("--address", metavar="A", help="a running Ray cluster, or 'auto'")
    parser.add_argument(
        "--plan", action="store_true", help="check everything, print the plan and its cost, stop"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--quiet", action="store_true", help="print only the result")
    output.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object per line on standard output, for each event and for the "
        "result; other output goes to standard error",
    )


def keywords(parsed: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `run_search`, or of `resume_search` with --resume.

    Raises: SettingsError if an option does not go with --resume.
    """
    given = {
        **{name: getattr(parsed, name) for name in SHARED},
        "output": "quiet" if parsed.quiet else "json" if parsed.json else "text",
    }
    if parsed.resume is None:
        settings = parse_assignments(parsed.set)
        warm_from = parsed.warm_from
        return given | {"out": parsed.out, "settings": settings, "warm_from": warm_from}
    for option, value in {
        "--set": parsed.set,
        "--warm-from": parsed.warm_from,
        "--out": parsed.out,
    }.items():
        if value:
            raise SettingsError(
                f"{option}: must not come with --resume, as it cannot change after the beginning; "
                f"leave it out, or begin another search"
            )
    return given | {"folder": parsed.resume}


def _add_budget(parser: argparse.ArgumentParser) -> None:
    """Add the parts of a budget, each of which replaces that of the space file."""
    note = "instead of the space's; the first part that is spent ends the search"
    parser.add_argument("--trials", type=int, metavar="N", help=f"number of trials, {note}")
    parser.add_argument("--hours", type=float, metavar="H", help=f"wall-clock hours, {note}")
    parser.add_argument("--gpu-hours", type=float, metavar="H", help=f"GPU hours in total, {note}")
    parser.add_argument("--epochs", type=int, metavar="N", help=f"epochs in total, {note}")
