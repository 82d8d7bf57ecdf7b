"""A search space: which settings are varied over which values, and how trials are judged.

Neither Ray nor torch nor Optuna is imported here, so a slip in a space file is answered at once.
`search.space.reader` reads it, `resolve_space` checks what needs the complete base.
Trial 0 is always the base itself, also where its value of an axis lies outside of that axis.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from kptrain.config import PositiveInt, Settings
from kptrain.errors import SettingsError
from kptrain.resolve import change, check_names
from search.space.axes import Choice, Range
from search.space.budget import Budget
from search.space.training import Metric, Trainable

SamplerName = Literal["gp", "random"]

EARLY = 3
"""The early rung is at a third of the grace epochs."""
NUM_RANDOM_POINTS = 1000
"""Points drawn to find combinations that no training can have; they take some 0.1 s."""
MOST_SEEDS = 31
"""Of a confirmation; the table of Student's t ends at 30 degrees of freedom."""


class Asha(Settings):
    """When ASHA compares trials, and how many it lets go on."""

    grace_epochs: PositiveInt = 4
    """Epochs that a trial gets, unless an early rung is shown to tell as much (`Rungs.early`)."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """One in so many trials goes on beyond a rung; rungs grow by the same factor."""


class Resources(Settings):
    """What one trial holds while it runs."""

    cpu: PositiveInt = 1
    """CPU cores."""
    gpu: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of one GPU; a trial uses at most one. `auto`: so that as many trials share one as its
    memory holds, and no more than keep it busy, by what some steps of the greediest settings take
    of both alone."""


class Confirm(Settings):
    """Which of a search's trials are trained again, in full, before one is promoted."""

    top: PositiveInt = 3
    """The best so many trials; the defaults come beside them."""
    seeds: Annotated[int, Field(ge=2, le=MOST_SEEDS)] = 3
    """Trainings of each, with seeds that the search has not seen; one would tell no spread."""


class Space(Budget):
    """A space file, read and checked: a budget, and what to spend it on."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    trainable: Trainable[Any]
    """What is searched."""
    path: Path
    axes: dict[str, Choice | Range]
    """What is varied, by the dotted path of its setting."""
    base: dict[str, Any]
    """What the file says of all other settings, by dotted path."""
    metric: Metric
    """By which trials are compared: `val_loss`, one of COCO's ten numbers (`val_ap`, `val_ap50`,
    `val_ap75`, `val_ap_m`, `val_ap_l`, `val_ar` and so on) or `val_oks`; of a training of your own,
    one of its metrics. None given: the first."""
    keep: PositiveInt = 1
    """Trials whose checkpoints stay on disk, the best ones; of the others, only the curve does."""
    asha: Asha = Asha()
    resources: Resources = Resources()
    start: tuple[dict[str, Any], ...]
    """Points to try after the base: values of some axes, the others as in the base."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of what the sampler draws, and of the confirmation's fresh seeds."""
    sampler: SamplerName = "gp"
    """Who proposes the settings."""
    confirm: Confirm | None = None
    """Train the best again with fresh seeds, and promote the one with the best mean. None: the best
    trial is promoted by its one value."""
    text: str
    sha256: str
    """Of the file's bytes, in hexadecimal."""


def with_share(space: Space, gpu: float) -> Space:
    """Replace `gpu: auto` by the share that was found."""
    resources = space.resources.model_copy(update={"gpu": gpu})
    return space.model_copy(update={"resources": resources})


def resolve_space(space: Space, said: Mapping[str, Any]) -> Settings:
    """Return the settings of trial 0: the file's base overlaid with what the command line said.

    Raises: SettingsError, also where a point of the space is no possible training; DataError.
    """
    _check_said(space, said)
    where = f"{space.path} with --set" if said else str(space.path)
    by = space.trainable.metric_setting
    judged = {} if by is None else {by: space.metric.name}
    base: Settings = space.trainable.resolve(space.base | dict(said) | judged, where)
    space.trainable.check_axes(space.axes, base, where)
    for point in _points_to_check(space):
        spelled = ", ".join(f"{name}={value}" for name, value in point.items())
        change(base, point, f"{where}: at {spelled}")
    epochs = max_epochs(space, base)
    if space.asha.grace_epochs > epochs:
        raise SettingsError(
            f"{where}: asha.grace_epochs must be at most {space.trainable.epochs} ({epochs}), "
            f"but got {space.asha.grace_epochs}; lower it, or train for longer"
        )
    return base


def max_epochs(space: Space, base: Settings) -> int:
    """Return the epochs of the longest trial that the space allows."""
    axis = space.axes.get(space.trainable.epochs)
    varied = () if axis is None else axis.values if isinstance(axis, Choice) else axis.ends()
    # Trial 0 trains for the base's epochs, which may be more than the axis allows.
    return max([space.trainable.epochs_of(base), *(int(epochs) for epochs in varied)])


@dataclass(frozen=True)
class Rungs:
    """The epochs at which trials are compared, before their last."""

    stops: tuple[int, ...]
    """At which ASHA may stop a trial."""
    early: int | None
    """Before these, where it may once the order there is shown to be that of the first."""

    def all(self) -> list[int]:
        """From the lowest."""
        return [*([] if self.early is None else [self.early]), *self.stops]


def rungs_of(asha: Asha, max_epochs: int) -> Rungs:
    """Return grace * reduction^k before the last epoch, and the early rung, if there are any.

    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, algorithm 2; without
    its top rung, at which a trial ends anyway. The early rung is ours (docs/early_stopping.md).
    """
    stops = []
    epoch = asha.grace_epochs
    while epoch < max_epochs:
        stops.append(epoch)
        epoch *= asha.reduction
    early = asha.grace_epochs // EARLY if stops else 0
    return Rungs(tuple(stops), early or None)


def _check_said(space: Space, said: Mapping[str, Any]) -> None:
    check_names(said, "--set", space.trainable.settings)
    for name in said:
        if name in space.axes:
            raise SettingsError(
                f"--set {name}: is varied by the space; remove it from one of the two"
            )
        if name == space.trainable.metric_setting:
            raise SettingsError(f"--set {name}: is the space's metric; change it in {space.path}")
    change(change(space.trainable.settings(), space.base, str(space.path)), said, "--set")


def _points_to_check(space: Space) -> Iterator[dict[str, Any]]:
    """Yield each choice and end with the other axes at their first, all ends, start, random."""
    lows, highs = ({name: axis.ends()[i] for name, axis in space.axes.items()} for i in (0, 1))
    for name, axis in space.axes.items():
        for value in axis.values if isinstance(axis, Choice) else axis.ends():
            yield lows | {name: value}
    yield highs
    yield from space.start
    rng = random.Random(0)  # noqa: S311 (the same points each time, so the same answer)
    for _ in range(NUM_RANDOM_POINTS):
        yield {name: axis.draw(rng) for name, axis in space.axes.items()}


def axis_values(settings: Mapping[str, Any]) -> str:
    """Settings as a short text: `lr=0.001 step_epochs=10`."""
    return " ".join(
        f"{path.rpartition('.')[2]}={_short(value)}" for path, value in settings.items()
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace(" ", "")
