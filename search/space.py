"""A search space: which settings are varied over which values, and how trials are judged.

Neither Ray nor torch nor Optuna is imported here, so a slip in a space file is answered at once.
`read_space` checks what the file alone can tell, `resolve_space` what needs the complete base.
Trial 0 is always the base itself, also where its value of an axis lies outside of that axis.
"""

import hashlib
import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from kptrain.config import PositiveInt, Settings
from kptrain.errors import SettingsError
from kptrain.resolve import change, check_names, flatten
from kptrain.strict_yaml import read_yaml
from search.budget import Budget
from search.domains import Choice, Range, check_keys, read_choice, read_range
from search.trainable import Metric, Trainable

SamplerName = Literal["gp", "random"]

EARLY = 3
"""The early rung is at a third of the grace epochs."""
NUM_RANDOM_POINTS = 1000
"""Points drawn to find combinations that no training can have; they take some 0.1 s."""
MOST_SEEDS = 31
"""Of a confirmation; the table of Student's t ends at 30 degrees of freedom."""

FILE_KEYS = [
    *("base", "space", "metric", *Budget.model_fields, "keep"),
    *("asha", "resources", "start", "seed", "sampler", "confirm"),
]
NESTED = ("base", "start", "asha", "resources", "confirm")

INCOMPARABLE = {
    "place": "says where and how a training runs, not how well; set it in base or with --set",
    "data": "decides on what every metric is measured, so that trials could not be compared; "
    "set it in base or with --set",
    "loss": "changes what a loss value means, so that metric {metric} would find the smallest "
    "loss, not the best model; use {others}",
}
"""Why a setting cannot be varied, by what it changes; `loss` holds for a metric that is a loss."""


class Asha(Settings):
    """When ASHA compares trials, and how many it lets go on."""

    grace_epochs: PositiveInt = 4
    """Epochs that a trial gets, unless an early rung is shown to tell as much (`early_rung`)."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """One in so many trials goes on beyond a rung; rungs grow by the same factor."""


class Resources(Settings):
    """What one trial holds while it runs."""

    cpu: PositiveInt = 1
    """CPU cores."""
    gpu: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of one GPU; a trial uses at most one. `auto`: so that as many trials as fit share one,
    by the memory that two steps of the greediest settings take alone."""


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
    """By which trials are compared: `val_loss`, unless it is `val_oks` or `val_ap`; of a training
    of your own, the first of its metrics, unless it is another."""
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


def read_space(path: Path, trainable: Trainable[Any]) -> Space:
    """Read a space file and check all that needs nothing but the file and the tree of settings.

    Raises: SettingsError.
    """
    # A mapping or a list without a line counts as not given: all may be commented out.
    content = {
        key: value
        for key, value in read_yaml(path).items()
        if value is not None or key not in (*NESTED, *Budget.model_fields)
    }
    check_keys(content, FILE_KEYS, str(path))
    axes = _read_axes(content.pop("space", None), trainable, f"{path}: space")
    base = _read_base(content.pop("base", {}), axes, trainable, f"{path}: base")
    start = _read_start(content.pop("start", []), axes, trainable, f"{path}: start")
    default = next(iter(trainable.metrics))
    metric = _read_metric(content.pop("metric", default), trainable, str(path))
    read = {"trainable": trainable, "axes": axes, "base": base, "start": start, "metric": metric}
    space = _build(path, content | read)
    _check_comparable(space)
    _check_confirm(space)
    if all(getattr(space, part) is None for part in Budget.model_fields):
        raise SettingsError(
            f"{path}: must have a budget, one or more of {', '.join(Budget.model_fields)}, but has "
            f"none; add one, such as trials: 20"
        )
    _check_room(space, {})
    return space


def with_budget(space: Space, said: Mapping[str, float]) -> Space:
    """Replace parts of the budget by what the command line said.

    Raises: SettingsError.
    """
    options = {part: f"--{part.replace('_', '-')}:" for part in said}
    try:
        Budget.model_validate(dict(said))
    except ValidationError as error:
        (part,), rule = error.errors()[0]["loc"], _first(error).partition(" ")[2]
        raise SettingsError(f"{options[str(part)]} {rule}") from None
    changed = space.model_copy(update=dict(said))
    _check_room(changed, options)
    return changed


