"""The values that one setting may take in a search: a choice, or a range of numbers."""

import math
import random
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from kptrain.errors import SettingsError
from kptrain.resolve import did_you_mean
from kptrain.tree import Condition

RANGE_KEYS = ("low", "high", "log", "step", "when")
CHOICE_KEYS = ("values", "when")


@dataclass(frozen=True)
class Choice:
    """One of the listed values."""

    values: tuple[Any, ...]
    when: Condition = field(default_factory=dict, kw_only=True)
    """The choices under which the axis holds: for each other axis named here, the values with one
    of which a trial has this one (`search.space.conditions`). Empty: every trial has it."""

    def __str__(self) -> str:
        return f"one of {list(self.values)}"

    def contains(self, value: Any) -> bool:
        return value in self.values

    def ends(self) -> tuple[Any, Any]:
        return self.values[0], self.values[-1]

    def marks(self) -> tuple[Any, ...]:
        """The values that stand for all: each one, or the ends of a range."""
        return self.values

    def draw(self, rng: random.Random) -> Any:
        return rng.choice(self.values)


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included; with a step, those at whole steps from low."""

    kind: Literal["int", "float"]
    low: float
    high: float
    log: bool = False
    step: float | None = None
    when: Condition = field(default_factory=dict, kw_only=True)
    """As of `Choice`."""

    def __str__(self) -> str:
        steps = "" if self.step is None else f" in steps of {self.step}"
        scale = " on a log scale" if self.log else ""
        return f"from {self.low} to {self.high}{steps}{scale}"

    def contains(self, value: Any) -> bool:
        kinds = int if self.kind == "int" else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return False
        return self.low <= value <= self.high and self._at_a_step(value)

    def ends(self) -> tuple[float, float]:
        return self.low, self.high

    marks = ends

    def draw(self, rng: random.Random) -> float:
        if self.log:
            return self._draw_log(rng)
        step = 1 if self.kind == "int" and self.step is None else self.step
        if step is None:
            return self._within(rng.uniform(self.low, self.high))
        num_steps = (_exact(self.high) - _exact(self.low)) // _exact(step)
        drawn = _exact(self.low) + rng.randint(0, num_steps) * _exact(step)
        return int(drawn) if self.kind == "int" else float(drawn)

    def _draw_log(self, rng: random.Random) -> float:
        # Half a unit more at both ends makes the end numbers as likely as their neighbours.
        margin = 0.5 if self.kind == "int" else 0.0
        drawn = math.exp(rng.uniform(math.log(self.low - margin), math.log(self.high + margin)))
        return self._within(round(drawn) if self.kind == "int" else drawn)

    def _within(self, value: float) -> float:
        """Correct a rounding error beyond an end."""
        return min(max(value, self.low), self.high)

    def _at_a_step(self, value: float) -> bool:
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-8  # a tuner's floats are off in the last digits


Axis = Choice | Range
"""The values of one setting."""
Axes = Mapping[str, Axis]
"""The varied settings, by dotted path."""


def read_choice(values: Any, where: str) -> Choice:
    """Read a list of values.

    Raises: SettingsError.
    """
    if not isinstance(values, list):
        raise SettingsError(f"{where}: values must be a list, but got {values!r}")
    if len(values) < 2:
        raise SettingsError(
            f"{where}: must list at least two values, but got {values}; "
            f"put a single value into base"
        )
    for index, value in enumerate(values):
        if value in values[:index]:
            raise SettingsError(f"{where}: must list a value once, but got {value!r} twice")
    return Choice(tuple(values))


def read_range(given: dict[str, Any], kind: Literal["int", "float"], where: str) -> Range:
    """Read `{low, high, log, step}`, both ends included, for a setting of that kind; `when` is read
    by `search.space.conditions`.

    Raises: SettingsError.
    """
    check_keys(given, RANGE_KEYS, where)
    if missing := [end for end in ("low", "high") if end not in given]:
        raise SettingsError(f"{where}: must have low and high, but {missing[0]} is missing")
    log = given.get("log", False)
    if not isinstance(log, bool):
        raise SettingsError(f"{where}: log must be true or false, but got {log!r}")
    low, high = (_number(given[end], kind, f"{where}: {end}") for end in ("low", "high"))
    step = _number(given["step"], kind, f"{where}: step") if "step" in given else None
    domain = Range(kind, low, high, log, step)
    _check_range(domain, where)
    return domain


def _number(value: Any, kind: Literal["int", "float"], where: str) -> float:
    if kind == "int":
        if isinstance(value, bool) or not isinstance(value, int):
            raise SettingsError(
                f"{where} must be an integer, like the setting itself, but got {value!r}"
            )
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Compared, not converted: `float` fails on an integer of 400 digits.
    if not is_number or not -sys.float_info.max <= value <= sys.float_info.max:
        raise SettingsError(f"{where} must be a finite number, but got {value!r}")
    return float(value)


def _check_range(domain: Range, where: str) -> None:
    low, high, step = domain.low, domain.high, domain.step
    if low >= high:
        raise SettingsError(f"{where}: low must be below high, but got low {low} and high {high}")
    if domain.log and low <= 0:
        raise SettingsError(f"{where}: low must be above 0 with log, but got {low}")
    if step is None:
        return
    if domain.log:
        raise SettingsError(f"{where}: must have log or step, but got both; remove one of the two")
    if step <= 0:
        raise SettingsError(f"{where}: step must be above 0, but got {step}")
    num_steps, rest = divmod(_exact(high) - _exact(low), _exact(step))
    if rest:  # Optuna would lower `high` to the step below it, with no more than a warning
        below, above = (_exact(low) + n * _exact(step) for n in (num_steps, num_steps + 1))
        number = int if domain.kind == "int" else float
        raise SettingsError(
            f"{where}: high must be low plus a whole number of steps of {step}, but got {high}; "
            f"the nearest are {number(below)} and {number(above)}"
        )


def _exact(number: float) -> Fraction:
    """The decimal number as written: 0.1 is exactly one tenth, not the nearest binary fraction."""
    return Fraction(repr(number))


def check_keys(given: Any, known: Collection[str], where: str) -> None:
    """Raises: SettingsError if `given` is not a mapping, or naming the first unknown key."""
    if not isinstance(given, dict):
        raise SettingsError(f"{where}: must be a mapping with {either(known)}, but got {given!r}")
    for key in given:
        if key not in known:
            hint = did_you_mean(str(key), known)
            raise SettingsError(f"{where}: must have {either(known)} only, but got {key!r}{hint}")


def either(names: Iterable[str]) -> str:
    """Names as text: `a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
