"""Numbers and ids as tools write them: 7, 7.0 and "7" are one number.

No value is trusted: each may be missing, of another type, NaN, or absurdly large.
"""

import math
from typing import Any

Id = int | str
"""An id of an image, annotation or category; a string if it is not a number."""


def id_of(value: Any) -> Id | None:
    """The id that a value stands for; None if it is no id.

    Numbers from 0 to 2**63 - 1, also written as "7" or 7.0, become int; other whole numbers and
    non-empty texts become str.
    """
    if isinstance(value, str):
        text = value.strip()
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            return printable(text) or None
        value = int(text)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        return None
    return value if 0 <= value < 2**63 else str(value)


def printable(text: str) -> str:
    """The text with line breaks, half surrogate pairs and other unprintable characters escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(text: str, most: int = 200) -> str:
    """The printable text for a message; the middle of a long text is omitted."""
    line = printable(text)
    return line if len(line) <= most else f"{line[: most // 2]} … {line[-most // 2 :]}"


def spelt_id_of(value: Any) -> Id | None:
    """As `id_of`, but a text with leading zeros stays text: "01" may be another image than "1"."""
    text = value.strip() if isinstance(value, str) else ""
    return text if text[:1] == "0" and text != "0" else id_of(value)


def number_of(value: Any) -> float | None:
    """The finite number that a value stands for, also written as text; else None."""
    if not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def numbers_of(values: Any, count: int) -> list[float] | None:
    """A list of `count` finite numbers; None if it is anything else."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return None
    numbers = [number_of(value) for value in values]
    return None if None in numbers else [float(n) for n in numbers if n is not None]


def length_of(value: Any) -> int | None:
    """A whole number of pixels, at least 1; else None."""
    number = number_of(value)
    return int(number) if number is not None and number >= 1 and number.is_integer() else None
