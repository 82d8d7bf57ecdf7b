"""Reads a space file, and checks all that needs only the file and the tree of settings.

Neither Ray nor torch nor Optuna is imported here, so a mistake in a space file is reported at once.
"""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kptrain.config import Settings
from kptrain.errors import SettingsError
from kptrain.resolve import change, check_names, flatten
from kptrain.strict_yaml import read_yaml
from search.space.axes import (
    CHOICE_KEYS,
    Axes,
    Axis,
    check_keys,
    either,
    read_choice,
    read_range,
)
from search.space.budget import Budget
from search.space.conditions import with_conditions
from search.space.faults import describe_first
from search.space.space import Asha, Confirm, Resources, Space
from search.space.training import Metric, Trainable

FILE_KEYS = [
    *("base", "space", "metric", *Budget.model_fields, "keep"),
    *("asha", "resources", "start", "seed", "sampler", "confirm"),
]
NESTED = ("base", "start", "asha", "resources", "confirm")
INCOMPARABLE = {
    "place": "changes where and how a training runs, not its result; set it in base or with --set",
    "data": "changes the data that every metric is measured on, so trials could not be compared; "
    "set it in base or with --set",
    "loss": "changes what a loss value means, so metric {metric} would find the smallest loss, not "
    "the best model; use {others}",
}
"""Why a setting cannot be varied, by what it changes; `loss` applies if the metric is a loss."""


def read_space(
    path: Path, trainable: Trainable[Any], recorded: Mapping[str, Any] | None = None
) -> Space:
    """Read a space file and check all that needs only the file and the tree of settings.

    recorded: values of keys when a search began with the file, defaults included.
    Raises: SettingsError.
    """
    # An empty mapping or list counts as not given: all of its lines may be commented out.
    content = {
        key: value
        for key, value in _with_recorded(read_yaml(path), recorded or {}).items()
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
    _check_budget(space, {})
    return space


def _with_recorded(content: dict[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a file, with the recorded values of keys."""
    merged = dict(content)
    for key, value in recorded.items():
        given = content.get(key)
        are_mappings = isinstance(given, dict) and isinstance(value, dict)
        merged[key] = given | value if are_mappings else value
    return merged


def with_budget(space: Space, given: Mapping[str, float]) -> Space:
    """Replace parts of the budget by those given on the command line.

    Raises: SettingsError.
    """
    options = {part: f"--{part.replace('_', '-')}:" for part in given}
    try:
        Budget.model_validate(dict(given))
    except ValidationError as error:
        (part,), rule = error.errors()[0]["loc"], describe_first(error).partition(" ")[2]
        raise SettingsError(f"{options[str(part)]} {rule}") from None
    changed = space.model_copy(update=dict(given))
    _check_budget(changed, options)
    return changed


def _check_budget(space: Space, options: Mapping[str, str]) -> None:
    """Raises: SettingsError if the budget ends before the base and the start points are tried.

    options: the command's option for each part that does not come from the file.
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
        raise SettingsError(
            f"{path}: metric must be {either(map(repr, metrics))}, but got {given!r}"
        )
    return metrics[given]


def _read_axes(given: Any, trainable: Trainable[Any], where: str) -> dict[str, Axis]:
    if given is None or given == {}:
        raise SettingsError(f"{where}: must vary at least one setting, but names none; name one")
    if not isinstance(given, dict):
        raise SettingsError(f"{where}: must map settings to domains, but got {given!r}")
    # Not flattened: a mapping is a range here.
    check_names({str(name): domain for name, domain in given.items()}, where, trainable.settings)
    axes = {
        name: _read_axis(name, domain, trainable, f"{where}: {name}")
        for name, domain in given.items()
    }
    when = {
        name: domain["when"]
        for name, domain in given.items()
        if isinstance(domain, dict) and "when" in domain
    }
    return with_conditions(axes, when, trainable.settings, where)


def _read_axis(name: str, given: Any, trainable: Trainable[Any], where: str) -> Axis:
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
    if "values" in given:
        check_keys(given, CHOICE_KEYS, where)
        return read_choice(given["values"], where)
    if info.type not in (int, float):
        raise SettingsError(
            f"{where}: must be a list of values, as it is not a number, but got the range {given}"
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
    given: Any, axes: Axes, trainable: Trainable[Any], where: str
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


def _check_on_axis(name: str, value: Any, axes: Axes, where: str) -> None:
    if name not in axes:
        raise SettingsError(
            f"{where}: must name axes of the space only, but got {name}; vary it or remove it"
        )
    if not axes[name].contains(value):
        raise SettingsError(f"{where}: {name} must be {axes[name]}, but got {value!r}")


def _build(path: Path, content: dict[str, Any]) -> Space:
    """Validate the content of a file as a space."""
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
        first = error.errors()[0]
        fault = describe_first(error)
        if first["loc"][:2] == ("resources", "gpu"):  # its errors name each of the two types
            fault = (
                f"resources.gpu must be auto or a share above 0 and at most 1, as a trial uses at "
                f"most one GPU, but got {first['input']!r}"
            )
        raise SettingsError(f"{path}: {fault}") from None


def _check_comparable(space: Space) -> None:
    """Raises: SettingsError if an axis changes what the metric means."""
    infos = space.trainable.infos()
    others = [metric.name for metric in space.trainable.metrics.values() if not metric.is_loss]
    use = f"metric: {others[0]}" if others else "a metric that is not a loss"
    for name in space.axes:
        if infos[name].changes == "loss" and space.metric.is_loss:
            why = INCOMPARABLE["loss"].format(metric=space.metric, others=use)
            raise SettingsError(f"{space.path}: space: {name}: cannot be varied: it {why}")


def _check_confirm(space: Space) -> None:
    """Raises: SettingsError if trials cannot be repeated with other seeds."""
    seed = space.trainable.seed
    if space.confirm is not None and seed is None:
        raise SettingsError(
            f"{space.path}: confirm: must come with a training that has a setting for its seed, "
            f"but {space.trainable.name} has none; name it there with seed=, or remove confirm"
        )
    if space.confirm is not None and seed in space.axes:
        raise SettingsError(
            f"{space.path}: confirm: must not come with a space that varies {seed}, as each "
            f"candidate is trained again with other seeds; remove one of the two"
        )
