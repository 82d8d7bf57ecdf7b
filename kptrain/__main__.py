"""The command `python -m kptrain`: one training, from a configuration file or from the defaults."""

import argparse
import itertools
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from kptrain.machine.shadowed import end_if_hidden

end_if_hidden(__name__)  # before all that the working folder may hide

from kptrain import __version__
from kptrain.commands.picture import draw_predictions
from kptrain.config import BEST, PICTURE, RESUME, TrainConfig
from kptrain.data.pack import open_pack
from kptrain.errors import KptrainError, SettingsError, spelt_out
from kptrain.keypoints import GIVEN_BOXES, metric_in_words
from kptrain.machine.console import spell_out_unknown
from kptrain.machine.device import describe_device
from kptrain.machine.outputs import check_folder, writing
from kptrain.model.network import weights_file
from kptrain.resolve import (
    banner,
    check_names,
    parse_assignments,
    read_settings,
    resolve,
)
from kptrain.run.curve import EpochReport
from kptrain.run.folder import CONFIG, only_user_of, saved_state
from kptrain.run.loggers import log_reports
from kptrain.training.fit import fit

say = partial(print, flush=True)  # a log file shows each line when it is said

EXAMPLES = """\
the original recipe, with one setting changed:
  python -m kptrain --data /path/to/coco --set optim.lr=3e-4 --out runs/mine
on with it, for longer:
  python -m kptrain --resume --out runs/mine --set train.epochs=30
the best of a search again, alone:
  python -m kptrain runs/lr_sched-20260101-120000/best/config.yaml

Other commands, each with its own --help:
  python -m kptrain evaluate | predict | show | export
With one of these names a CONFIG is written ./NAME.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kptrain",
        description="Train a COCO keypoint model and report val_loss, val_oks and COCO's AP\n"
        "(ground-truth boxes) each epoch. Without a CONFIG: the original recipe's settings.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"kptrain {__version__}")
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG", help="settings in yaml")
    parser.add_argument("--data", metavar="P", help="folder with COCO, or 'embedded'")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="path=value",
        help="change one setting, e.g. optim.lr=3e-4; may be given several times",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read the decoded images whole, to compare their checksums",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: a new one)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out, with the settings kept there unless CONFIG is given",
    )
    return parser


def asked_settings(arguments: argparse.Namespace) -> TrainConfig:
    """Settings from the file, then --set, then --data."""
    said: dict[str, Any] = {}
    where = "--set"
    file = arguments.config or (arguments.out / CONFIG if arguments.resume else None)
    if file is not None:
        where = f"{file} or --set" if arguments.set else str(file)
        said = read_settings(file)
    assigned = parse_assignments(arguments.set)
    check_names(assigned, "--set")
    if arguments.data is not None:
        if "data.root" in assigned:
            raise SettingsError("--data: must not come with --set data.root; leave out one of them")
        assigned["data.root"] = arguments.data
    return resolve(said | assigned, where)


COMMANDS = ("evaluate", "predict", "show", "export")


def run_command(name: str, arguments: list[str]) -> None:
    """Run one of COMMANDS; only what it needs is imported."""
    if name == "evaluate":
        from kptrain.commands.evaluate import evaluate as command  # noqa: PLC0415  (only what is needed)
    elif name == "predict":
        from kptrain.commands.predict import predict as command  # noqa: PLC0415  (only what is needed)
    elif name == "show":
        from kptrain.commands.show import show as command  # noqa: PLC0415  (only what is needed)
    else:
        from kptrain.commands.export import export as command  # noqa: PLC0415  (only what is needed)
    command(arguments)


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    if arguments and arguments[0] in COMMANDS:
        return _exit_code(lambda: run_command(arguments[0], arguments[1:]), lambda: "")
    parsed = build_parser().parse_args(arguments)
    return _exit_code(lambda: _train(parsed), lambda: f": {_how_to_go_on(parsed.out)}")


def _exit_code(run: Callable[[], None], if_interrupted: Callable[[], str]) -> int:
    try:
        run()
    except (KptrainError, OSError) as error:
        print(f"error: {spelt_out(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted{if_interrupted()}", file=sys.stderr)
        return 130
    return 0


def _train(arguments: argparse.Namespace) -> None:
    """Train; where no folder is given, `arguments.out` is the new one from then on."""
    if arguments.resume and arguments.out is None:
        raise SettingsError("--resume: must come with --out DIR, the folder of the run to go on")
    config = asked_settings(arguments)
    say(banner(config))
    say(f"Device: {describe_device(config)}")
    # What is missing is said before anything long begins.
    out: Path | None = arguments.out
    check_folder(out or Path("runs"), "--out")
    if out is not None and out.is_dir():
        with only_user_of(out):
            saved_state(config, out, arguments.resume)
    if not (out is not None and arguments.resume and (out / RESUME).exists()):
        weights_file(config.model)
    say("Preparing the data: decoded on first use, then kept")
    for name in ("train", "val"):
        say(open_pack(config.data, name, progress=True, verify=arguments.verify).summary)
    out = arguments.out = out or _new_folder()
    with writing(out):
        stream = fit(config, out, resume=arguments.resume, progress=True)
        with closing(log_reports(stream, config, out)) as reports:
            for report in reports:
                say(line(report, config))
                if report.is_best:
                    best = metric_in_words(config.checkpoint.metric)
                    say(f"  new best {best}, goes to {out / BEST}")
        draw_predictions(config, out / BEST, out / PICTURE)
    say(f"Curve in {out / 'metrics.csv'}, picture in {out / PICTURE}")


def _new_folder() -> Path:
    """Of our own, however many commands begin in this second."""
    stamp = time.strftime("kptrain-%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        out = Path("runs") / (stamp if number == 1 else f"{stamp}-{number}")
        out.parent.mkdir(exist_ok=True)
        with suppress(FileExistsError):
            out.mkdir()
            break
    return out


def _how_to_go_on(out: Path | None) -> str:
    if out is None or not (out / CONFIG).exists():
        return "nothing was trained yet; give the same command again"
    return f"go on with python -m kptrain --out {shlex.quote(str(out))} --resume"


def line(report: EpochReport, config: TrainConfig) -> str:
    """One epoch, as the terminal shows it."""
    return (
        f"Epoch {report.epoch}/{config.train.epochs}"
        f"  train_loss {report.train_loss:.6f}  val_loss {report.val_loss:.6f}"
        f"  val_oks {report.val_oks:.4f}  val_ap {report.val_ap:.4f} ({GIVEN_BOXES})"
        f"  lr {report.lr:.3g}  {report.seconds:.1f} s  {report.images_per_second:.0f} images/s"
    )


def script() -> NoReturn:
    """The command with its arguments, as it is installed."""
    spell_out_unknown()
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    script()
