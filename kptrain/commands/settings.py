"""Options that name the settings of a training: a file, --data and --set."""

import argparse
from pathlib import Path
from typing import Any

from kptrain.config import TrainConfig
from kptrain.errors import SettingsError
from kptrain.resolve import check_names, parse_assignments, read_settings, resolve


def add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG", help="settings in yaml")
    add_changes(parser, "change one setting, e.g. optim.lr=3e-4")


def add_changes(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add the options that change settings; meaning: of --set."""
    parser.add_argument(
        "--data", metavar="P", help="folder with COCO, or 'embedded' for the synthetic data set"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="path=value",
        help=f"{meaning}; may be given several times",
    )


def given_settings(arguments: argparse.Namespace, file: Path | None) -> TrainConfig:
    """Settings of a file, if any, then of --set and --data. Raises: DataError, SettingsError."""
    settings: dict[str, Any] = {}
    where = "--set"
    if file is not None:
        where = f"{file} or --set" if arguments.set else str(file)
        settings = read_settings(file)
    assigned = parse_assignments(arguments.set)
    check_names(assigned, "--set")
    if arguments.data is not None:
        if "data.root" in assigned:
            raise SettingsError("--data: must not come with --set data.root; leave out one of them")
        assigned["data.root"] = arguments.data
    return resolve(settings | assigned, where)
