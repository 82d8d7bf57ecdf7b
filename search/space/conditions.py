"""Axes that only some trials have: `when: {optim.name: sgd}`.

An axis with conditions has a value at a point if the point has a value on each axis that they name,
and it is one of those given. A point has no value on any other axis: the trial's setting is that of
the base.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kptrain.errors import SettingsError
from kptrain.resolve import check_names, did_you_mean
from kptrain.tree import Condition, Settings
from search.space.axes import Axes, Axis, Choice, either


def has_value(axes: Axes, path: str, point: Mapping[str, Any]) -> bool:
    """Whether a point has a value on an axis; values of axes that it lacks are ignored."""
    return all(
        choice in point and point[choice] in values and has_value(axes, choice, point)
        for choice, values in axes[path].when.items()
    )


def may_hold(axes: Axes, path: str, point: Mapping[str, Any]) -> bool:
    """Whether some point with these values on some of the axes has a value on this axis."""
    return all(
        point[choice] in values for choice, values in implied(axes, path).items() if choice in point
    )


def names_at(axes: Axes, point: Mapping[str, Any]) -> list[str]:
    """The axes on which a point has a value, in the order of the space."""
    return [path for path in axes if has_value(axes, path, point)]


def active(axes: Axes, values: Mapping[str, Any]) -> dict[str, Any]:
    """The point with these values, less those of axes that it lacks; values: one for each axis."""
    return {path: values[path] for path in names_at(axes, values)}


def implied(axes: Axes, path: str) -> dict[str, list[Any]]:
    """The values that the choices have wherever an axis has one, for each that it depends on,
    itself or by another one."""
    found: dict[str, list[Any]] = {}
    for choice, values in axes[path].when.items():
        for name, allowed in [(choice, values), *implied(axes, choice).items()]:
            found[name] = [value for value in found.get(name, allowed) if value in allowed]
    return found


def point_with(axes: Axes, path: str, value: Any) -> dict[str, Any]:
    """A point with a value on one axis; others have their first where the axis permits it."""
    firsts = {name: axis.ends()[0] for name, axis in axes.items()}
    choices = {name: values[0] for name, values in implied(axes, path).items()}
    return active(axes, firsts | choices | {path: value})


def parents_first(axes: Axes) -> list[str]:
    """The axes in an order in which each comes after those that its conditions name."""

    def depth(path: str) -> int:
        return 1 + max(map(depth, axes[path].when), default=0)

    return sorted(axes, key=depth)


def describe_condition(condition: Condition) -> str:
    """The condition in words, after a blank: ` with optim.name sgd`; may be empty."""
    parts = [f"{choice} {either(map(str, values))}" for choice, values in condition.items()]
    return f" with {' and '.join(parts)}" if parts else ""


# Reading a space file.


def with_conditions(
    axes: Mapping[str, Axis], given: Mapping[str, Any], tree: type[Settings], where: str
) -> dict[str, Axis]:
    """The axes with their conditions; given: the content of `when`, for each axis that has one.

    Raises: SettingsError.
    """
    read = dict(axes)
    for path, content in given.items():
        when = _read_condition(content, axes, tree, f"{where}: {path}: when")
        read[path] = replace(read[path], when=when)
    for path in given:
        _check_ends(read, path, [path], f"{where}: {path}: when")
    for path in given:
        for choice, values in implied(read, path).items():
            if not values:
                raise SettingsError(
                    f"{where}: {path}: when must leave a value of {choice} with which a trial has "
                    f"this axis, but the axes that it names need other ones; correct one of them"
                )
    return read


def _read_condition(
    given: Any, axes: Axes, tree: type[Settings], where: str
) -> dict[str, tuple[Any, ...]]:
    if not isinstance(given, dict) or not given:
        raise SettingsError(
            f"{where}: must map other axes to a value or a list of values, such as "
            f"{{optim.name: sgd}}, but got {given!r}"
        )
    check_names({str(choice): None for choice in given}, where, tree)
    return {
        choice: _read_values(choice, values, axes, f"{where}: {choice}")
        for choice, values in given.items()
    }


def _read_values(choice: str, given: Any, axes: Axes, where: str) -> tuple[Any, ...]:
    """Values of a choice as its axis spells them; given: one of them, or a list of them."""
    axis = axes.get(choice)
    if axis is None:
        raise SettingsError(
            f"{where}: must be another axis of the space, but is not varied; vary it, or remove "
            f"when and set {choice} in base{did_you_mean(choice, list(axes))}"
        )
    if not isinstance(axis, Choice):
        raise SettingsError(
            f"{where}: must be a choice, a list of values, but is a range, {axis}; list its values"
        )
    values = given if isinstance(given, list) and given not in axis.values else [given]
    for value in values:
        if value not in axis.values:
            raise SettingsError(f"{where}: must be {axis}, but got {value!r}; correct it")
    if not values:
        raise SettingsError(f"{where}: must be {axis}, but got none; name one")
    return tuple(own for own in axis.values if own in values)


def _check_ends(axes: Axes, path: str, before: list[str], where: str) -> None:
    """Raises: SettingsError if the conditions come back to an axis from which they began."""
    for choice in axes[path].when:
        if choice in before:
            circle = " -> ".join([*before[before.index(choice) :], choice])
            raise SettingsError(
                f"{where}: must not depend on the axis itself, but got {circle}; remove one of them"
            )
        _check_ends(axes, choice, [*before, choice], where)


# Checking it with the tree of settings.


def check_effects(axes: Axes, known: Mapping[str, Condition], base: Any, where: str) -> None:
    """Check that each axis has an effect wherever a trial has it.

    known: the condition of each setting of the tree that has one; base: all settings of trial 0, by
    dotted path. A choice that is no axis is checked by `check_taken`.
    Raises: SettingsError with the `when` that is missing.
    """
    for path, axis in axes.items():
        for choice, values in known.get(path, {}).items():
            varied = axes.get(choice)
            if not isinstance(varied, Choice):
                continue
            fitting = [value for value in varied.values if value in values]
            # Trials without the axis of the choice have the base's.
            any_of = [*varied.values, *([base[choice]] if varied.when else [])]
            possible = implied(axes, path).get(choice, any_of)
            if not fitting or any(value not in values for value in possible):
                fix = _fix(axis, choice, fitting)
                raise SettingsError(
                    f"{where}: {path} must be varied only with {choice} "
                    f"{either(map(str, values))}, but {choice} is varied over "
                    f"{list(varied.values)}; {fix or f'remove {path}'}"
                )


def _fix(axis: Axis, choice: str, values: list[Any]) -> str:
    """What to write in the file; empty if the choice has none of the values."""
    if not values:
        return ""
    needed = str(values[0]) if len(values) == 1 else f"[{', '.join(map(str, values))}]"
    if axis.when:
        return f"{'correct' if choice in axis.when else 'add'} {choice}: {needed} in its when"
    if isinstance(axis, Choice):
        return f"write {{values: {list(axis.values)}, when: {{{choice}: {needed}}}}}"
    return f"add when: {{{choice}: {needed}}}"
