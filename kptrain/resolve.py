"""Resolves the settings given in a file and on the command line to a complete `TrainConfig`.

Given settings are a flat mapping of dotted paths to values. One function, `change`, sets values in
a tree of settings, so the rules and the error texts are the same here and in a search.
"""

import difflib
import os
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError

from kptrain.config import Changes, Settings, TrainConfig
from kptrain.errors import DataError, SettingsError
from kptrain.strict_yaml import parse_yaml, read_yaml
from kptrain.tree import check_taken, fields_of

Tree = TypeVar("Tree", bound=Settings)

EMBEDDED = "embedded"
DEFAULT_ROOT = Path("data/coco-2017")

EMBEDDED_SETTINGS: dict[str, Any] = {
    "data.image_size": [96, 96],
    "heatmap.sigma_px": 1.5,
    "model.trunk": "shufflenet_v2_x0_5",
    "model.deconv_channels": [32, 32, 32],
    "model.weights": "none",
    "train.epochs": 8,
}
"""Defaults for the synthetic data set, with which a CPU trains in seconds."""


class SettingInfo(NamedTuple):
    """The facts about a setting that a search needs."""

    type: type | None
    """`int`, `float`, `str` or `bool`; None if the setting is not a single value."""
    changes: Changes


@cache  # a search checks a thousand points
def setting_infos(tree: type[Settings] = TrainConfig) -> Mapping[str, SettingInfo]:
    """Every setting of a tree, by its dotted path."""
    infos = {}
    for path, field in fields_of(tree):
        extra: Any = field.json_schema_extra or {}
        infos[path] = SettingInfo(_single_type(field.annotation), extra.get("changes", "nothing"))
    return MappingProxyType(infos)


def _single_type(annotation: Any) -> type | None:
    """The type of a single value; ignores `| None`, `Annotated` and `Literal`."""
    origin = get_origin(annotation)
    if origin is Literal:
        return type(get_args(annotation)[0])
    if origin in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        return _single_type(members[0]) if len(members) == 1 else None
    if origin is Annotated:
        return _single_type(annotation.__origin__)
    return annotation if annotation in (int, float, str, bool) else None


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to one mapping of dotted paths to values.

    Raises: SettingsError if a path is given both nested and dotted.
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        inner = flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
        for key in inner:
            if key in flat:
                raise SettingsError(f"{key}: must be given once, but is given nested and dotted")
        flat |= inner
    return flat


def settings_of(config: Settings) -> dict[str, Any]:
    """All settings of a config by dotted path, with values as in JSON."""
    return flatten(config.model_dump(mode="json"))


def check_names(given: Mapping[str, Any], where: str, tree: type[Settings] = TrainConfig) -> None:
    """Raises: SettingsError for the first path that is no setting, with the most similar name."""
    paths = list(setting_infos(tree))
    for path in given:
        if path not in paths:
            raise SettingsError(f"{where}: {path} is not a setting{did_you_mean(path, paths)}")


def did_you_mean(given: str, known: Collection[str]) -> str:
    """The most similar of the known names, as the end of an error; empty if none is similar."""
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.4)
    return f"; did you mean {near[0]}?" if near else ""


def read_settings(file: Path) -> dict[str, Any]:
    """The settings in a file, by dotted path.

    Raises: SettingsError if it cannot be read, or is not a file of settings (a space file).
    """
    content = read_yaml(file)
    if "space" in content:
        raise SettingsError(
            f"{file}: must hold settings, but is a space file; search it with "
            f"python -m search.run {shlex.quote(str(file))}"
        )
    settings = flatten(content)
    check_names(settings, str(file))
    return settings


def change(config: Tree, given: Mapping[str, Any], where: str) -> Tree:
    """Return the config with the given settings changed; all rules are checked again.

    Raises: SettingsError naming `where`, the setting, its rule and the given value.
    """
    tree = type(config)
    check_names(given, where, tree)
    content = config.model_dump()
    for path, value in given.items():
        *branches, leaf = path.split(".")
        node = content
        for branch in branches:
            node = node[branch]
        node[leaf] = value
    try:
        return tree.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"{where}: {_message(error, tree)}") from None


