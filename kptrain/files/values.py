"""Numbers and ids as tools write them: 7, 7.0 and "7" are one number.

No value is taken on trust: each may be missing, of another type, NaN, or absurdly large.
"""

import math
from typing import Any

Id = int | str
"""A key of images, annotations or categories; a string where it is no number."""


def id_of(value: Any) -> Id | None:
    """The id that a value stands for; None if it can be none.

    Numbers from 0 to 2**63 - 1, also written as "7" or 7.0; other whole numbers as text, and any
    text that is not empty.
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
    """A text on one line that can be written: half of a surrogate pair, as JSON may have, and line
    breaks are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(text: str, most: int = 200) -> str:
    """The same for a message: of a long text the middle is left out."""
    line = printable(text)
    return line if len(line) <= most else f"{line[: most // 2]} … {line[-most // 2 :]}"


def spelt_id_of(value: Any) -> Id | None:
    """Likewise, but a text with leading zeros as it is: "01" may be another image than "1"."""
    text = value.strip() if isinstance(value, str) else ""
    return text if text[:1] == "0" and text != "0" else id_of(value)


def number_of(value: Any) -> float | None:
    """The finite number that a value stands for, also written as text; None if it is none."""
    if not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def numbers_of(values: Any, count: int) -> list[float] | None:
    """So many finite numbers; None if it is no list of them."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return None
    numbers = [number_of(value) for value in values]
    return None if None in numbers else [float(n) for n in numbers if n is not None]


def length_of(value: Any) -> int | None:
    """A whole number of pixels, at least 1; None if it is none."""
    number = number_of(value)
    return int(number) if number is not None and number >= 1 and number.is_integer() else None
