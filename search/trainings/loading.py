"""Loads the training that a command searches: the keypoint training, or one that it names."""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from kptrain.errors import KptrainError, SettingsError
from search.space.training import Trainable
from search.trainings.custom import OwnTraining
from search.trainings.keypoints import KEYPOINTS


def add_trainable(parser: argparse.ArgumentParser) -> None:
    """Add the option --trainable."""
    parser.add_argument(
        "--trainable",
        metavar="MODULE:NAME",
        help="your own training instead of the keypoint training: the OwnTraining NAME in MODULE, "
        "importable from this folder",
    )


def trainable_named(name: str | None) -> Trainable[Any]:
    """Import the training `MODULE:NAME`, also from the working folder; None: the keypoint training.

    Raises: SettingsError, also if importing the module fails.
    """
    if name is None:
        return KEYPOINTS
    module, _, attribute = name.partition(":")
    where = f"--trainable {name}"
    if not (module and attribute):
        raise SettingsError(f"{where}: must be MODULE:NAME, such as examples.ridge:RIDGE")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        trainable = getattr(importlib.import_module(module), attribute, None)
    except KptrainError:
        raise
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise SettingsError(
            f"{where}: {module} must be importable from {here}, but is not "
            f"({type(error).__name__}: {error}); correct the name, or install the module"
        ) from None
    if not isinstance(trainable, OwnTraining):
        kind = "missing" if trainable is None else type(trainable).__name__
        raise SettingsError(
            f"{where}: must be an OwnTraining of the search package, but {attribute} in {module} "
            f"is {kind}; correct the name"
        )
    trainable.name = name
    return trainable
