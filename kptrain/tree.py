"""What a tree of settings is made of, and which settings belong to a choice that another one makes.

A setting that has an effect only with some values of another setting says so in one place, its
field: `setting(0.9, only_under={"optim.name": ("sgd",)})`. All readers ask `conditions`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from kptrain.errors import SettingsError

Changes = Literal["nothing", "loss", "data", "place"]
"""What a setting changes in the reports: `loss` the meaning of a loss value, `data` the data that
all metrics are measured on, `place` only where and how the training runs."""
Condition = Mapping[str, tuple[Any, ...]]
"""For each setting that makes a choice, the values under one of which another has an effect."""
ALWAYS: Condition = MappingProxyType({})
NOT_VARIED: Mapping[str, Collection[Any]] = MappingProxyType({})


def setting(
    default: Any, *, changes: Changes = "nothing", only_under: Condition = ALWAYS, **limits: Any
) -> Any:
    """One field of the tree: its default, what it changes, the choices under which it has an
    effect, and pydantic's limits."""
    under: Any = {path: list(values) for path, values in only_under.items()}
    return Field(default, json_schema_extra={"changes": changes, "only_under": under}, **limits)


class Settings(BaseModel):
    """A branch of the tree: unknown names, wrong types and non-finite numbers are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=False,
    )


def fields_of(branch: type[Settings], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting of a tree: its dotted path and its field."""
    for name, field in branch.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from fields_of(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


@cache  # a search asks for each point
def conditions(tree: type[Settings]) -> Mapping[str, Condition]:
    """The condition of each setting that has one, by its dotted path."""
    found: dict[str, Condition] = {}
    for path, field in fields_of(tree):
        extra: Any = field.json_schema_extra or {}
        if under := extra.get("only_under"):
            found[path] = {choice: tuple(values) for choice, values in under.items()}
    return MappingProxyType(found)


def without_effect(config: Settings) -> list[str]:
    """The settings that have no effect, because they belong to a choice that was not made."""
    return [
        path
        for path, condition in conditions(type(config)).items()
        if not all(attrgetter(choice)(config) in values for choice, values in condition.items())
    ]


def check_taken(
    given: Iterable[str],
    config: Settings,
    where: str,
    varied: Mapping[str, Collection[Any]] = NOT_VARIED,
) -> None:
    """Refuse given settings that cannot have an effect.

    config: has the choices; varied: for each choice that a search varies, its other values.
    Raises: SettingsError naming the first such setting and the choice that it belongs to.
    """
    known = conditions(type(config))
    for path in given:
        for choice, values in known.get(path, ALWAYS).items():
            made = attrgetter(choice)(config)
            if made not in values and not any(v in values for v in varied.get(choice, ())):
                needed = " or ".join(map(str, values))
                raise SettingsError(
                    f"{where}: {path} must be given only with {choice} {needed}, but {choice} is "
                    f"{made}; set {choice} to {needed}, or remove {path}"
                )
