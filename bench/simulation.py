"""A search without training: workers that read their trials' epochs from known learning curves."""

import heapq
import json
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

CURVES = Path(__file__).parents[2] / "shared" / "curves"
"""Where `curves.py` lies: LCBench as a surrogate, and TaskSet."""
EPOCHS = {"lcbench": 52, "taskset": 50}
SPEED = 0.1
"""Trials differ in speed by up to this share, so that they do not march in step."""

Settings = dict[str, Any]
Spec = Mapping[str, tuple[float, float, bool, bool]]
"""Of each setting the ends, whether it is on a log scale, and whether it is a whole number."""


class Contender(Protocol):
    """A searcher and a scheduler."""

    def next_job(self) -> tuple[int, Settings]:
        """The number and the settings of the trial to run next; a number that was seen before goes
        on where it stopped."""

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Report an epoch's value, lower is better; returns whether the trial keeps running."""


@dataclass(frozen=True)
class Task:
    """A problem to search."""

    name: str
    space: Spec
    curve: Callable[[Settings], NDArray[np.float64]]
    epochs: int


def task_names(half: int) -> tuple[list[str], list[str]]:
    """LCBench's names, those to develop on (0) or those to judge on (1), and TaskSet's."""
    curves = _curves()
    develop = curves.lcbench_tasks()
    names = _all_lcbench()
    chosen = develop if half == 0 else [name for name in names if name not in develop]
    return [f"lcbench/{n}" for n in chosen], [f"taskset/{n}" for n in curves.taskset_tasks()]


@cache
def load_task(name: str) -> Task:
    family, _, own = name.partition("/")
    space, curve = getattr(_curves(), family)(own)
    return Task(name, space, curve, EPOCHS[family])


def simulate(
    contender: Contender, task: Task, workers: int, budget: int, seed: int
) -> NDArray[np.float64]:
    """The best value seen after each of `budget` epochs, counted over all workers."""
    speeds = random.Random(seed)  # noqa: S311 (the same speeds each time)
    curves: dict[int, NDArray[np.float64]] = {}
    done: dict[int, int] = {}
    pace: dict[int, float] = {}
    running: list[tuple[float, int]] = []

    def begin(now: float) -> None:
        number, settings = contender.next_job()
        if number not in curves:
            curves[number], done[number] = task.curve(settings), 0
            pace[number] = speeds.uniform(1 - SPEED, 1 + SPEED)
        heapq.heappush(running, (now + pace[number], number))

    for worker in range(workers):
        begin(worker / workers)
    best, seen = np.inf, list[float]()
    while len(seen) < budget:
        now, number = heapq.heappop(running)
        value = float(curves[number][done[number]])
        done[number] += 1
        best = min(best, value)
        seen.append(best)
        goes_on = contender.report(number, done[number], value)
        if goes_on and done[number] < task.epochs:
            heapq.heappush(running, (now + pace[number], number))
        else:
            begin(now)
    return np.array(seen)


def draw(space: Spec, rng: np.random.Generator) -> Settings:
    """Settings at random, each whole number as likely as another of its scale."""
    return {name: _draw(*spec, rng) for name, spec in space.items()}


def _draw(low: float, high: float, log: bool, whole: bool, rng: np.random.Generator) -> float:
    margin = 0.5 if whole else 0.0
    ends = (low - margin, high + margin)
    at = np.exp(rng.uniform(*np.log(ends))) if log else rng.uniform(*ends)
    return int(np.clip(round(at), low, high)) if whole else float(at)


@cache
def _curves() -> Any:
    if not CURVES.is_dir():
        sys.exit(f"{CURVES}: must hold curves.py and its data, but is missing; put them there")
    sys.path.insert(0, str(CURVES))
    import curves  # noqa: PLC0415  (found by the line above)

    return curves


def _all_lcbench() -> list[str]:
    """As `curves.lcbench_tasks` does, which gives every second one."""
    names = json.loads((CURVES / "lcbench_tasks.json").read_text())["OpenML_task_id"]
    return sorted(name for name in names if name not in ("#na#", "167083"))
