"""The winner's folder: all that is needed to believe a result and to repeat it.

`best/` holds `config.yaml`, the checkpoint, `metrics.csv` and `timing.csv`, two pictures, and
`provenance.json`.
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
from kptrain.checkpoint import BEST, load_checkpoint
from kptrain.config import Metric, TrainConfig, save_config
from kptrain.curve import save_curve
from kptrain.errors import CheckpointError
from kptrain.pack import open_pack
from kptrain.picture import PICTURE, WORST, draw_predictions, draw_worst
from search.opening import Search
from search.record import TrialRecord

PACKAGES = ("torch", "torchvision", "ray", "optuna", "pycocotools", "numpy", "pillow", "pydantic")


def as_saved(winner: TrialRecord, metric: Metric) -> TrialRecord:
    """The trial up to where its checkpoint goes: an interrupted one may not have saved its last.

    Raises: CheckpointError if the trial's checkpoint cannot be seen from here.
    """
    if winner.storage is not None:
        winner.storage.fetch(winner.run_dir)
    checkpoint = winner.run_dir / BEST
    if not checkpoint.is_file():
        raise CheckpointError(
            f"{checkpoint}: the winner's checkpoint must be readable here, but is not; on a "
            f"cluster --out must lie on a path that all nodes share, or be a URL"
        )
    kept = load_checkpoint(checkpoint, {"metrics": dict})["metrics"]
    if kept[metric] == winner.best(metric):
        return winner
    return replace(winner, curve=winner.curve[: kept["epoch"]])


def promote(
    winner: TrialRecord, search: Search, confirmed: Mapping[str, Any] | None = None
) -> Path:
    """Fill the winner's folder; returns it. `confirmed` is what a confirmation knows better."""
    checkpoint = winner.run_dir / BEST
    best = search.folder / ".best.tmp"
    shutil.rmtree(best, ignore_errors=True)  # of a command that was killed
    best.mkdir()
    save_config(winner.config, best / "config.yaml")
    save_curve(winner.curve, best)
    shutil.copyfile(checkpoint, best / BEST)
    told = _provenance(winner, search) | dict(confirmed or {})
    provenance = json.dumps(told, indent=2)
    (best / "provenance.json").write_text(provenance + "\n", encoding="utf-8")
    draw_predictions(winner.config, best / BEST, best / PICTURE)
    draw_worst(winner.config, best / BEST, best / WORST)
    promoted = search.folder / "best"
    shutil.rmtree(promoted, ignore_errors=True)  # an earlier one
    return best.rename(promoted)


def _provenance(winner: TrialRecord, search: Search) -> dict[str, Any]:
    space = search.space
    return {
        "trial": winner.number,
        "state": winner.state,
        "metric": space.metric,
        "value": winner.best(space.metric),
        "settings": winner.settings,
        "space_file": str(space.path),
        "space_sha256": space.sha256,
        "space_text": space.text,
        "search_seed": space.seed,
        "warm_from": search.warm_from,
        "training_seed": winner.config.train.seed,
        "data": _data(winner.config),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "commit": _commit(),
        "command": [*sys.orig_argv],
        "device": winner.device,
        "host": winner.host,
        "platform": platform.platform(),
        "started": search.started,
        "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "confirmed": None,
    }


def _data(config: TrainConfig) -> dict[str, Any]:
    packs = {name: open_pack(config.data, name) for name in ("train", "val")}
    fingerprints = {name: pack.fingerprint for name, pack in packs.items()}
    return {"root": config.data.root, "fingerprint": fingerprints}


def _commit() -> str | None:
    """The commit of the code that runs, marked if it was changed; None outside of a checkout."""
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
