"""Progress of long work: a bar on a terminal, elsewhere a line every half minute.

Lines go to `sys.stdout`, like the command's other output, so that a log file contains them.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import track as rich_track

Item = TypeVar("Item")

EVERY = 30.0
"""Seconds between two lines."""
UNITS = (
    *((1.0, "s"), (60.0, "min"), (3600.0, "hours"), (86400.0, "days")),
    *((30.4 * 86400.0, "months"), (365.25 * 86400.0, "years")),
)
"""Seconds of each, the shortest first."""
FROM = 1.5
"""A unit is used from this many of it on: 80 s, then 1.5 min."""


def track(items: Iterable[Item], title: str, total: int, *, shown: bool = True) -> Iterator[Item]:
    """Yield the items, `total` of them, and report the progress if `shown`.

    An item counts as done when the next one is asked for.
    """
    if not shown:
        yield from items
    elif sys.stdout.isatty():
        yield from rich_track(items, description=title, total=total, transient=True)
    else:
        yield from _with_lines(items, title, total)


def _with_lines(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    began = reported = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - reported >= EVERY:
            reported = now
            left = in_words((now - began) / done * (total - done))
            print(f"{title}: {done / total:.0%} ({done:,} of {total:,}), {left} left", flush=True)
        yield item


def in_words(seconds: float) -> str:
    """A duration with two digits, in a convenient unit: `45 s`, `5.2 months`."""
    if seconds < UNITS[0][0]:
        return "under 1 s"
    length, unit = next(
        ((length, unit) for length, unit in reversed(UNITS) if seconds >= FROM * length), UNITS[0]
    )
    value = seconds / length
    return f"{value:.0f} {unit}" if value >= 9.95 or unit == "s" else f"{value:.1f} {unit}"
