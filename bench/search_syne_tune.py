"""Syne Tune's ASHA and BOHB as contenders of `bench.search`, in an environment of their own.

It is no dependency of the project. In an environment with `syne-tune`, `onnxruntime` and `numpy`:

    python -m bench.search_syne_tune develop
"""

import argparse
import logging
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import lograndint, loguniform, randint, uniform
from syne_tune.optimizer.baselines import ASHA, BOHB

from bench import contenders, search
from bench.simulation import Settings, Spec


class SyneTune:
    """One of its asynchronous schedulers, by its class."""

    def __init__(self, kind: type, space: Spec, epochs: int, seed: int) -> None:
        np.random.seed(seed)  # it draws brackets from there
        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        self._scheduler = kind(
            {name: _domain(*spec) for name, spec in space.items()},
            metric="loss",
            time_attr="epoch",
            max_t=epochs,
            random_seed=seed,
        )
        self._epochs = epochs
        self._trials: list[Trial] = []

    def next_job(self) -> tuple[int, Settings]:
        number = len(self._trials)
        settings = dict(self._scheduler.suggest().config)
        trial = Trial(number, settings, datetime.now())
        self._scheduler.on_trial_add(trial)
        self._trials.append(trial)
        return number, settings

    def report(self, number: int, epoch: int, value: float) -> bool:
        result = {"epoch": epoch, "loss": value}
        if epoch == self._epochs:
            self._scheduler.on_trial_complete(self._trials[number], result)
            return False
        decision = self._scheduler.on_trial_result(self._trials[number], result)
        goes_on = bool(decision == "CONTINUE")
        if not goes_on:
            self._scheduler.on_trial_remove(self._trials[number])
        return goes_on


def _domain(low: float, high: float, log: bool, whole: bool) -> Any:
    if whole:
        return lograndint(int(low), int(high)) if log else randint(int(low), int(high))
    return loguniform(low, high) if log else uniform(low, high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("half", choices=("develop", "judge"))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    for name, kind in (("Syne Tune, ASHA", ASHA), ("Syne Tune, BOHB", BOHB)):
        contenders.CONTENDERS[name] = partial(SyneTune, kind)
        search.add_rows(name, arguments.half, arguments.workers, arguments.seeds)


if __name__ == "__main__":
    main()
