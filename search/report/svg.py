"""Figures as SVG that takes its colours from the page around it.

Each is drawn in marker colours which the SVG text replaces by CSS variables, so that one drawing
reads in light, in dark and on paper. A `<title>` names whatever the pointer is over.
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
# Okabe and Ito's colours, which the colour-blind tell apart.
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
    "svg.fonttype": "none",  # text stays text: it is searched, and takes the page's font
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
"""What a picture has instead of the page's colours."""


@contextmanager
def drawing() -> Iterator[None]:
    """The style, and none of anybody else's."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls its own plots experimental
        yield


def as_svg(draw: Callable[[], Figure | None]) -> str | None:
    """What a function draws, to be put into a page; None if there is nothing to draw."""
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
    """What the pointer is told over it."""
    artist.set_gid("title: " + escape(title, quote=True))
