"""Every figure that a GPU has to answer for: docs/gpu.md says what each part is.

Skipped, with the reason, where there is no GPU; `--small` runs it anywhere with a tiny network, to
see that it works.
"""

import argparse
import math
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bench.gpu.parts import PARTS
from bench.gpu.run import ROWS, Run
from bench.gpu.running import Part, gpu_name, run_parts
from bench.measure import RESULTS, cpu_name

MINUTES = 10.0
"""That the limits of all parts are made for."""
LEAST = 40.0
"""Seconds of a part that is named."""


def build_parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {p.name:<14}{p.seconds:>4.0f} s  {p.answers}" for p in PARTS)
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu",
        description=__doc__,
        epilog=f"parts, with the most time that each takes:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        type=_known,
        help="what to run; all, in order of worth, where none is named",
    )
    parser.add_argument("--small", action="store_true", help="a tiny network, on any device")
    parser.add_argument("--record", action="store_true", help=f"add rows to bench/{RESULTS.name}")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs", time.strftime("gpu-%Y%m%d-%H%M%S")),
        metavar="FOLDER",
        help=f"a new folder for {ROWS}, tables of kernels and searches (default: in runs)",
    )
    parser.add_argument(
        "--minutes",
        type=_minutes,
        default=MINUTES,
        help="bound of all parts together, by which each one's time is scaled (default: 10)",
    )
    return parser


def chosen(names: Sequence[str]) -> list[Part]:
    """All parts, or those that are named: these have no others that leave them time."""
    if not names:
        return list(PARTS)
    return [replace(p, seconds=max(p.seconds, LEAST)) for p in PARTS if p.name in names]


def _known(name: str) -> str:
    names = [part.name for part in PARTS]
    if name not in names:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}, but got {name!r}")
    return name


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, but got {text}")
    return minutes


def main() -> None:
    arguments = build_parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # parts end with the bench
    name = gpu_name()
    if name is None and not arguments.small:
        print("skipped: no CUDA device on this machine; --small runs on a CPU")
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    run = Run(
        part="",
        is_small=arguments.small,
        is_recorded=arguments.record,
        out=arguments.out.absolute(),
        device_name=f"{name}, torch {torch.__version__}" if name else cpu_name(),
        begun=time.time(),
        seconds=0.1 if arguments.small else 0.5,
    )
    run_parts(chosen(arguments.parts), run, arguments.minutes / MINUTES)
    print(f"Rows      {run.out / ROWS}")


if __name__ == "__main__":
    main()
