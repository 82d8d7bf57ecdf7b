"""YAML without its traps: `1e-3` is a number, `010` and `1:30` are not; duplicate keys and values
that contain themselves are errors."""

import re
from collections.abc import Hashable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from kptrain.errors import SettingsError


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, with YAML 1.2 numbers and without duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # PyYAML itself refuses a list or a mapping as key
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _StrictDumper(yaml.SafeDumper):
    """The dumper for it: quotes the text `1e-3`, which would be read back as a number."""


# Deep construction finds a value that contains itself; PyYAML would build it.
for _kind, _construct in (
    ("map", _StrictLoader.construct_mapping),
    ("seq", _StrictLoader.construct_sequence),
):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", partial(_construct, deep=True))

NUMBERS = {
    "int": r"[-+]?(0|[1-9][0-9]*)$",
    "float": r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"
    r"|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$",
}
"""Patterns of numbers; in YAML 1.1, `010` is 8 and `1:30` is 90."""

for _class in (_StrictLoader, _StrictDumper):
    _class.yaml_implicit_resolvers = {
        first: [(tag, rule) for tag, rule in rules if tag.rpartition(":")[2] not in NUMBERS]
        for first, rules in _class.yaml_implicit_resolvers.items()
    }
    for _kind_of_number, _pattern in NUMBERS.items():
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_kind_of_number}", re.compile(_pattern), list("-+.0123456789")
        )


def parse_yaml(text: str, where: str) -> Any:
    """Read one YAML document.

    Raises: SettingsError if it is not YAML, or gives a key twice.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a subclass of SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SettingsError(f"{where}{line}: must be valid YAML, but {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: 2024-13-45
        reason = " ".join(str(error).split())
        raise SettingsError(f"{where}: must be valid YAML, but {reason}") from None


def dump_yaml(content: Any) -> str:
    """Write one YAML document that `parse_yaml` reads back to an equal value."""
    return yaml.dump(content, Dumper=_StrictDumper, sort_keys=False)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level maps names to values; an empty file is an empty mapping.

    Raises: SettingsError if the file cannot be read or has another content.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: must be a readable text file, but {error}") from None
    content = parse_yaml(text, str(path))
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        is_mapping = isinstance(content, dict)
        kind = "a mapping with other keys" if is_mapping else f"a {type(content).__name__}"
        raise SettingsError(f"{path}: must map names to values, but its top level is {kind}")
    return content
