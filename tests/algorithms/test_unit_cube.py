"""Settings to points and back."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from search.algorithms.unit_cube import UnitCube
from search.space.axes import Choice, Range

AXES: dict[str, Choice | Range] = {
    "lr": Range("float", 1e-4, 1e-2, log=True),
    "gamma": Range("float", 0.1, 0.9),
    "sigma": Range("float", 1.0, 3.0, step=0.25),
    "steps": Range("int", 3, 12),
    "stride": Range("int", 2, 10, step=4),
    "width": Range("int", 1, 1024, log=True),
    "batch": Choice((32, 8, 16)),
    "trunk": Choice(("resnet50", "resnet18", "resnet34")),
    "flag": Choice((True, False)),
}


@pytest.mark.parametrize("path", AXES)
def test_every_value_comes_back_from_its_point(path: str) -> None:
    axis = AXES[path]
    cube = UnitCube({path: axis})
    values: list[Any] = list(axis.values) if isinstance(axis, Choice) else [*axis.ends()]
    if isinstance(axis, Range) and axis.kind == "int":
        values = [v for v in range(int(axis.low), int(axis.high) + 1) if axis.contains(v)]
    for value in values:
        point = cube.encode({path: value})
        assert (point >= 0).all()
        assert (point <= 1).all()
        found = cube.decode(point)[path]
        assert (
            found == pytest.approx(value)
            if isinstance(value, float)
            else found is value or (found == value and type(found) is type(value))
        )


def test_points_all_over_the_cube_are_values_of_the_axes_and_reach_each_level_and_both_ends() -> (
    None
):
    cube = UnitCube(AXES)
    points = cube.draw(np.random.default_rng(0), 4000)
    drawn = [cube.decode(point) for point in points]
    for path, axis in AXES.items():
        assert all(axis.contains(settings[path]) for settings in drawn), path
    assert {s["steps"] for s in drawn} == set(range(3, 13))
    assert {s["stride"] for s in drawn} == {2, 6, 10}
    assert {s["sigma"] for s in drawn} == {1 + 0.25 * n for n in range(9)}
    assert {s["trunk"] for s in drawn} == {"resnet50", "resnet18", "resnet34"}
    counts = np.bincount([s["steps"] for s in drawn], minlength=13)[3:]
    assert counts.min() > 0.7 * counts.mean()  # the ends have as much room as the others
    for corner in (np.zeros(len(AXES)), np.ones(len(AXES))):
        assert all(AXES[path].contains(v) for path, v in cube.decode(corner).items())


def test_a_choice_of_numbers_is_ordered_by_size_and_any_other_choice_is_not() -> None:
    cube = UnitCube(AXES)
    told = dict(zip(AXES, cube.is_ordered, strict=True))
    assert told["batch"]
    assert not told["trunk"]
    assert not told["flag"]
    small, middle, large = (
        UnitCube({"batch": AXES["batch"]}).encode({"batch": value})[0] for value in (8, 16, 32)
    )
    assert small < middle < large


def test_any_two_values_of_an_unordered_choice_are_one_apart_for_a_kernel() -> None:
    cube = UnitCube({"trunk": AXES["trunk"], "gamma": AXES["gamma"]})
    names = ("resnet50", "resnet18", "resnet34")
    points = np.array([cube.encode({"trunk": name, "gamma": 0.5}) for name in names])
    features, axis_of = cube.features(points)
    assert axis_of.tolist() == [0, 0, 0, 1]
    distances = np.linalg.norm(features[:, None] - features[None], axis=2)
    assert_allclose(distances, 1 - np.eye(3), atol=1e-12)


def test_snapped_points_stand_where_their_values_do() -> None:
    cube = UnitCube(AXES)
    points = np.random.default_rng(1).random((50, len(AXES)))
    snapped = cube.snap(points)
    for point, moved in zip(points, snapped, strict=True):
        assert cube.decode(point) == cube.decode(moved)
    levels = [n for n, path in enumerate(AXES) if path not in ("lr", "gamma")]
    again = np.array([cube.encode(cube.decode(point)) for point in points])
    assert_allclose(again[:, levels], snapped[:, levels])
