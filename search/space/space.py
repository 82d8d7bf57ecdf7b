"""A search space: which settings are varied over which values, and how trials are compared.

Neither Ray nor torch nor Optuna is imported here, so a mistake in a space file is reported at once.
`search.space.reader` reads the file, `resolve_space` checks what needs the complete base.
Trial 0 is always the base itself, even if one of its values lies outside of the axis.
"""

import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from kptrain.config import PositiveInt, Settings
from kptrain.errors import SettingsError
from kptrain.resolve import change, check_names, settings_of
from kptrain.tree import check_taken
from search.space.axes import Axis, Choice
from search.space.budget import Budget
from search.space.conditions import (
    active,
    check_effects,
    describe_condition,
    has_value,
    point_with,
)
from search.space.training import Metric, Trainable

SamplerName = Literal["gp", "random"]

EARLY = 3
"""The early rung is at a third of the grace epochs."""
NUM_RANDOM_POINTS = 1000
"""Random points that are checked to find invalid combinations; they take about 0.1 s."""
MOST_SEEDS = 31
"""The most seeds of a confirmation: the table of Student's t ends at 30 degrees of freedom."""


class Asha(Settings):
    """When ASHA compares trials, and how many it promotes."""

    grace_epochs: PositiveInt = 4
    """The epoch of the first rung: no trial is stopped before it, except at an early rung once that
    is trusted (`Rungs.early`)."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """One of so many trials is promoted beyond a rung; the epochs of the rungs grow by the same
    factor."""


class Resources(Settings):
    """The resources of one trial while it runs."""

    cpu: PositiveInt = 1
    """CPU cores."""
    gpu: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of one GPU; a trial uses at most one. `auto`: as many trials share a GPU as its memory
    holds, but no more than are needed to keep it busy. Both are measured in some steps:
    the memory with the settings of the space that need the most, the load with the defaults if
    theirs is less."""


class Confirm(Settings):
    """Which of a search's trials are trained again, in full, before one is promoted."""

    top: PositiveInt = 3
    """The number of best trials; the defaults are added to them."""
    seeds: Annotated[int, Field(ge=2, le=MOST_SEEDS)] = 3
    """Trainings of each, with fresh seeds; at least two, so that their spread can be measured."""


class Space(Budget):
    """The content of a space file, checked."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    trainable: Trainable[Any]
    """The training that is searched."""
    path: Path
    axes: dict[str, Axis]
    """The values of each varied setting, by dotted path."""
    base: dict[str, Any]
    """Values of other settings, by dotted path."""
    metric: Metric
    """The metric by which trials are compared: `val_loss`, one of COCO's ten numbers (`val_ap`,
    `val_ap50`, `val_ap75`, `val_ap_m`, `val_ap_l`, `val_ar` and so on) or `val_oks`; for a training
    of your own, one of its metrics. The default is the first metric."""
    keep: PositiveInt = 1
    """The number of best trials whose checkpoints stay on disk; of the others, only the curve
    stays."""
    asha: Asha = Asha()
    resources: Resources = Resources()
    start: tuple[dict[str, Any], ...]
    """Points to try after the base: values of some axes, the others as in the base."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """The seed of the sampler, and of the confirmation's fresh seeds."""
    sampler: SamplerName = "gp"
    """The sampler that proposes settings: `gp` (Gaussian process) or `random`."""
    confirm: Confirm | None = None
    """Train the best again with fresh seeds, and promote the one with the best mean. Without it,
    the best trial is promoted by its single value."""
    text: str
    sha256: str
    """Hash of the file's bytes, in hexadecimal."""


def resolve_space(space: Space, given: Mapping[str, Any]) -> Settings:
    """Return the settings of trial 0: the file's base, overridden by the command's settings.

    Raises: SettingsError, also if a point of the space is not a valid training; DataError.
    """
    _check_given(space, given)
    where = f"{space.path} with --set" if given else str(space.path)
    path = space.trainable.metric_setting
    metric = {} if path is None else {path: space.metric.name}
    base: Settings = space.trainable.resolve(space.base | dict(given) | metric, where)
    space.trainable.check_axes(space.axes, base, where)
    _check_effects(space, given, base)
    _check_start(space, base)
    for point in _points_to_check(space):
        values = ", ".join(f"{name}={value}" for name, value in point.items())
        change(base, point, f"{where}: at {values}")
    epochs = max_epochs(space, base)
    if space.asha.grace_epochs > epochs:
        raise SettingsError(
            f"{where}: asha.grace_epochs must be at most {space.trainable.epochs} ({epochs}), "
            f"but got {space.asha.grace_epochs}; lower it, or raise {space.trainable.epochs}"
        )
    return base


