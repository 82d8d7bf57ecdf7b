"""What a regret is measured in: of each task the best value known, and that of an ordinary draw.

    python -m bench.scales       writes bench/scales.csv

`best` is the lowest value found by 3,000 random draws and a local search from the best 20 of them,
or, for TaskSet, the lowest of its table; `median` is the median over the draws of each one's best
epoch. A regret is (value - best) / (median - best): 0 is the best known, 1 an ordinary draw.
"""

import csv
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from bench.simulation import Settings, Spec, Task, draw, load_task, task_names

TABLE = Path(__file__).with_name("scales.csv")
NUM_DRAWS = 3000
NUM_KEPT = 20
NUM_ROUNDS = 40


def main() -> None:
    names = sorted({name for half in (0, 1) for family in task_names(half) for name in family})
    with ProcessPoolExecutor() as pool, TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["task", "best", "median"])
        for name, scale in zip(names, pool.map(measure, names), strict=True):
            writer.writerow([name, *(f"{value:.6f}" for value in scale)])


def measure(name: str) -> tuple[float, float]:
    """The best value known of a task, and the median of its draws."""
    task, rng = load_task(name), np.random.default_rng(0)
    drawn = [draw(task.space, rng) for _ in range(NUM_DRAWS)]
    found = sorted(((_value(task, s), n) for n, s in enumerate(drawn)))
    median = float(np.median([value for value, _ in found]))
    kept = [(value, drawn[n]) for value, n in found[:NUM_KEPT]]
    for turn in range(NUM_ROUNDS):
        width = 0.2 * 0.9**turn
        near = [_near(s, task.space, width, rng) for _, s in kept for _ in range(2)]
        kept = sorted([*kept, *((_value(task, s), s) for s in near)], key=lambda one: one[0])
        kept = kept[:NUM_KEPT]
    return kept[0][0], median


@cache
def read_scales() -> dict[str, tuple[float, float]]:
    """Best and median of each task."""
    with TABLE.open(newline="") as file:
        return {
            row["task"]: (float(row["best"]), float(row["median"])) for row in csv.DictReader(file)
        }


def regret(name: str, value: np.ndarray) -> np.ndarray:
    """Normalised regrets of values of a task."""
    best, median = read_scales()[name]
    return np.asarray((value - best) / (median - best))


def _value(task: Task, settings: Settings) -> float:
    return float(np.nanmin(task.curve(settings)))


def _near(settings: Settings, space: Spec, width: float, rng: np.random.Generator) -> Settings:
    """Settings moved along about half of the axes, by a share `width` of each."""
    moved = {}
    for name, (low, high, log, whole) in space.items():
        ends, at = np.array([low, high]), float(settings[name])
        if log:
            ends, at = np.log(ends), float(np.log(at))
        step = width * (ends[1] - ends[0]) * rng.normal() * (rng.random() < 0.5)
        at = float(np.clip(at + step, *ends))
        at = float(np.exp(at)) if log else at
        moved[name] = int(np.clip(round(at), low, high)) if whole else float(np.clip(at, low, high))
    return moved


if __name__ == "__main__":
    main()