def with_share(space: Space, gpu: float) -> Space:
    """Replace `gpu: auto` by the share that was found."""
    resources = space.resources.model_copy(update={"gpu": gpu})
    return space.model_copy(update={"resources": resources})


def _check_room(space: Space, options: Mapping[str, str]) -> None:
    """Raises: SettingsError if the budget ends before the base and the start points are tried.

    `options` spells the parts that are not the file's.
    """
    trials, epochs = (options.get(part, f"{space.path}: {part}") for part in ("trials", "epochs"))
    if space.trials is not None and space.trials <= len(space.start):
        raise SettingsError(
            f"{trials} must be more than the {len(space.start)} points of start in {space.path}, "
            f"as the base comes first, but got {space.trials}; raise it"
        )
    grace, first = space.asha.grace_epochs, 1 + len(space.start)
    if space.epochs is not None and space.epochs < grace * first:
        raise SettingsError(
            f"{epochs} must be at least asha.grace_epochs ({grace}) for the base and each of the "
            f"{len(space.start)} points of start, {grace * first}, but got {space.epochs}; raise it"
        )


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


def rungs(asha: Asha, max_epochs: int) -> tuple[int, ...]:
    """Return the epochs at which ASHA may stop a trial: grace * reduction^k before the last.

    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, algorithm 2; without
    its top rung, at which a trial ends anyway.
    """
    found = []
    epoch = asha.grace_epochs
    while epoch < max_epochs:
        found.append(epoch)
        epoch *= asha.reduction
    return tuple(found)


def early_rung(asha: Asha, max_epochs: int) -> int | None:
    """Return the epoch before the first rung at which ASHA may stop trials too, once it has shown
    to rank them as that rung does; None if there is no such epoch."""
    epoch = asha.grace_epochs // EARLY
    return epoch if epoch and rungs(asha, max_epochs) else None


def _settings(given: Any, tree: type[Settings], where: str) -> dict[str, Any]:
    """Flatten a mapping of settings, nested or dotted, and check their names."""
    if not isinstance(given, dict):
        raise SettingsError(f"{where}: must map settings to values, but got {given!r}")
    try:
        flat = flatten(given)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from None
    check_names(flat, where, tree)
    return flat


def _read_metric(given: Any, trainable: Trainable[Any], path: str) -> Metric:
    metrics = trainable.metrics
    if not isinstance(given, str) or given not in metrics:
        raise SettingsError(f"{path}: metric must be {_one_of(metrics)}, but got {given!r}")
    return metrics[given]


def _one_of(names: Iterable[str]) -> str:
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}" if others else last


def _read_axes(given: Any, trainable: Trainable[Any], where: str) -> dict[str, Choice | Range]:
    if given is None or given == {}:
        raise SettingsError(f"{where}: must vary at least one setting, but names none; name one")
    if not isinstance(given, dict):
        raise SettingsError(f"{where}: must map settings to domains, but got {given!r}")
    # Not flattened: a mapping is a range here.
    check_names({str(name): domain for name, domain in given.items()}, where, trainable.settings)
    return {
        name: _read_axis(name, domain, trainable, f"{where}: {name}")
        for name, domain in given.items()
    }


def _read_axis(name: str, given: Any, trainable: Trainable[Any], where: str) -> Choice | Range:
    info = trainable.infos()[name]
    if name == trainable.metric_setting:
        raise SettingsError(f"{where}: cannot be varied, trials must share it; use `metric`")
    if info.changes in ("place", "data"):
        raise SettingsError(f"{where}: cannot be varied: it {INCOMPARABLE[info.changes]}")
    if isinstance(given, list):
        return read_choice(given, where)
    if not isinstance(given, dict):
        raise SettingsError(
            f"{where}: must be a list of values, or low and high with log or step, "
            f"but got {given!r}; put a single value into base"
        )
    if info.type not in (int, float):
        raise SettingsError(
            f"{where}: must be a list of values, as it is no number, but got the range {given}"
        )
    return read_range(given, "int" if info.type is int else "float", where)


