"""Axes that hold only with one choice of another one: as they are written, read and checked."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from own_trainings import BRANCHES, Branches
from space_files import one_line, read, resolved

from kptrain.errors import SettingsError
from kptrain.resolve import change
from search.plan import describe_plan
from search.space.axes import Axis, Choice, Range
from search.space.conditions import active, implied, names_at, parents_first, point_with
from search.space.reader import read_space
from search.space.space import Space, resolve_space

NESTED: dict[str, Axis] = {
    # A child may stand before its parent.
    "nesterov": Choice((True, False), when={"heavy": (True,)}),
    "momentum": Range("float", 0.5, 0.99, when={"name": ("sgd", "lars")}),
    "name": Choice(("adam", "sgd", "lars")),
    "heavy": Choice((False, True), when={"name": ("sgd",)}),
    "lr": Range("float", 1e-4, 1e-1, log=True),
}
SGD = "{optim.name: [adam, sgd], optim.momentum: {low: 0.5, high: 0.95, when: {optim.name: sgd}}}"


@pytest.fixture(autouse=True)
def in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KPTRAIN_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def test_a_condition_is_read_as_written_with_one_value_or_with_several() -> None:
    space = read(
        "{optim.name: [adam, sgd, adamw], "
        "optim.momentum: {low: 0.5, high: 0.95, step: 0.15, when: {optim.name: sgd}}, "
        "optim.decay_norms: {values: [true, false], when: {optim.name: [adamw, sgd]}}, "
        "data.image_size: [[64, 64], [96, 96]], "
        "train.batch_size: {values: [8, 16], when: {data.image_size: [96, 96]}}, "
        "model.freeze: {low: 1, high: 3, when: {data.image_size: [[64, 64]], optim.name: adam}}}",
        "metric: val_ap",
    )
    assert space.axes["optim.name"] == Choice(("adam", "sgd", "adamw"))
    assert space.axes["optim.momentum"] == Range(
        "float", 0.5, 0.95, step=0.15, when={"optim.name": ("sgd",)}
    )
    assert space.axes["optim.decay_norms"] == Choice(
        (True, False),
        when={"optim.name": ("sgd", "adamw")},  # in the order of the choice
    )
    assert space.axes["train.batch_size"].when == {"data.image_size": ([96, 96],)}
    assert space.axes["model.freeze"].when == {
        "data.image_size": ([64, 64],),
        "optim.name": ("adam",),
    }


LR = "optim.lr: {low: 1e-3, high: 1e-2"


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (f"{{{LR}, when: sgd}}}}",
         "optim.lr: when: must map other axes to a value or a list of values, such as "
         "{optim.name: sgd}, but got 'sgd'"),
        (f"{{{LR}, when: {{}}}}}}", "optim.lr: when: must map other axes to a value or a list"),
        (f"{{{LR}, when: {{optim.nmae: sgd}}}}}}",
         "optim.lr: when: optim.nmae is not a setting; did you mean optim.name?"),
        (f"{{{LR}, when: {{optim.name: sgd}}}}}}",
         "optim.lr: when: optim.name: must be another axis of the space, but is not varied; vary "
         "it, or remove when and set optim.name in base"),
        (f"{{{LR}, when: {{train.epochs: 3}}}}, train.epochs: {{low: 2, high: 5}}}}",
         "optim.lr: when: train.epochs: must be a choice, a list of values, but is a range, from 2 "
         "to 5; list its values"),
        (f"{{{LR}, when: {{optim.name: sdg}}}}, optim.name: [adam, sgd]}}",
         "optim.lr: when: optim.name: must be one of ['adam', 'sgd'], but got 'sdg'"),
        (f"{{{LR}, when: {{optim.name: [sgd, 3]}}}}, optim.name: [adam, sgd]}}",
         "optim.lr: when: optim.name: must be one of ['adam', 'sgd'], but got 3"),
        (f"{{{LR}, when: {{optim.name: []}}}}, optim.name: [adam, sgd]}}",
         "optim.lr: when: optim.name: must be one of ['adam', 'sgd'], but got none"),
        ("{optim.name: {values: [adam, sgd], when: {optim.name: sgd}}}",
         "optim.name: when: must not depend on the axis itself, but got optim.name -> optim.name"),
        ("{optim.name: {values: [adam, sgd], when: {schedule.name: step}}, "
         "schedule.name: {values: [step, constant], when: {optim.name: sgd}}}",
         "optim.name: when: must not depend on the axis itself, but got optim.name -> "
         "schedule.name -> optim.name; remove one of them"),
        ("{optim.name: [adam, sgd], schedule.name: {values: [step, constant], when: {optim.name: "
         f"sgd}}}}, {LR}, when: {{optim.name: adam, schedule.name: step}}}}}}",
         "optim.lr: when must leave a value of optim.name with which a trial has this axis, but"),
        ("{optim.name: {values: adam}}", "optim.name: values must be a list, but got 'adam'"),
        ("{optim.name: {values: [adam, sgd], low: 3}}",
         "optim.name: must have values or when only, but got 'low'"),
        ("{optim.name: {values: [adam]}}", "optim.name: must list at least two values"),
    ],
)  # fmt: skip
def test_a_slip_in_a_condition_is_named_with_what_to_do(space: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        read(space)
    assert one_line(error).startswith(f"x.yaml: space: {message}")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{optim.name: [adam, sgd], optim.momentum: {low: 0.5, high: 0.9}}",
         "optim.momentum must be varied only with optim.name sgd, but optim.name is varied over "
         "['adam', 'sgd']; add when: {optim.name: sgd}"),
        ("{optim.name: [adam, sgd], optim.momentum: [0.5, 0.9]}",
         "optim.momentum must be varied only with optim.name sgd, but optim.name is varied over "
         "['adam', 'sgd']; write {values: [0.5, 0.9], when: {optim.name: sgd}}"),
        ("{optim.name: [adam, sgd], optim.momentum: {low: 0.5, high: 0.9, "
         "when: {optim.name: [adam, sgd]}}}",
         "optim.momentum must be varied only with optim.name sgd, but optim.name is varied over "
         "['adam', 'sgd']; correct optim.name: sgd in its when"),
        ("{optim.name: [adam, sgd], train.batch_size: [4, 8], optim.momentum: {low: 0.5, "
         "high: 0.9, when: {train.batch_size: 4}}}",
         "optim.momentum must be varied only with optim.name sgd, but optim.name is varied over "
         "['adam', 'sgd']; add optim.name: sgd in its when"),
        ("{optim.name: [adam, adamw], optim.momentum: {low: 0.5, high: 0.9}}",
         "optim.momentum must be varied only with optim.name sgd, but optim.name is varied over "
         "['adam', 'adamw']; remove optim.momentum"),
        ("{schedule.name: [step, multistep, cosine], schedule.gamma: [0.1, 0.5]}",
         "schedule.gamma must be varied only with schedule.name step or multistep, but "
         "schedule.name is varied over ['step', 'multistep', 'cosine']; write {values: [0.1, 0.5], "
         "when: {schedule.name: [step, multistep]}}"),
        ("{train.batch_size: [4, 8], optim.name: {values: [sgd, adam], when: {train.batch_size: "
         "4}}, optim.momentum: {low: 0.5, high: 0.9, when: {train.batch_size: 4}}}",
         "optim.momentum must be varied only with optim.name sgd"),
        ("{optim.momentum: {low: 0.5, high: 0.9}}",
         "optim.momentum must be given only with optim.name sgd, but optim.name is adam; set "
         "optim.name to sgd, or remove optim.momentum"),
    ],
)  # fmt: skip
def test_an_axis_without_effect_in_some_trial_is_refused_with_the_condition_that_it_needs(
    space: str, message: str
) -> None:
    with pytest.raises(SettingsError) as error:
        resolved(read(space), {})
    assert one_line(error).startswith(f"x.yaml: space: {message}")


@pytest.mark.parametrize(
    "space",
    [
        SGD,
        "{schedule.name: [step, multistep], schedule.gamma: [0.1, 0.5], schedule.milestones: "
        "{values: [[3], [5]], when: {schedule.name: multistep}}}",
        # The axis that it names holds only with sgd itself.
        "{optim.name: [adam, sgd], optim.nesterov: {values: [true, false], when: "
        "{optim.name: sgd}}, optim.momentum: {low: 0.5, high: 0.9, when: {optim.nesterov: true}}}",
        # Any setting may depend on any choice.
        "{optim.name: [adam, sgd], optim.clip_norm: {low: 1, high: 9, when: {optim.name: sgd}}}",
    ],
)
def test_an_axis_that_has_an_effect_wherever_a_trial_has_it_is_allowed(space: str) -> None:
    resolved(read(space), {})


def test_a_start_point_gives_what_its_axes_need() -> None:
    point = "optim.momentum: 0.8, optim.name: sgd"
    space = read(SGD, f"start: [{{{point}}}]")
    resolved(space, {})
    with pytest.raises(SettingsError) as error:
        resolved(read(SGD, "start: [{optim.name: sgd}, {optim.momentum: 0.8}]"), {})
    assert one_line(error) == (
        "x.yaml: start: point 2: optim.momentum must be given only where the axis holds, with "
        "optim.name sgd, but got {'optim.momentum': 0.8}; add what it needs to the point, or "
        "remove optim.momentum"
    )


def test_every_end_of_a_conditional_axis_is_checked_where_it_holds() -> None:
    """The first optimizer is adam; a random momentum is hardly ever 1, the first not allowed."""
    axes = SGD.replace("low: 0.5, high: 0.95", "low: 0.5, high: 1.0")
    with pytest.raises(SettingsError) as error:
        resolved(read(axes), {})
    assert one_line(error) == (
        "x.yaml: at optim.name=sgd, optim.momentum=1.0: optim.momentum must be less than 1, but "
        "got 1.0"
    )


def test_points_that_are_checked_have_exactly_the_axes_that_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[dict[str, Any]] = []

    def noting(config: Any, point: Any, where: str) -> Any:
        checked.append(dict(point))
        return change(config, point, where)

    space = read(SGD)
    monkeypatch.setattr("search.space.space.change", noting)
    resolved(space, {})
    points = [point for point in checked if point]
    assert {tuple(point) for point in points} == {
        ("optim.name",),
        ("optim.name", "optim.momentum"),
    }
    assert all((point["optim.name"] == "sgd") == ("optim.momentum" in point) for point in points)


def test_the_plan_says_with_which_choice_an_axis_holds() -> None:
    space = read(SGD)
    plan = describe_plan(space, resolved(space, {}), 0)
    assert "optim.momentum: from 0.5 to 0.95 with optim.name sgd\n" in plan
    assert "optim.name: one of ['adam', 'sgd']\n" in plan


@given(st.integers(0, 2**32))
def test_a_point_has_exactly_the_axes_whose_conditions_hold(seed: int) -> None:
    rng = random.Random(seed)
    point = active(NESTED, {path: axis.draw(rng) for path, axis in NESTED.items()})
    name = point["name"]
    assert ("momentum" in point) == (name in ("sgd", "lars"))
    assert ("heavy" in point) == (name == "sgd")
    assert ("nesterov" in point) == bool(name == "sgd" and point["heavy"])
    assert "lr" in point
    assert names_at(NESTED, point) == list(point) == [path for path in NESTED if path in point]


def test_an_axis_below_one_that_does_not_hold_does_not_hold_whatever_is_given() -> None:
    assert names_at(NESTED, {"name": "lars", "heavy": True}) == ["momentum", "name", "lr"]


@pytest.mark.parametrize("path", NESTED)
def test_there_is_a_point_with_each_axis(path: str) -> None:
    last = NESTED[path].ends()[1]
    point = point_with(NESTED, path, last)
    assert point[path] == last
    assert list(point) == names_at(NESTED, point)


def test_what_an_axis_depends_on_comes_first_and_is_known() -> None:
    order = parents_first(NESTED)
    assert sorted(order) == sorted(NESTED)
    assert order.index("name") < order.index("heavy") < order.index("nesterov")
    assert implied(NESTED, "nesterov") == {"heavy": [True], "name": ["sgd"]}
    assert implied(NESTED, "lr") == {}


def test_a_training_of_ones_own_can_have_settings_of_a_choice(tmp_path: Path) -> None:
    def space(text: str) -> Space:
        (tmp_path / "own.yaml").write_text(f"space: {text}\ntrials: 4\nasha: {{grace_epochs: 2}}")
        return read_space(tmp_path / "own.yaml", BRANCHES)

    lr, momentum = "lr: {low: 0.1, high: 0.9}", "momentum: {low: 0, high: 1"
    assert (
        resolve_space(
            space(f"{{name: [plain, heavy], {lr}, {momentum}, when: {{name: heavy}}}}}}"), {}
        )
        == Branches()
    )
    with pytest.raises(SettingsError, match=r"momentum must be .*; add when: {name: heavy}$"):
        resolve_space(space(f"{{name: [plain, heavy], {lr}, {momentum}}}}}"), {})
