"""The picture of `bench.early_stopping`: the full curves, and what early stopping makes of them.

Needs matplotlib (`pip install -e '.[bench]'`).

    python -m bench.early_stopping_picture
"""

import argparse
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image

from bench.early_stopping import (
    AT_ONCE,
    Curve,
    Verdict,
    all_verdicts,
    best_tenth,
    num_epochs,
    read_table,
)
from bench.full_curves import HERE, TABLE

PICTURE = HERE.parent / "docs" / "early_stopping.png"
COLOURS = {2: "#1b6ca8", 3: "#c8553d", 4: "#6a8d2f"}
LABELS_AT = {2: (5, 3), 3: (0, 6), 4: (-10, -10)}
"""Where a grace is written, in points from its own; apart, as the lines cross."""


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    curves = read_table(TABLE)
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_curves(left, curves)
    draw_verdicts(right, list(all_verdicts(curves, AT_ONCE)))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, PICTURE)


def save(figure: Figure, path: Path) -> None:
    """With few colours, which takes half of the bytes."""
    path.parent.mkdir(exist_ok=True)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=100)
    Image.open(drawn).convert("RGB").quantize(128).save(path, optimize=True)


def draw_curves(axes: Axes, curves: Sequence[Curve]) -> None:
    """All curves, the best tenth in colour, a dot where its learning rate first steps down."""
    best = best_tenth(curves)
    epochs = range(1, num_epochs(curves) + 1)
    for curve in curves:
        axes.plot(epochs, curve.losses, color="#c8c8c8", linewidth=0.7)
    for setting in best:
        curve = curves[setting]
        axes.plot(epochs, curve.losses, color=COLOURS[2], linewidth=1.3)
        axes.plot(curve.step_epochs, curve.losses[curve.step_epochs - 1], "o", color=COLOURS[2])
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation loss")
    axes.set_title(f"{len(curves)} settings in full, the best {len(best)} in blue")
    note = "dots: the first step down"
    axes.text(0.99, 0.97, note, color=COLOURS[2], ha="right", va="top", transform=axes.transAxes)


def draw_verdicts(axes: Axes, verdicts: Sequence[Verdict]) -> None:
    """One line a reduction, labelled by grace; the peer is the diagonal."""
    axes.plot([0, 1], [1, 0], color="#888888", linestyle="--", linewidth=1)
    for reduction, colour in COLOURS.items():
        line = [v for v in verdicts if v.reduction == reduction]
        spent, stopped = [v.spent for v in line], [v.best_stopped for v in line]
        axes.plot(spent, stopped, "o-", color=colour, markersize=4, label=f"reduction {reduction}")
        for v in line:
            axes.annotate(
                str(v.grace),
                (v.spent, v.best_stopped),
                LABELS_AT[reduction],
                textcoords="offset points",
                color=colour,
            )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.text(
        *(0.72, 0.3, "as many epochs on\nfewer settings, in full"),
        color="#666666",
        fontsize="small",
    )
    axes.set_title("Points are labelled by their grace in epochs")
    axes.set_xlabel("epochs spent, of all in full")
    axes.set_ylabel("of the best tenth, stopped early")
    axes.legend(frameon=False)


if __name__ == "__main__":
    main()
