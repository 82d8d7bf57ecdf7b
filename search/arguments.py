"""From a command's arguments to a search: a new one, one that goes on, or only its plan."""

import argparse
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kptrain import __version__
from kptrain.config import Settings
from kptrain.errors import SettingsError
from kptrain.resolve import parse_assignments
from search.budget import Budget
from search.hidden import check_not_hidden
from search.named import add_trainable, trainable_named
from search.space import Space, resolve_space, with_share
from search.space_file import read_space, with_budget

if TYPE_CHECKING:
    from search.estimate import Estimate
    from search.opening import Search

# Torch, Optuna and Ray take seconds to import: a slip in the space file is answered before.

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


def _add_budget(parser: argparse.ArgumentParser) -> None:
    """The parts of a budget, each instead of the space file's."""
    told = "instead of the space's; the search ends with what is spent first"
    parser.add_argument("--trials", type=int, metavar="N", help=f"trials, {told}")
    parser.add_argument("--hours", type=float, metavar="H", help=f"of wall clock, {told}")
    parser.add_argument("--gpu-hours", type=float, metavar="H", help=f"of all trials, {told}")
    parser.add_argument("--epochs", type=int, metavar="N", help=f"of all trials together, {told}")


def read_search(arguments: argparse.Namespace) -> tuple[Space, Settings]:
    """The space and the settings of its first trial, checked before anything slow begins."""
    if arguments.space is None:
        raise SettingsError(
            "SPACE.yaml: must be given, but is not; name a space file such as "
            "spaces/lr_sched.yaml, or a search to go on with by --resume DIR"
        )
    trainable = trainable_named(arguments.trainable)
    space = with_budget(read_space(arguments.space, trainable), _budget(arguments))
    said: dict[str, Any] = parse_assignments(arguments.set)
    if arguments.data is not None:
        path = trainable.data_setting()
        if path in said:
            raise SettingsError(f"--data: must not come with --set {path}; leave out one of them")
        said[path] = trainable.data_given(arguments.data)
    base = resolve_space(space, said)
    return space, trainable.with_cpus(base, space.resources.cpu, str(space.path))


def _budget(arguments: argparse.Namespace) -> dict[str, float]:
    """The parts that are given."""
    parts = {part: getattr(arguments, part) for part in Budget.model_fields}
    return {part: value for part, value in parts.items() if value is not None}


def begin(arguments: argparse.Namespace) -> "Search | None":
    """A new search, in a folder of its own; None if only its plan was asked for."""
    check_not_hidden(Path.cwd())
    space, base = read_search(arguments)
    from search.opening import begin_search, taken
    from search.warm import read_past_searches

    is_named = arguments.out is not None
    stamp = time.strftime("%Y%m%d-%H%M%S")
    out, url = _where(arguments.out if is_named else f"runs/{space.path.stem}-{stamp}")
    if is_named and out.exists():
        raise taken(out, space.trainable)
    space, told = _planned(space, base, arguments)
    past = read_past_searches(arguments.warm_from, space, base)
    for search in past:
        print(f"Warm      {search}")
    if arguments.plan:
        return None
    begun = begin_search(out, space, base, past, url, numbered=not is_named)
    return replace(begun, estimate=told)


def _where(out: str) -> tuple[Path, str | None]:
    """The folder to work in, and its URL if it has one.

    Raises: SettingsError if nothing can be written there, or there is a search already.
    """
    from search.journal import JOURNAL
    from search.storage import Storage, is_url, url_name

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


def resume(arguments: argparse.Namespace) -> "Search | None":
    """The search in a folder, likewise."""
    given = {"--set": arguments.set, "--warm-from": arguments.warm_from, "--out": arguments.out}
    for option, value in given.items():
        if value:
            raise SettingsError(
                f"{option}: must not come with --resume, as the search goes on with what it began "
                f"with; leave it out, or begin another search"
            )
    check_not_hidden(Path.cwd())
    from search.opening import fetch_search, open_search
    from search.storage import is_url

    url = arguments.resume if is_url(arguments.resume) else None
    folder = Path(arguments.resume) if url is None else fetch_search(url)
    trainable = trainable_named(arguments.trainable)
    budget, data = _budget(arguments), arguments.data
    if data is not None:
        data = trainable.data_given(data)
    search = open_search(folder, trainable, arguments.space, budget, data, url)
    space, _ = _planned(search.space, search.base, arguments)
    return None if arguments.plan else replace(search, space=space)


def _planned(
    space: Space, base: Settings, arguments: argparse.Namespace
) -> "tuple[Space, Estimate | None]":
    """Say what the search will do, and check all that can be checked before.

    Returns the space with the share of a GPU that fits, and how long it takes if that was measured.
    """
    import torch

    from search.plan import check_machine, describe_plan

    trainable, where = space.trainable, str(space.path)
    if arguments.address is not None:
        from search.address import check_address

        check_address(arguments.address)
    elif not arguments.resume:  # nothing may be left to do for a Ray
        from search.ray_folder import check_start

        check_start()
    print(trainable.describe(base, space.axes))
    num_gpus = torch.cuda.device_count()
    if space.resources.gpu == "auto" and num_gpus and trainable.uses_gpu(base):
        share, told = trainable.fit_gpu(space.axes, base, where)
        space = with_share(space, share)
        print(told)
    here = arguments.address is None
    print(describe_plan(space, base, num_gpus if here else None), flush=True)
    if here:
        check_machine(space, base, num_gpus)
    unmeasured = _why_not_measured(arguments)
    if not unmeasured:
        return space, _estimated(space, base, num_gpus, thorough=arguments.plan)
    trainable.check_files(space.axes, base, where)
    print(f"Takes     not measured: {unmeasured}", flush=True)
    return space, None


def _why_not_measured(arguments: argparse.Namespace) -> str:
    """Why it is not measured how long the search takes; nothing if it is."""
    if arguments.address is not None:
        return "trials run on a cluster, whose pace the search says from the first epoch on"
    if arguments.resume:
        return "the search has begun, and says how much is left as it goes on"
    return "nobody reads it with --quiet" if arguments.quiet and not arguments.plan else ""


def _estimated(space: Space, base: Settings, num_gpus: int, *, thorough: bool) -> "Estimate | None":
    """Check files, and say how long the search takes on this machine, if that can be measured."""
    from kptrain.pack import cache_dir
    from search.estimate import estimate
    from search.pace import MeasuringError
    from search.plan import at_once_here

    at_once, beside, gpu = at_once_here(space, base, num_gpus)
    try:
        where = str(space.path)
        pace = space.trainable.pace(space.axes, base, where, beside, thorough=thorough)
    except MeasuringError as error:
        print(f"Takes     hours that cannot be measured here: {error}")
        return None
    if pace is None:
        print(
            "Takes     hours that are known from the first trial on: it is a training of your own"
        )
        return None
    found = estimate(space, base, pace, at_once, gpu)
    print(found.describe(str(cache_dir())), flush=True)
    return found