def _read_base(
    given: Any, axes: Collection[str], trainable: Trainable[Any], where: str
) -> dict[str, Any]:
    base = _settings(given, trainable.settings, where)
    for name in base:
        if name == trainable.metric_setting:
            raise SettingsError(f"{where}: must not hold {name}; use `metric` instead")
        if name in axes:
            raise SettingsError(
                f"{where}: {name} must be in base or in space, but is in both; "
                f"remove it from one of the two"
            )
    change(trainable.settings(), base, where)
    return base


def _read_start(
    given: Any, axes: Mapping[str, Choice | Range], trainable: Trainable[Any], where: str
) -> list[dict[str, Any]]:
    if not isinstance(given, list):
        raise SettingsError(f"{where}: must be a list of points, but got {given!r}")
    tree = trainable.settings
    points = [_settings(point, tree, f"{where}: point {n}") for n, point in enumerate(given, 1)]
    for n, point in enumerate(points, 1):
        if not point:
            raise SettingsError(f"{where}: point {n}: must name an axis, but is the base itself")
        for name, value in point.items():
            _check_on_axis(name, value, axes, f"{where}: point {n}")
    return points


def _check_on_axis(name: str, value: Any, axes: Mapping[str, Choice | Range], where: str) -> None:
    if name not in axes:
        raise SettingsError(
            f"{where}: must name axes of the space only, but got {name}; vary it or remove it"
        )
    if not axes[name].contains(value):
        raise SettingsError(f"{where}: {name} must be {axes[name]}, but got {value!r}")


def _build(path: Path, content: dict[str, Any]) -> Space:
    """Complete a space with the file's scalar keys."""
    for key, model in (("asha", Asha), ("resources", Resources), ("confirm", Confirm)):
        if key in content:
            check_keys(content[key], model.model_fields, f"{path}: {key}")
    raw = path.read_bytes()
    source = {
        "path": path,
        "text": raw.decode("utf-8"),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "start": tuple(content["start"]),
    }
    try:
        return Space.model_validate(content | source)
    except ValidationError as error:
        raise SettingsError(f"{path}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{name} must be given, but is missing"
    if name.startswith("resources.gpu"):  # its errors name each of the two types
        return (
            f"resources.gpu must be auto or a share above 0 and at most 1, as a trial uses at most "
            f"one GPU, but got {first['input']!r}"
        )
    return f"{name} must be {first['msg'].removeprefix('Input should be ')}, but got " + repr(
        first["input"]
    )


def _check_comparable(space: Space) -> None:
    """Raises: SettingsError if an axis changes what the metric means."""
    infos = space.trainable.infos()
    others = [metric.name for metric in space.trainable.metrics.values() if not metric.is_loss]
    use = f"metric: {others[-1]}" if others else "a metric that is no loss"
    for name in space.axes:
        if infos[name].changes == "loss" and space.metric.is_loss:
            why = INCOMPARABLE["loss"].format(metric=space.metric, others=use)
            raise SettingsError(f"{space.path}: space: {name}: cannot be varied: it {why}")


def _check_confirm(space: Space) -> None:
    """Raises: SettingsError if a setting cannot be told from a seed."""
    seed = space.trainable.seed
    if space.confirm is not None and seed is None:
        raise SettingsError(
            f"{space.path}: confirm: needs a training whose seed is a setting, but that of "
            f"{space.trainable.name} is none; name it there by seed=, or remove confirm"
        )
    if space.confirm is not None and seed in space.axes:
        raise SettingsError(
            f"{space.path}: confirm: cannot be given while space varies {seed}: each setting "
            f"is trained again with other seeds, so that no seed can be the one that won; remove "
            f"one of the two"
        )


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
