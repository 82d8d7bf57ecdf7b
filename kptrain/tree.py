"""What a tree of settings is made of."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Changes = Literal["nothing", "loss", "data", "place"]
"""What a setting changes in the reports: `loss` the meaning of a loss value, `data` the data that
all metrics are measured on, `place` only where and how the training runs."""


def setting(default: Any, *, changes: Changes = "nothing", **limits: Any) -> Any:
    """One field of the tree: its default, what it changes, and pydantic's limits."""
    return Field(default, json_schema_extra={"changes": changes}, **limits)


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
