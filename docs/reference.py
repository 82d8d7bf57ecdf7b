"""Writes the reference of settings and of space files from the code: `python docs/reference.py`.

A test compares the files with the code.
"""

import json
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from kptrain.config import Settings, TrainConfig
from kptrain.tree import conditions, fields_of
from search.space.space import Asha, Confirm, Resources, Space

DOCS = Path(__file__).parent
CHANGES = {
    "nothing": "",
    "loss": "what a loss means",
    "data": "the data that all metrics are measured on",
    "place": "only where and how it runs",
}
SPACE_PARTS: dict[str, type[Settings]] = {
    "": Space,
    "asha.": Asha,
    "resources.": Resources,
    "confirm.": Confirm,
}
NOT_IN_THE_FILE = (
    "trainable",
    "path",
    "axes",
    "base",
    "start",
    "text",
    "sha256",
    *("asha", "resources"),
)


def settings_page() -> str:
    """Every setting of a training."""
    rows = [
        f"| `{path}` | `{_default(field)}` | {CHANGES[_changes(field)]} | "
        f"{_description(field)}{_under(path)} |"
        for path, field in fields_of(TrainConfig)
    ]
    return (
        "# Settings of a training\n\n"
        "A setting is given in yaml (nested or dotted), with `--set path=value`, or as an axis of "
        "a space. The third column says what a setting changes besides the result; by that, a "
        "search may vary it or not. A setting that has an effect only with one choice of another "
        "setting is refused where that choice is not made.\n\n"
        "| setting | default | changes | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def space_page() -> str:
    """Every key of a space file."""
    rows = [
        f"| `{prefix}{name}` | `{_default(field)}` | {_description(field)} |"
        for prefix, part in SPACE_PARTS.items()
        for name, field in part.model_fields.items()
        if prefix or name not in NOT_IN_THE_FILE
    ]
    return (
        "# Keys of a space file\n\n"
        "[Space files](space_files.md) explains them. "
        "`space` maps settings to axes: a list of values, or `{low, high}`, both ends included, "
        "on a log scale with `log: true`, at whole steps from low with `step`; with `when`, only "
        "trials with these values of other axes have it, and a list is written "
        "`{values: […], when: {…}}`. `base` states what "
        "differs from the defaults in all trials, `start` lists points to try after the base. "
        "The other keys:\n\n"
        "| key | default | |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _changes(field: FieldInfo) -> str:
    extra: Any = field.json_schema_extra
    return str(extra["changes"])


def _default(field: FieldInfo) -> str:
    # Only the metric is: it has one that depends on what is searched.
    return "its first" if field.is_required() else json.dumps(field.default).replace("null", "none")


def _description(field: FieldInfo) -> str:
    return " ".join((field.description or "").split()).replace("|", "\\|")


def _under(path: str) -> str:
    """The choices under which a setting has an effect."""
    under = conditions(TrainConfig).get(path, {}).items()
    told = [f"`{choice}` {' or '.join(f'`{v}`' for v in values)}" for choice, values in under]
    return f" Only with {' and '.join(told)}." if told else ""


PAGES = {"settings.md": settings_page, "spaces.md": space_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
