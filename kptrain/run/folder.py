"""The folder of a run: who may write there, and what a run that goes on begins from."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kptrain.config import BEST, RESUME, TrainConfig
from kptrain.errors import CheckpointError, SettingsError
from kptrain.machine.locks import HeldError, held
from kptrain.model.checkpoint import load_checkpoint
from kptrain.resolve import flatten, setting_infos, settings_of
from kptrain.strict_yaml import read_yaml

CONFIG = "config.yaml"
LOCK = ".lock"
"""Held while a training runs, or a search; stays in the folder, empty."""
STATE: dict[str, type] = {
    "weights": dict,
    "optimizer": dict,
    "schedule": dict,
    "curve": list,
    "settings": dict,
    "data": str,
}
"""What the state to resume from holds."""


@contextmanager
def only_user_of(run_dir: Path, wait: float = 0.0) -> Iterator[None]:
    """Make the folder and hold it; `wait` seconds for another that does.

    Raises: CheckpointError if another holds it, or it is a file.
    """
    if run_dir.exists() and not run_dir.is_dir():
        raise CheckpointError(f"{run_dir}: must be a folder, but is a file; choose another")
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        with held(run_dir / LOCK, wait):
            yield
    except HeldError as error:
        raise CheckpointError(
            f"{run_dir}: must not be in use, but {error} uses it; wait for it, or choose another "
            f"folder with --out"
        ) from None


def saved_state(config: TrainConfig, run_dir: Path, resume: bool) -> dict[str, Any] | None:
    """The state to go on from; None where none was saved yet.

    Raises: CheckpointError if there is a run and `resume` is not set, or there is none and it is;
    SettingsError if the run has other settings.
    """
    if resume and not (run_dir / CONFIG).exists():
        raise CheckpointError(
            f"{run_dir}: must hold a run to go on with, but holds none; correct --out, or leave "
            f"out --resume"
        )
    if not resume and any((run_dir / name).exists() for name in (RESUME, BEST, "metrics.csv")):
        raise CheckpointError(
            f"{run_dir}: must not hold a run yet, but does; go on with --resume, or choose "
            f"another folder with --out"
        )
    if not (run_dir / RESUME).exists():
        if resume:  # it begins anew, with the settings that it had
            _check_same(flatten(read_yaml(run_dir / CONFIG)), config, run_dir)
        return None
    state = load_checkpoint(run_dir / RESUME, STATE)
    _check_same(state["settings"], config, run_dir)
    if len(state["curve"]) > config.train.epochs:
        raise SettingsError(
            f"{run_dir}: train.epochs must be at least the {len(state['curve'])} that the run has "
            f"finished, but got {config.train.epochs}; correct it, or choose another folder with "
            f"--out"
        )
    return state


def _check_same(saved: dict[str, Any], config: TrainConfig, run_dir: Path) -> None:
    """Only where it runs, and for how long, may differ from the run that is resumed."""
    free = {path for path, info in setting_infos().items() if info.changes == "place"}
    free |= {"train.epochs", "data.root"}  # data are compared by their fingerprint
    free -= {"checkpoint.metric"}  # the best so far was kept by it, and the others are gone
    now = settings_of(config)
    for path in now:
        if path not in free and saved.get(path) != now[path]:
            raise SettingsError(
                f"{run_dir}: {path} must be {saved.get(path)!r} as in the run that is resumed, "
                f"but got {now[path]!r}; correct it, or choose another folder with --out"
            )
