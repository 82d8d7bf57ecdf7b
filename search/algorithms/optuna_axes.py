"""The axes of a space in Optuna's terms: distributions, and labels for the values of a choice."""

import json
from dataclasses import replace
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from search.space.axes import Axes, Axis, Choice, Range

Label = bool | int | float | str | None
"""The types that Optuna stores as values of a choice."""


def distribution(axis: Axis) -> BaseDistribution:
    """The distribution of an axis."""
    if isinstance(axis, Choice):
        return CategoricalDistribution([label(value) for value in axis.values])
    if axis.kind == "int":
        step = 1 if axis.step is None else int(axis.step)
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=step)
    return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)


def distribution_with(axis: Axis, extra: Any) -> BaseDistribution:
    """The distribution of an axis extended by a value, such as a default outside of the axis."""
    if isinstance(axis, Choice):
        labels = dict.fromkeys(label(value) for value in (*axis.values, extra))
        return CategoricalDistribution(list(labels))
    ends = [axis.low, axis.high, *([extra] if has_place(axis, extra) else [])]
    if axis.kind == "int":
        return IntDistribution(int(min(ends)), int(max(ends)), log=axis.log)
    return FloatDistribution(min(ends), max(ends), log=axis.log)


def has_place(axis: Axis, value: Any) -> bool:
    """Whether `distribution_with` can include a value: not None, nor 0 on a log scale."""
    if isinstance(axis, Choice):
        return True
    return value is not None and (value > 0 or not axis.log)


def labelled(axes: Axes) -> dict[str, Axis]:
    """The axes with labels instead of values."""
    return {path: _labelled(axis) for path, axis in axes.items()}


def _labelled(axis: Axis) -> Axis:
    when = {choice: tuple(map(label, values)) for choice, values in axis.when.items()}
    if isinstance(axis, Range):
        return replace(axis, when=when)
    return Choice(tuple(map(label, axis.values)), when=when)


def suggest(trial: Trial, path: str, axis: Axis) -> Label:
    """The label that a trial has on an axis: given, or by the study's sampler."""
    space = distribution(axis)
    if isinstance(space, CategoricalDistribution):
        return trial.suggest_categorical(path, space.choices)
    if isinstance(space, IntDistribution):
        return trial.suggest_int(path, space.low, space.high, step=space.step, log=space.log)
    assert isinstance(space, FloatDistribution)
    return trial.suggest_float(path, space.low, space.high, step=space.step, log=space.log)


def label(value: Any) -> Label:
    """The label of a value in Optuna: the value itself, or its JSON if it is a list."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return json.dumps(value)


def label_on(axis: Axis, value: Any) -> Label:
    """The label of a value in the axis's own spelling: `1.0` has the label of the choice `1`."""
    own = value if isinstance(axis, Range) else next(v for v in axis.values if v == value)
    return label(own)


def value_of(axis: Axis, labelled: Any) -> Any:
    """The value of an axis for a label."""
    if isinstance(axis, Range):
        return labelled
    return next(value for value in axis.values if label(value) == labelled)