def _message(error: ValidationError, tree: type[Settings]) -> str:
    first = error.errors()[0]
    path = ".".join(part for part in first["loc"] if isinstance(part, str))
    message = first["msg"].removeprefix("Value error, ")
    if not path:  # a rule between settings names them itself
        return message
    value = first["input"]
    if message.startswith("Input should be "):
        return f"{path} must be {message.removeprefix('Input should be ')}, but got {value!r}"
    fault = f"{path}: {message}, but got {value!r}"
    doc = " ".join((dict(fields_of(tree))[path].description or "").split())
    return f"{fault}; {path} is: {doc}" if doc else fault


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """Read `path=value` of the command line, with values in YAML.

    Raises: SettingsError if an assignment has no `=`, or a path is given twice.
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise SettingsError(f"--set: must be path=value, but got {assignment!r}")
        if path in settings:
            raise SettingsError(f"--set: {path} must be given once, but is given twice")
        settings[path] = parse_yaml(text, f"--set {path}")
    return settings


def find_root(root: str | None) -> str:
    """The data to use: `root`, else KPTRAIN_DATA, else data/coco-2017, else `embedded`.

    Returns an absolute path, or `embedded`. An empty KPTRAIN_DATA counts as not set.
    Raises: DataError if a given path is not a folder.
    """
    environment = os.environ.get("KPTRAIN_DATA") or None  # an empty path is the working folder
    for where, given in (("data.root", root), ("KPTRAIN_DATA", environment)):
        if given is None:
            continue
        if given == EMBEDDED:
            return EMBEDDED
        folder = Path(given).expanduser().absolute()
        if folder.is_file():
            raise DataError(
                f"{where}: must be a folder that holds COCO, but {given!r} is a file; name the "
                f"folder that holds annotations/ and the images"
            )
        if not folder.is_dir():
            raise DataError(
                f"{where}: must be a folder that holds COCO, but {given!r} does not "
                f"exist; correct it, or give {EMBEDDED!r} for the synthetic data set"
            )
        return str(folder)
    return str(DEFAULT_ROOT.absolute()) if DEFAULT_ROOT.is_dir() else EMBEDDED


def resolve(given: Mapping[str, Any], where: str) -> TrainConfig:
    """Complete the given settings: find the data, and fill in the defaults for it.

    Raises: SettingsError, also for a setting of a choice that is not made; DataError.
    """
    config = complete(given, where)
    check_taken(given, config, where)
    return config


def complete(given: Mapping[str, Any], where: str) -> TrainConfig:
    """As `resolve`, with settings of any choice: a search may vary the choice itself.

    Raises: SettingsError or DataError.
    """
    config = change(TrainConfig(), given, where)
    root = find_root(config.data.root)
    defaults = EMBEDDED_SETTINGS if root == EMBEDDED else {}
    return change(TrainConfig(), defaults | dict(given) | {"data.root": root}, where)


def banner(config: TrainConfig) -> str:
    """The data and the settings in use, with notes on settings that may be a mistake."""
    notes = size_notes([config.data.view], [config.data.image_size])
    return "\n".join([_data_in_use(config), *notes])


def size_notes(views: Sequence[str], sizes: Iterable[Sequence[int]]) -> list[str]:
    """A line for each size (height, width) of which the crop of a person is wider than high."""
    if "person" not in views:
        return []
    return [
        f"Note: data.image_size [{height}, {width}] is (height, width): the crop of each person "
        f"is wider than high. mmpose writes the width first: its [{height}, {width}] is "
        f"[{width}, {height}] here."
        for height, width in sizes
        if width > height
    ]


def _data_in_use(config: TrainConfig) -> str:
    if config.data.root != EMBEDDED:
        return f"Data: {config.data.root}"
    now = settings_of(config)
    small = [
        f"{path}={now[path]}" for path, value in EMBEDDED_SETTINGS.items() if now[path] == value
    ]
    return (
        "Data: EMBEDDED, the synthetic data set of this package. To use COCO, name its folder with "
        "--data or KPTRAIN_DATA.\n"
        f"Settings for it, not the original recipe's: {', '.join(small) or 'none'}"
    )
