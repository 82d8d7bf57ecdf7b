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
resume a search after an interruption, or extend it, as here:
  python -m search.run --resume runs/lr_sched-20260101-120000 --trials 80
run on a Ray cluster, with a copy of the results at a URL:
  python -m search.run spaces/full.yaml --address auto --out s3://bucket/name
search your own training:
  python -m search.run examples/ridge.yaml --trainable examples.ridge:RIDGE

Example of a space file:
  space: {optim.lr: {low: 1e-4, high: 1e-2, log: true}, train.batch_size: [8, 16]}
  trials: 20
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m search.run",
        description="Search the settings of the keypoint training, or of your own training. Ray\n"
        "Tune runs the trials, an Optuna sampler proposes settings, and ASHA stops weak\n"
        "trials early. The best trial is saved in OUT/best.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"kptrain {__version__}")
    parser.add_argument(
        "space",
        type=Path,
        nargs="?",
        metavar="SPACE.yaml",
        help="space file: the settings to vary, the metric and the budget",
    )
    parser.add_argument(
        "--resume",
        metavar="DIR",
        help="resume the search in this folder or at this URL, after an interruption, or to extend "
        "it; --trials, --hours, --gpu-hours and --epochs change its budget",
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
        help="folder to create (default: a new folder in runs), or a URL such as s3://bucket/name "
        "for a copy of the folder",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read all decoded images and compare their checksums",
    )
    parser.add_argument(
        "--address",
        metavar="A",
        help="host:port of a running Ray cluster, or 'auto' for the one on this machine",
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="check everything, print the plan and its cost, then exit",
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
    note = "replaces the space file's value; the search ends at the first limit that is reached"
    parser.add_argument("--trials", type=int, metavar="N", help=f"number of trials; {note}")
    parser.add_argument("--hours", type=float, metavar="H", help=f"wall-clock hours; {note}")
    parser.add_argument("--gpu-hours", type=float, metavar="H", help=f"GPU hours in total; {note}")
    parser.add_argument("--epochs", type=int, metavar="N", help=f"epochs in total; {note}")
