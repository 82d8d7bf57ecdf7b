"""What is wrong with given fields, in one line, from pydantic's error."""

from pydantic import ValidationError


def describe_first(error: ValidationError, skip: int = 0) -> str:
    """The first error: which field, what must hold, what was given; skip: leading parts of the
    error's location that are not field names."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][skip:])
    if first["type"] == "missing":
        return f"{name} must be given, but is missing"
    if first["type"].startswith("union_tag") and not name:
        return f"event must be a known one, but got {first['input'].get('event')!r}"
    if first["type"] == "value_error":
        return first["msg"].removeprefix("Value error, ")
    rule = first["msg"].removeprefix("Input should be ")
    return f"{name} must be {rule[0].lower()}{rule[1:]}, but got {first['input']!r}"