def defaults_on(space: Space, base: Settings) -> dict[str, Any]:
    """The base's value of each varied setting, whether its axis holds there or not."""
    values = settings_of(base)
    return {path: values[path] for path in space.axes}


def max_epochs(space: Space, base: Settings) -> int:
    """Return the epochs of the longest trial that the space allows."""
    axis = space.axes.get(space.trainable.epochs)
    varied = () if axis is None else axis.marks()
    # Trial 0 trains for the base's epochs, which may be more than the axis allows.
    return max([space.trainable.epochs_of(base), *(int(epochs) for epochs in varied)])


@dataclass(frozen=True)
class Rungs:
    """The epochs at which trials are compared, before their last."""

    stops: tuple[int, ...]
    """The rungs at which ASHA may stop a trial."""
    early: int | None
    """An earlier rung, at which ASHA may stop a trial once the ranking there has been shown to
    agree with that at the first rung."""

    def all(self) -> list[int]:
        """All rungs, ascending."""
        return [*([] if self.early is None else [self.early]), *self.stops]


def rungs_of(asha: Asha, max_epochs: int) -> Rungs:
    """Return the rungs at grace * reduction^k before the last epoch, and the early rung.

    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, algorithm 2, without
    the top rung, at which a trial ends anyway. The early rung is our own (docs/early_stopping.md).
    """
    stops = []
    epoch = asha.grace_epochs
    while epoch < max_epochs:
        stops.append(epoch)
        epoch *= asha.reduction
    early = asha.grace_epochs // EARLY if stops else 0
    return Rungs(tuple(stops), early or None)


def _check_given(space: Space, given: Mapping[str, Any]) -> None:
    check_names(given, "--set", space.trainable.settings)
    for name in given:
        if name in space.axes:
            raise SettingsError(
                f"--set {name}: must not be varied by the space; remove one of the two"
            )
        if name == space.trainable.metric_setting:
            raise SettingsError(f"--set {name}: must not be given; change metric in {space.path}")
    change(change(space.trainable.settings(), space.base, str(space.path)), given, "--set")


def _check_effects(space: Space, given: Mapping[str, Any], base: Settings) -> None:
    """Raises: SettingsError for a setting or an axis that belongs to a choice of no trial."""
    varied = {path: axis.values for path, axis in space.axes.items() if isinstance(axis, Choice)}
    check_taken(given, base, "--set", varied)
    check_taken(space.base, base, f"{space.path}: base", varied)
    where, known = f"{space.path}: space", space.trainable.conditions()
    check_effects(space.axes, known, settings_of(base), where)
    check_taken(space.axes, base, where, varied)


def _check_start(space: Space, base: Settings) -> None:
    """Raises: SettingsError for a start point with a value on an axis that it does not have."""
    for n, point in enumerate(space.start, 1):
        whole = defaults_on(space, base) | point
        for path in point:
            if not has_value(space.axes, path, whole):
                raise SettingsError(
                    f"{space.path}: start: point {n}: {path} must be given only where the axis "
                    f"holds,{describe_condition(space.axes[path].when)}, but got {point}; add "
                    f"what it needs to the point, or remove {path}"
                )


def _points_to_check(space: Space) -> Iterator[dict[str, Any]]:
    """Yield each choice and end with the other axes at their first value, the last values, the
    start points, and random points."""
    axes = space.axes
    for name, axis in axes.items():
        for value in axis.marks():
            yield point_with(axes, name, value)
    yield active(axes, {name: axis.ends()[1] for name, axis in axes.items()})
    yield from space.start
    rng = random.Random(0)  # noqa: S311 (the same points each time, so the same answer)
    for _ in range(NUM_RANDOM_POINTS):
        yield active(axes, {name: axis.draw(rng) for name, axis in axes.items()})


def short_names(paths: Collection[str]) -> dict[str, str]:
    """The last part of each path where it is unique, else the path: `lr`, but `optim.name`."""
    ends = [path.rpartition(".")[2] for path in paths]
    return {p: end if ends.count(end) == 1 else p for p, end in zip(paths, ends, strict=True)}


def axis_values(settings: Mapping[str, Any]) -> str:
    """Settings as a short text: `lr=0.001 step_epochs=10`."""
    names = short_names(settings)
    return " ".join(f"{names[path]}={_short(value)}" for path, value in settings.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace(" ", "")
