"""The folder of a run: its lock, and the state that a run resumes from."""

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
from kptrain.tree import without_effect

CONFIG = "config.yaml"
LOCK = ".lock"
"""Held while a training or a search runs; the empty file stays in the folder."""
STATE: dict[str, type] = {
    "weights": dict,
    "optimizer": dict,
    "schedule": dict,
    "curve": list,
    "settings": dict,
    "data": str,
}
"""The entries of the resume state."""


@contextmanager
def only_user_of(run_dir: Path, wait: float = 0.0) -> Iterator[None]:
    """Create the folder and hold its lock; wait up to `wait` seconds for it.

    Raises: CheckpointError if another process holds it, or `run_dir` is a file.
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
    """The state to resume from; None if none is saved yet.

    Raises: CheckpointError if there is a run but `resume` is not set, or there is none but it is;
    SettingsError if the run has other settings.
    """
    if resume and not (run_dir / CONFIG).exists():
        raise CheckpointError(
            f"{run_dir}: must hold a run to resume, but holds none; correct --out, or leave out "
            f"--resume"
        )
    if not resume and any((run_dir / name).exists() for name in (RESUME, BEST, "metrics.csv")):
        raise CheckpointError(
            f"{run_dir}: must not hold a run yet, but does; resume it with --resume, or choose "
            f"another folder with --out"
        )
    if not (run_dir / RESUME).exists():
        if resume:  # the run starts again from the first epoch, with its own settings
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
    """Raises: SettingsError if settings differ, except those of where and for how long it runs."""
    free = {path for path, info in setting_infos().items() if info.changes == "place"}
    free |= {"train.epochs", "data.root"}  # the data's fingerprint is compared instead
    free |= set(without_effect(config))
    free -= {"checkpoint.metric"}  # the saved best epoch was chosen by it
    if config.schedule.name == "cosine":
        free -= {"train.epochs"}  # its end
    now, defaults = settings_of(config), settings_of(TrainConfig())
    for path in now:
        then = saved.get(path, defaults[path])  # a setting that is newer than the run
        if path not in free and then != now[path]:
            raise SettingsError(
                f"{run_dir}: {path} must be {then!r} as in the run that is resumed, "
                f"but got {now[path]!r}; correct it, or choose another folder with --out"
            )
