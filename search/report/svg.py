"""Figures as SVG that takes its colours from the page around it.

Figures are drawn in placeholder colours, which are replaced by CSS variables in the SVG text, so
one drawing is readable in light mode, in dark mode and on paper. A `<title>` is the tooltip of an
element.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

INK, GRID, FAINT = "#010203", "#040506", "#070809"
VARIABLES = {INK: "var(--ink)", GRID: "var(--grid)", FAINT: "var(--faint)"}
# Okabe and Ito's colours, distinguishable with colour blindness.
COLOURS = {
    "completed": "#0072b2",
    "stopped": "#8c8c8c",
    "failed": "#d55e00",
    "running": "#009e73",
    "waiting": "#56b4e9",
    "paused": "#56b4e9",
    "interrupted": "#cc79a7",
}
BEST = "#e69f00"
MARKERS = {"completed": "o", "stopped": "x", "failed": "v", "interrupted": "s", "paused": "d"}
STYLE: Any = {
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text: searchable, in the page's font
    "svg.hashsalt": "report",
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}

ON_WHITE: Any = {
    "axes.edgecolor": "#8a909c",
    "grid.color": "#e3e5ea",
    **dict.fromkeys(("axes.labelcolor", "text.color", "xtick.color", "ytick.color"), "#1d2129"),
}
"""Colours of a picture outside of a page."""


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in our style, whatever the user's matplotlib settings are."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns that its plots are experimental
        yield


def as_svg(draw: Callable[[], Figure | None]) -> str | None:
    """The drawing of a function as SVG for a page; None if it draws nothing."""
    with drawing():
        figure = draw()
        if figure is None:
            return None
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return re.sub(r'<g id="title: ([^"]*)">', r"<g><title>\1</title>", text)


def named(artist: Any, title: str) -> None:
    """Set the tooltip of an element."""
    artist.set_gid("title: " + escape(title, quote=True))
