"""What `bench/search.csv` says: a table, paired differences, and the picture of docs/benchmarks.md.

    python -m bench.search_report

The difference of a contender to random settings with Ray's ASHA is paired by task; its 95 %
interval is of the mean over tasks, by 10,000 resamples of the tasks.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.early_stopping_picture import save
from bench.full_curves import HERE
from bench.search import BUDGET, Key, read_rows

PICTURE = HERE.parent / "docs" / "search.png"
PEER, OURS, PLAIN = "random, Ray's ASHA", "ours", "random"
FAMILIES = (("lcbench", "develop"), ("taskset", "develop"), ("lcbench", "judge"))
SHOWN = {
    OURS: "#c8553d",
    PEER: "#1b6ca8",
    PLAIN: "#8a8a8a",
    "Ray's OptunaSearch and ASHA": "#6a8d2f",
    "Syne Tune, BOHB": "#8e5aa8",
}
NUM_RESAMPLES = 10_000

Curves = dict[str, np.ndarray]
"""Of each task its regrets (BUDGET)."""


def main() -> None:
    rows = read_rows()
    for workers in sorted({key[3] for key in rows}, key=int):
        for family, half in FAMILIES:
            told = {name: curves_of(rows, name, family, half, workers) for name in names_of(rows)}
            show(f"{family}, {half}, {workers} workers", {n: c for n, c in told.items() if c})
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (family, half) in zip(figure.subplots(1, 2), FAMILIES[:2], strict=True):
        draw(axes, rows, family, half)
    save(figure, PICTURE)


def names_of(rows: dict[Key, np.ndarray]) -> list[str]:
    """The contenders, in order."""
    return sorted({key[2] for key in rows})


def curves_of(
    rows: dict[Key, np.ndarray], name: str, family: str, half: str, workers: str
) -> Curves:
    """A contender's curves on a family of tasks."""
    wanted = (half, name, workers)
    return {k[0]: row for k, row in rows.items() if k[1:4] == wanted and k[0].startswith(family)}


def show(title: str, told: dict[str, Curves]) -> None:
    """Print a table of contenders, the best first."""
    if not told:
        return
    print(f"\n{title}: mean regret x 100 after {BUDGET} trainings")
    for name, curves in sorted(told.items(), key=lambda one: last(one[1]).mean()):
        line = f"  {name:40s} {last(curves).mean():5.1f}"
        if PEER in told and name != PEER:
            mean, low, high = difference(curves, told[PEER])
            line += f"  {mean:+6.1f} ({low:+.1f} to {high:+.1f}) against {PEER}"
        if PLAIN in told and name != PLAIN:
            line += f"; {share_to_reach(curves, told[PLAIN]):.2f} of the budget to {PLAIN}'s value"
        print(line)


def last(curves: Curves) -> np.ndarray:
    """The final regrets, by task."""
    return np.array([curves[task][-1] for task in sorted(curves)])


def difference(curves: Curves, others: Curves) -> tuple[float, float, float]:
    """The mean difference of the final regrets over tasks, and its 95 % interval."""
    paired = last(curves) - last(others)
    drawn = np.random.default_rng(0).choice(paired, (NUM_RESAMPLES, len(paired))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(paired.mean()), float(low), float(high)


def share_to_reach(curves: Curves, others: Curves) -> float:
    """The share of the budget at which a contender has the others' final regret, the median over
    tasks; infinite on a task where it never does."""
    shares = []
    for task, curve in curves.items():
        reached = np.flatnonzero(curve <= others[task][-1])
        shares.append((reached[0] + 1) / BUDGET if len(reached) else np.inf)
    return float(np.median(shares))


def draw(axes: Axes, rows: dict[Key, np.ndarray], family: str, half: str) -> None:
    """Mean regret over the budget, a line for each contender shown."""
    for name, colour in SHOWN.items():
        curves = curves_of(rows, name, family, half, "4")
        if curves:
            mean = np.mean(list(curves.values()), axis=0)
            width = 2.2 if name == OURS else 1.2
            axes.plot(range(1, BUDGET + 1), mean, color=colour, linewidth=width, label=name)
    axes.set(
        title={"lcbench": "LCBench", "taskset": "TaskSet"}[family],
        xlabel="budget, in full trainings",
        ylabel="mean regret, hundredths",
        ylim=(0, None),
        xlim=(0, BUDGET),
    )
    if family == "taskset":  # where there is room for it
        axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
