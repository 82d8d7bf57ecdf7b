"""How well searches search, without training: contenders on known learning curves.

    python -m bench.search develop               the tasks to develop on, and TaskSet
    python -m bench.search judge                 the other half of LCBench
    python -m bench.search develop --workers 16 --contenders ours random

Each contender has the epochs of 40 full trainings, summed over its workers. A row of
`bench/search.csv` is one contender on one task: its mean regret over seeds after 1 to 40 trainings'
epochs, in hundredths (see `bench.scales`). A row that is there already is replaced.
`python -m bench.search_report` makes of them the table and the picture.
"""

import argparse
import csv
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from bench.contenders import CONTENDERS
from bench.scales import regret
from bench.simulation import load_task, simulate, task_names

TABLE = Path(__file__).with_name("search.csv")
BUDGET = 40
"""Full trainings."""
KEYS = ("task", "half", "contender", "workers", "seeds")

Key = tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("half", choices=("develop", "judge"))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # the processes beside each other have a core each
    for contender in arguments.contenders:
        add_rows(contender, arguments.half, arguments.workers, arguments.seeds)


def add_rows(contender: str, half: str, workers: int, seeds: int) -> None:
    """Run a contender on all tasks, and write its rows."""
    lcbench, taskset = task_names(0 if half == "develop" else 1)
    names = [*lcbench, *(taskset if half == "develop" else [])]
    jobs = [(contender, name, workers, seed) for name in names for seed in range(seeds)]
    with ProcessPoolExecutor() as pool:
        found = np.array(list(pool.map(run_one, jobs, chunksize=4)))
    means = found.reshape(len(names), seeds, BUDGET).mean(axis=1)
    rows: dict[Key, np.ndarray] = {
        (name, half, contender, str(workers), str(seeds)): mean
        for name, mean in zip(names, means, strict=True)
    }
    write_rows(rows)
    print(
        f"{contender}, {workers} workers: {_told(rows, 'lcbench')}{_told(rows, 'taskset')}",
        flush=True,
    )


def run_one(job: tuple[str, str, int, int]) -> np.ndarray:
    """The regrets (BUDGET) of one search, after each training's epochs."""
    contender, name, workers, seed = job
    task = load_task(name)
    made = CONTENDERS[contender](task.space, task.epochs, seed)
    best = simulate(made, task, workers, BUDGET * task.epochs, seed)
    return 100 * regret(name, best[task.epochs - 1 :: task.epochs])


def read_rows() -> dict[Key, np.ndarray]:
    """The regrets (BUDGET) of each row, by its KEYS."""
    if not TABLE.exists():
        return {}
    with TABLE.open(newline="") as file:
        _, *rows = csv.reader(file)
    return {tuple(row[: len(KEYS)]): np.array(row[len(KEYS) :], float) for row in rows}


def write_rows(rows: dict[Key, np.ndarray]) -> None:
    """Add rows to the table, in place of those of the same task, contender and workers."""
    kept = {key: row for key, row in read_rows().items() if key[:4] not in {k[:4] for k in rows}}
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*KEYS, *(f"after {n}" for n in range(1, BUDGET + 1))])
        for key, row in sorted((kept | rows).items()):
            writer.writerow([*key, *(f"{value:.2f}" for value in row)])


def _told(rows: dict[Key, np.ndarray], family: str) -> str:
    last = [row[-1] for key, row in rows.items() if key[0].startswith(family)]
    return f" {family} {np.mean(last):.1f}" if last else ""


if __name__ == "__main__":
    main()
