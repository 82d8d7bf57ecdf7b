"""Images a second with each switch, eagerly and within a recorded step."""

from functools import partial
from itertools import product

from bench.gpu.run import Run
from bench.gpu.steps import WAYS, sizes, stepper, ways_here, write
from bench.gpu.switches import SWITCHES
from kptrain.needs.memory import NUM_PERSONS, random_batch
from kptrain.training.state import Training


def measure(run: Run) -> None:
    ways = ways_here(run, ("eager", "graph"))
    names = list(SWITCHES)
    if run.is_small:  # compiling takes longest, and with all three switches it is done anyway
        names.remove("blocks compiled")
    for way, size, name in product(ways, sizes(run)[:2], names):
        run.attempt(f"batch {size}, {way}, {name}", partial(one, run, size, way, name))


def one(run: Run, size: int, way: str, name: str) -> None:
    config = run.config(size, WAYS[way] | {"train.precision": "bfloat16"})
    steps = stepper(config, run.device, NUM_PERSONS, change=partial(switch, name))
    write(run, size, f"{way}, {name}", partial(steps, random_batch(config, run.device)))


def switch(name: str, training: Training) -> None:
    for change in SWITCHES[name]:
        change(training)
