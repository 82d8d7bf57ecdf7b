"""Settings as points of the unit cube, one coordinate per axis, and their features for a kernel.

Shapes: n points, d axes, f features. A coordinate is NaN if the point has no value on that axis
(`search.space.conditions`).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.space.axes import Axes, Axis, Choice, Range
from search.space.conditions import parents_first

Points = NDArray[np.float64]


class UnitCube:
    """Maps settings to the unit cube. A choice of numbers is ordered like a range; others are
    not."""

    def __init__(self, axes: Axes) -> None:
        self._axes = {path: _sorted(axis) for path, axis in axes.items()}
        self._levels = [_num_levels(axis) for axis in self._axes.values()]
        self.is_ordered = np.array([_is_ordered(axis) for axis in axes.values()])
        columns = {path: column for column, path in enumerate(axes)}
        self._conditions = [
            (columns[path], columns[choice], [self._level_of(choice, value) for value in values])
            for path in parents_first(axes)
            for choice, values in axes[path].when.items()
        ]
        """The column of an axis, that of a choice on which it depends, and the choice's levels with
        which it has a value."""

    def encode(self, settings: Mapping[str, Any]) -> Points:
        """The point (d) of settings, which must lie on the axes."""
        places = [
            _place(axis, settings[path]) if path in settings else math.nan
            for path, axis in self._axes.items()
        ]
        return np.array(places)

    def decode(self, point: Points) -> dict[str, Any]:
        """The settings nearest to a point (d), on the axes that hold there."""
        (kept,) = self.inactivate(point[None])
        return self._values(kept)

    def value(self, path: str, point: Points) -> Any:
        """The value on one axis that is nearest to a point (d)."""
        return self._values(point)[path]

    def _values(self, point: Points) -> dict[str, Any]:
        return {
            path: _value(axis, float(at))
            for (path, axis), at in zip(self._axes.items(), point, strict=True)
            if not math.isnan(at)
        }

    def inactivate(self, points: Points) -> Points:
        """Points (n, d) with NaN on each axis that they do not have."""
        kept = points.copy()
        for column, choice, allowed in self._conditions:
            at, levels = kept[:, choice], self._levels[choice]
            assert levels is not None  # it is a choice
            level = _level(np.nan_to_num(at), levels)
            kept[np.isnan(at) | ~np.isin(level, allowed), column] = math.nan
        return kept

    def _level_of(self, choice: str, value: Any) -> int:
        axis = self._axes[choice]
        assert isinstance(axis, Choice)
        return axis.values.index(value)

    def draw(self, rng: np.random.Generator, num: int) -> Points:
        """Points (num, d), uniform over the cube, with a coordinate on every axis."""
        return self.snap(rng.random((num, len(self._axes))))

    def snap(self, points: Points) -> Points:
        """Move each coordinate of points (n, d) without NaN to the position of the value that it
        decodes to."""
        snapped = points.copy()
        for column, levels in enumerate(self._levels):
            if levels is not None:
                snapped[:, column] = (_level(points[:, column], levels) + 0.5) / levels
        for column, axis in enumerate(self._axes.values()):
            if isinstance(axis, Range) and axis.kind == "int" and axis.log:
                low, high = _scaled_ends(axis)
                nearest = np.round(np.exp(low + points[:, column] * (high - low)))
                snapped[:, column] = (np.log(np.clip(nearest, *axis.ends())) - low) / (high - low)
        return snapped

    def features(self, points: Points) -> tuple[Points, NDArray[np.intp]]:
        """The features of points (n, d) for a kernel (n, f), and the axis of each feature (f).

        An ordered axis has one feature; an unordered one has a feature per value, such that any two
        values have distance 1. Without a value, the features are those in the middle of the axis:
        points without one are equal there, and the choice on which it depends tells them apart.
        """
        columns, axis_of = [], []
        for column, levels in enumerate(self._levels):
            at = points[:, column]
            is_missing = np.isnan(at)
            if self.is_ordered[column] or levels is None:
                columns.append(np.where(is_missing, 0.5, at))
                axis_of.append(column)
            else:
                level = _level(np.nan_to_num(at), levels)
                shares = [np.where(is_missing, 1 / levels, level == v) for v in range(levels)]
                columns += [share / math.sqrt(2) for share in shares]
                axis_of += [column] * levels
        return np.stack(columns, axis=1), np.array(axis_of)


def _is_ordered(axis: Axis) -> bool:
    if isinstance(axis, Range):
        return True
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in axis.values)


def _sorted(axis: Axis) -> Axis:
    if isinstance(axis, Choice) and _is_ordered(axis):
        return Choice(tuple(sorted(axis.values)))
    return axis


def _num_levels(axis: Axis) -> int | None:
    """The number of values; None for a continuous axis, and for any axis on a log scale."""
    if isinstance(axis, Choice):
        return len(axis.values)
    if axis.log or (axis.kind == "float" and axis.step is None):
        return None
    return math.floor((axis.high - axis.low) / (axis.step or 1) + 1e-8) + 1


def _level(at: Points, levels: int) -> NDArray[np.intp]:
    return np.clip(at * levels, 0, levels - 1).astype(np.intp)


def _place(axis: Axis, value: Any) -> float:
    levels = _num_levels(axis)
    if isinstance(axis, Choice):
        return float(axis.values.index(value) + 0.5) / len(axis.values)
    if levels is not None:
        return float(round((value - axis.low) / (axis.step or 1)) + 0.5) / levels
    low, high = _scaled_ends(axis)
    return float(((math.log(value) if axis.log else value) - low) / (high - low))


def _value(axis: Axis, at: float) -> Any:
    levels = _num_levels(axis)
    level = None if levels is None else min(max(int(at * levels), 0), levels - 1)
    if isinstance(axis, Choice):
        return axis.values[level or 0]
    if level is not None:
        value = axis.low + level * (axis.step or 1)
    else:
        low, high = _scaled_ends(axis)
        value = low + at * (high - low)
        value = math.exp(value) if axis.log else value
    value = round(value) if axis.kind == "int" else value
    return min(max(value, axis.low), axis.high)  # a rounding error may exceed an end


def _scaled_ends(axis: Range) -> tuple[float, float]:
    """The ends of a continuous axis. Integers get half a unit more, so that all are equally
    likely."""
    margin = 0.5 if axis.kind == "int" else 0.0
    ends = (axis.low - margin, axis.high + margin)
    return (math.log(ends[0]), math.log(ends[1])) if axis.log else ends
