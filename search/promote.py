"""The winner's folder: all that is needed to check a result and to repeat it.

`best/` holds `config.yaml`, the checkpoint, the curve as tables, pictures, and `provenance.json`.
"""

import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kptrain
from kptrain.config import save_config
from kptrain.errors import CheckpointError
from search.space.training import Trainable
from search.trials.record import TrialRecord
from search.trials.run_folder import Search

PACKAGES = ("torch", "torchvision", "ray", "optuna", "pycocotools", "numpy", "pillow", "pydantic")


def up_to_checkpoint(winner: TrialRecord, trainable: Trainable[Any]) -> TrialRecord:
    """The trial with its curve up to its checkpoint: an interrupted trial may lack the last one.

    Raises: CheckpointError if the trial's checkpoint cannot be read from here.
    """
    if winner.storage is not None:
        winner.storage.fetch(winner.run_dir)
    for checkpoint in (winner.run_dir / name for name in trainable.best):
        if not checkpoint.is_file():
            raise CheckpointError(
                f"{checkpoint}: the winner's checkpoint must be readable here, but is not; on a "
                f"cluster --out must lie on a path that all nodes share, or be a URL"
            )
    saved = trainable.saved_report(winner.run_dir)
    if saved is None or saved[winner.metric.name] == winner.best():
        return winner
    return replace(winner, curve=winner.curve[: saved["epoch"]])


def promote(
    winner: TrialRecord, search: Search, confirmed: Mapping[str, Any] | None = None
) -> Path:
    """Create the winner's folder and return it; confirmed: fields of a confirmation's
    provenance."""
    trainable = search.space.trainable
    best = search.folder / ".best.tmp"
    shutil.rmtree(best, ignore_errors=True)  # left by a killed command
    best.mkdir()
    save_config(winner.config, best / "config.yaml")
    trainable.save_curve(winner.curve, best)
    for name in trainable.best:
        shutil.copyfile(winner.run_dir / name, best / name)
    content = _provenance(winner, search) | dict(confirmed or {})
    provenance = json.dumps(content, indent=2)
    (best / "provenance.json").write_text(provenance + "\n", encoding="utf-8")
    trainable.draw(winner.config, best)
    promoted = search.folder / "best"
    shutil.rmtree(promoted, ignore_errors=True)  # an earlier one
    return best.rename(promoted)


def _provenance(winner: TrialRecord, search: Search) -> dict[str, Any]:
    space = search.space
    trainable = space.trainable
    return {
        "trainable": trainable.name,
        "trial": winner.number,
        "state": winner.state,
        "error": winner.error,
        "metric": space.metric.name,
        "value": winner.best(),
        "settings": winner.settings,
        "space_file": str(space.path),
        "space_sha256": space.sha256,
        "space_text": space.text,
        "search_seed": space.seed,
        "warm_from": search.first["warm_from"],
        "training_seed": winner.seed,
        "data": {
            "root": trainable.data_of(winner.config),
            "fingerprint": dict(trainable.fingerprints(winner.config)),
        },
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "commit": _commit(),
        "command": [*sys.orig_argv],
        "device": winner.device,
        "host": winner.host,
        "platform": platform.platform(),
        "started": search.first["started"],
        "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "confirmed": None,
    }


def _commit() -> str | None:
    """The commit of the running code, marked if it was changed; None outside of a git checkout."""
    folder = Path(kptrain.__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
