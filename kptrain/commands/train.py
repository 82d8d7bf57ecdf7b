"""The command `python -m kptrain [train]`: one training, from a file or from the defaults."""

import argparse
import itertools
import shlex
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from kptrain.commands.picture import draw_predictions
from kptrain.commands.settings import add_settings, asked_settings
from kptrain.config import BEST, PICTURE, RESUME, TrainConfig
from kptrain.data.pack import open_pack
from kptrain.errors import SettingsError
from kptrain.keypoints import GIVEN_BOXES, metric_in_words
from kptrain.machine.device import describe_device
from kptrain.machine.outputs import check_folder, writing
from kptrain.model.network import weights_file
from kptrain.resolve import banner
from kptrain.run.curve import EpochReport
from kptrain.run.folder import CONFIG, only_user_of, saved_state
from kptrain.run.loggers import log_reports
from kptrain.training.fit import fit

SUMMARY = "train; without a CONFIG with the settings of the original recipe"
DESCRIPTION = """\
Train a COCO keypoint model and report val_loss, val_oks and COCO's AP (ground-truth boxes) each
epoch. Without a CONFIG: the settings of the original recipe."""

say = partial(print, flush=True)  # a log file shows each line when it is printed


def add_options(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read the decoded images whole, to compare their checksums",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: a new one)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="resume the run in --out, with the settings kept there unless CONFIG is given",
    )


def run(arguments: argparse.Namespace) -> None:
    """Train; where no folder is given, `arguments.out` is the new one from then on.

    Raises: CheckpointError, DataError, SettingsError, TrainingError.
    """
    if arguments.resume and arguments.out is None:
        raise SettingsError("--resume: must come with --out DIR, the folder of the run to go on")
    kept = arguments.out / CONFIG if arguments.resume else None
    config = asked_settings(arguments, arguments.config or kept)
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


def how_to_resume(out: Path | None) -> str:
    if out is None or not (out / CONFIG).exists():
        return "nothing was trained yet; give the same command again"
    return f"resume it with python -m kptrain --out {shlex.quote(str(out))} --resume"


def line(report: EpochReport, config: TrainConfig) -> str:
    """One epoch, as the terminal shows it."""
    return (
        f"Epoch {report.epoch}/{config.train.epochs}"
        f"  train_loss {report.train_loss:.6f}  val_loss {report.val_loss:.6f}"
        f"  val_oks {report.val_oks:.4f}  val_ap {report.val_ap:.4f} ({GIVEN_BOXES})"
        f"  lr {report.lr:.3g}  {report.seconds:.1f} s  {report.images_per_second:.0f} images/s"
    )
