"""The command `python -m kptrain [train]`: one training, from a file or from the defaults."""

import argparse
import itertools
import shlex
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from kptrain.commands.picture import draw_predictions
from kptrain.commands.settings import add_settings, given_settings
from kptrain.config import BEST, PICTURE, RESUME, TrainConfig
from kptrain.data.pack import open_pack
from kptrain.errors import SettingsError
from kptrain.keypoints import GIVEN_BOXES, metric_label
from kptrain.machine.device import describe_device
from kptrain.machine.outputs import check_folder, writing
from kptrain.model.network import weights_file
from kptrain.resolve import banner
from kptrain.run.curve import EpochReport
from kptrain.run.folder import CONFIG, only_user_of, saved_state
from kptrain.run.loggers import log_reports
from kptrain.training.fit import fit

SUMMARY = "train a model (without CONFIG: with the default settings)"
DESCRIPTION = """\
Train a COCO keypoint model and report val_loss, val_oks and COCO's AP (ground-truth boxes) after
each epoch. Without CONFIG, it uses the default settings: SimpleBaseline with ResNet-50 (whole
images of 256 x 256 pixels, three transposed convolutions, MSE on heatmaps, Adam, StepLR, 25
epochs); on the synthetic data set, a small model."""

say = partial(print, flush=True)  # a log file shows each line when it is printed


def add_options(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read all decoded images and compare their checksums",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="run folder (default: a new folder in runs)"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="resume the run in --out, with its own settings unless CONFIG is given",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command. If `arguments.out` is None, it is set to the new folder.

    Raises: CheckpointError, DataError, SettingsError, TrainingError.
    """
    if arguments.resume and arguments.out is None:
        raise SettingsError(
            "--resume: must come with --out DIR, but got none; name the run's folder"
        )
    saved = arguments.out / CONFIG if arguments.resume else None
    config = given_settings(arguments, arguments.config or saved)
    say(banner(config))
    say(f"Device: {describe_device(config)}")
    # Check everything that may be missing before long work starts.
    out: Path | None = arguments.out
    check_folder(out or Path("runs"), "--out")
    if out is not None and out.is_dir():
        with only_user_of(out):
            saved_state(config, out, arguments.resume)
    if not (out is not None and arguments.resume and (out / RESUME).exists()):
        weights_file(config.model)
    say("Preparing the data: images are decoded on first use")
    for name in ("train", "val"):
        pack = open_pack(config.data, name, progress=True, verify=arguments.verify)
        say("\n".join(filter(None, (pack.summary, pack.cost))))
    out = arguments.out = out or _new_folder()
    with writing(out):
        stream = fit(config, out, resume=arguments.resume, progress=True)
        with closing(log_reports(stream, config, out)) as reports:
            for report in reports:
                say(line(report, config))
                if report.is_best:
                    best = metric_label(config.checkpoint.metric)
                    say(f"  new best {best}, saved in {out / BEST}")
        draw_predictions(config, out / BEST, out / PICTURE)
    say(f"Curve in {out / 'metrics.csv'}, picture in {out / PICTURE}")


def _new_folder() -> Path:
    """A new run folder, also if several commands start in the same second."""
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
        return "nothing was trained yet; run the same command again"
    return f"resume it with python -m kptrain --out {shlex.quote(str(out))} --resume"


def line(report: EpochReport, config: TrainConfig) -> str:
    """The line of one epoch on the terminal."""
    return (
        f"Epoch {report.epoch}/{config.train.epochs}"
        f"  train_loss {report.train_loss:.6f}  val_loss {report.val_loss:.6f}"
        f"  val_oks {report.val_oks:.4f}  val_ap {report.val_ap:.4f} ({GIVEN_BOXES})"
        f"  lr {report.lr:.3g}  {report.seconds:.1f} s  {report.images_per_second:.0f} images/s"
    )
