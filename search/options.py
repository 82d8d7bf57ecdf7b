"""The options of `python -m search.run`: its parser, and what they mean to `run_search`."""

import argparse
from pathlib import Path
from typing import Any

from kptrain import __version__
from kptrain.errors import SettingsError
from kptrain.resolve import parse_assignments
from search.space.budget import Budget
from search.trainings.loading import add_trainable

SHARED = ("space", "data", "trainable", "address", "verify", *Budget.model_fields)
"""Options that `run_search` and `resume_search` both take, by the name of the argument."""
EXAMPLES = """\
what it will do and can cost, with everything checked and nothing started:
  python -m search.run spaces/lr_sched.yaml --data /path/to/coco --plan
a search, of COCO or, without --data, of people that the package draws:
  python -m search.run spaces/lr_sched.yaml --data /path/to/coco --trials 40
on with it, whatever ended it, also beyond its budget:
  python -m search.run --resume runs/lr_sched-20260101-120000 --trials 80
on a running Ray cluster, kept at a URL:
  python -m search.run spaces/full.yaml --address auto --out s3://bucket/name
a training of your own:
  python -m search.run examples/ridge.yaml --trainable examples.ridge:RIDGE

A space file says which settings are varied, such as
  space: {optim.lr: {low: 1e-4, high: 1e-2, log: true}, train.batch_size: [8, 16]}
  trials: 20
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m search.run",
        description="Search the settings of a training, the keypoints' or your own: Ray Tune runs\n"
        "the trials, Optuna proposes them, ASHA stops the hopeless ones. The best one\n"
        "is put into OUT/best.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"kptrain {__version__}")
    parser.add_argument("space", type=Path, nargs="?", metavar="SPACE.yaml", help="what to search")
    parser.add_argument(
        "--resume",
        metavar="DIR",
        help="go on with the search in this folder or at this URL, whatever ended it; with "
        "--trials and its like beyond its budget",
    )
    parser.add_argument("--data", metavar="P", help="folder with COCO, or 'embedded'")
    add_trainable(parser)
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
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read the decoded images whole, to compare their checksums",
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
                f"{option}: must not come with --resume, as a search resumes with what it began "
                f"with; leave it out, or begin another search"
            )
    return given | {"folder": parsed.resume}


def _add_budget(parser: argparse.ArgumentParser) -> None:
    """The parts of a budget, each instead of the space file's."""
    told = "instead of the space's; the search ends with what is spent first"
    parser.add_argument("--trials", type=int, metavar="N", help=f"trials, {told}")
    parser.add_argument("--hours", type=float, metavar="H", help=f"of wall clock, {told}")
    parser.add_argument("--gpu-hours", type=float, metavar="H", help=f"of all trials, {told}")
    parser.add_argument("--epochs", type=int, metavar="N", help=f"of all trials together, {told}")
