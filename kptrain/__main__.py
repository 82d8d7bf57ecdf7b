"""The command `python -m kptrain`: train, evaluate, predict, show and export."""

import argparse
import sys
from functools import partial

from kptrain.machine.shadowed import end_if_hidden

end_if_hidden(__name__)  # before any import that the working folder may shadow

from kptrain import __version__
from kptrain.commands import evaluate, export, predict, show, train
from kptrain.machine.console import errors_printed, run_as_script

COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "show": show,
    "export": export,
}
EXAMPLES = """\
train with one setting changed:
  python -m kptrain --data /path/to/coco --set optim.lr=3e-4 --out runs/mine
resume it, with more epochs:
  python -m kptrain --resume --out runs/mine --set train.epochs=30
repeat the best trial of a search:
  python -m kptrain runs/lr_sched-20260101-120000/best/config.yaml

COMMAND is `train` if omitted; see `python -m kptrain train --help`. If a CONFIG has the name of a
command, write ./NAME.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kptrain",
        description="Train a COCO keypoint model, and use trained models.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"kptrain {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        module.add_options(
            commands.add_parser(name, help=module.SUMMARY, description=module.DESCRIPTION)
        )
    return parser


def parse(arguments: list[str]) -> argparse.Namespace:
    if not arguments or arguments[0] not in (*COMMANDS, "-h", "--help", "--version"):
        arguments = ["train", *arguments]
    return build_parser().parse_args(predict.join_boxes(arguments))


@errors_printed
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    parsed = parse(arguments)
    try:
        COMMANDS[parsed.command].run(parsed)
    except KeyboardInterrupt:
        how = f": {train.how_to_resume(parsed.out)}" if parsed.command == "train" else ""
        print(f"interrupted{how}", file=sys.stderr)
        return 130
    return 0


script = partial(run_as_script, main)
"""The installed command."""

if __name__ == "__main__":
    script()
