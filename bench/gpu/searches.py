"""Real searches on the GPU: how many trainings `gpu: auto` puts on it, and what follows when one
does not fit into its share."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from bench.command import Said, run_command, table_of
from bench.gpu.run import Run
from bench.gpu.running import SPAWN
from kptrain.machine.cores import usable_cores
from kptrain.needs.memory import MemoryNeed, measure_memory
from search.journal.journal import JOURNAL, read_events
from search.machine.gpus import CONTEXT

TRIALS, EPOCHS, BATCH_SIZE = 8, 3, 8
SMALL_TRIALS, SMALL_EPOCHS = 2, 2
EPOCH = r"epoch +\d+/\d+  val_loss"
"""How a search tells that an epoch is done."""
LARGE_BATCH = 64
SHORT = 0.6
"""Of what a training needs, the share that is too small, while twice as much suffices."""


def measure_auto(run: Run) -> None:
    """Eight trainings of the full network, none of them stopped.

    Raises: RuntimeError if the search fails, or has not two epochs.
    """
    trials, epochs = (SMALL_TRIALS, SMALL_EPOCHS) if run.is_small else (TRIALS, EPOCHS)
    resources = {"cpu": max(usable_cores() // trials, 1), "gpu": "auto"}
    said = search(run, "auto", space_of(run, trials, epochs, BATCH_SIZE) | {"resources": resources})
    ends = [seconds for seconds, line in said.lines if re.search(EPOCH, line)]
    if len(ends) < 2:
        raise RuntimeError(f"the search must train epochs, but told {len(ends)}; see auto.log")
    images = run.settings["data.limit_train"] * (len(ends) - 1)
    rate = images / (ends[-1] - ends[0])
    quoted = [line.strip() for _, line in said.lines if line.startswith(("GPU ", "At once "))]
    took = max(float(row["seconds"]) for row in table_of(run.out / "auto"))
    told = (
        f"{len(ends)} epochs of {trials} trials, {rate:,.0f} images/s in all between the first "
        f"one's end and the last one's, saving and validation included; an epoch at most "
        f"{took:.1f} s; the command {said.total:.0f} s; {'; '.join(map(_one_space, quoted))}"
    )
    run.row("search with gpu: auto", told, images_a_second=rate, seconds=said.total)


def measure_memory_short(run: Run) -> None:
    """One training that gets less memory than it needs, and then twice as much."""
    config = run.config(BATCH_SIZE if run.is_small else LARGE_BATCH)
    with SPAWN.Pool(1) as pool:  # so that all it held is free again
        need: MemoryNeed = pool.apply(measure_memory, (config,))
    share = (SHORT * need.peak + CONTEXT) / need.total if need.total else SHORT
    space = space_of(run, 1, 1, config.train.batch_size)
    space["resources"] = {"cpu": 1, "gpu": round(share, 4)}
    search(run, "memory", space, "--quiet")  # which does not measure its pace
    told = (
        f"needs {need.peak / 1e9:.2f} GB, given {share:.4f} of a GPU: {outcome(run.out / 'memory')}"
    )
    run.row(f"out of memory, batch {config.train.batch_size}", told, peak=need.peak, share=share)


def space_of(run: Run, trials: int, epochs: int, size: int) -> dict[str, Any]:
    """A space file's content: the learning rate is varied, and no trial is stopped."""
    said = {"train.epochs": epochs, "train.batch_size": size}
    base: dict[str, dict[str, Any]] = {}
    for path, value in (run.settings | said).items():
        group, _, name = path.partition(".")
        base.setdefault(group, {})[name] = value
    del base["data"]["root"]
    return {
        "base": base,
        "space": {"optim.lr": {"low": 1e-4, "high": 1e-3, "log": True}},
        "trials": trials,
        "asha": {"grace_epochs": epochs},
    }


def search(run: Run, name: str, space: dict[str, Any], *more: str) -> Said:
    """A search in the run's folder, anew; what it says is there, too."""
    shutil.rmtree(run.out / name, ignore_errors=True)
    path = run.out / f"{name}.yaml"
    path.write_text(yaml.safe_dump(space), encoding="utf-8")
    options = ["--data", "embedded", "--out", str(run.out / name), *more]
    command = [sys.executable, "-m", "search.run", str(path), *options]
    return run_command(command, run.out / f"{name}.log")


def outcome(out: Path) -> str:
    """What became of the only trial of a search."""
    failures = [event for event in read_events(out / JOURNAL) if event["event"] == "fail"]
    (state,) = {row["state"] for row in table_of(out)}
    if not failures:
        return f"never out of memory, {state}"
    told = [
        f"{event['cause']} with {event['gpu']:g} of a GPU, "
        + ("goes on" if event["goes_on"] else "for good")
        for event in failures
    ]
    return f"{'; '.join(told)}; then {state}"


def _one_space(line: str) -> str:
    return " ".join(line.split())
