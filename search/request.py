"""A user's request for a search, and the checks of it that need no torch, Optuna or Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kptrain.config import Settings
from kptrain.errors import SettingsError
from search.console.output import Kind
from search.machine.shadowed import check_not_hidden
from search.space.budget import Budget
from search.space.reader import read_space, with_budget
from search.space.space import Space, resolve_space
from search.trainings.loading import trainable_named


@dataclass(frozen=True, kw_only=True)
class Request:
    """A user's request; each field is an argument of `run_search` or `resume_search`."""

    space: Path | None = None
    folder: str | None = None
    """The folder or URL of the search to resume; None for a new one."""
    out: str | None = None
    data: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    trials: int | None = None
    hours: float | None = None
    gpu_hours: float | None = None
    epochs: int | None = None
    warm_from: Sequence[Path] = ()
    trainable: str | None = None
    address: str | None = None
    verify: bool = False
    output: Kind = "text"
    only_plan: bool = False

    def budget(self) -> dict[str, float]:
        """The parts of a budget that are given."""
        parts = {part: getattr(self, part) for part in Budget.model_fields}
        return {part: value for part, value in parts.items() if value is not None}


def read_search(request: Request) -> tuple[Space, Settings]:
    """The space of a new search and the settings of its first trial.

    Raises: SettingsError.
    """
    check_not_hidden(Path.cwd())
    if request.space is None:
        raise SettingsError(
            "SPACE.yaml: must be given, but is not; name a space file such as "
            "spaces/lr_sched.yaml, or a search to resume with --resume DIR"
        )
    trainable = trainable_named(request.trainable)
    space = with_budget(read_space(request.space, trainable), request.budget())
    settings = dict(request.settings)
    if request.data is not None:
        path = trainable.data_setting()
        if path in settings:
            raise SettingsError(f"--data: must not come with --set {path}; leave out one of them")
        settings[path] = trainable.data_given(request.data)
    base = resolve_space(space, settings)
    return space, trainable.with_cpus(base, space.resources.cpu, str(space.path))
