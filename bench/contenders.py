"""The searchers and schedulers that are compared, each as a contender of a simulation."""

import logging
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import Trial, TrialState

from bench.simulation import Contender, Settings, Spec
from search.algorithms.asha import Asha
from search.algorithms.searcher import Searcher
from search.space.axes import Choice, Range
from search.space.space import Asha as AshaSettings
from search.space.space import SamplerName, rungs_of

DEFAULT = AshaSettings()
"""As a space file that says nothing of ASHA has it."""


class Ours:
    """The project's searcher and scheduler; `sampler` as in a space file."""

    def __init__(
        self,
        space: Spec,
        epochs: int,
        seed: int,
        *,
        sampler: SamplerName = "gp",
    ) -> None:
        axes: dict[str, Choice | Range] = {
            name: Range("int" if whole else "float", low, high, log)
            for name, (low, high, log, whole) in space.items()
        }
        rungs = rungs_of(DEFAULT, epochs)
        stops, early = rungs.stops, rungs.early
        told = [*([early] if early else []), *stops, epochs]
        self._searcher = Searcher(axes, [], told, seed=seed, sampler=sampler)
        self._asha = Asha(stops, DEFAULT.reduction, early)
        self._epochs = epochs
        self._settings: list[Settings] = []
        self._best: dict[int, float] = {}

    def next_job(self) -> tuple[int, Settings]:
        number = self._asha.promote()
        if number is None:
            number = len(self._settings)
            self._settings.append(self._searcher.propose(number))
        return number, self._settings[number]

    def report(self, number: int, epoch: int, value: float) -> bool:
        self._best[number] = min(value, self._best.get(number, math.inf))
        self._searcher.report(number, epoch, value)
        if epoch == self._epochs:
            self._searcher.finish(number, "completed", self._best[number])
            return False
        arrival = self._asha.decide(number, epoch, value)
        self._asha.record(number, value, arrival)
        for out in arrival.out if arrival else ():
            self._searcher.finish(out, "stopped", None)
        return arrival is None or arrival.goes_on


class RayStack:
    """Ray's OptunaSearch, or random settings, with Ray's own ASHA, without its actors."""

    def __init__(
        self,
        space: Spec,
        epochs: int,
        seed: int,
        sampler: BaseSampler | None,
        grace: int = 1,
        reduction: int = 4,
    ) -> None:
        """sampler: None for the one that OptunaSearch brings; the others as Ray has them."""
        from ray.tune.schedulers import ASHAScheduler  # noqa: PLC0415  (seconds)
        from ray.tune.search.optuna import OptunaSearch  # noqa: PLC0415  (seconds)

        logging.getLogger("ray").setLevel(logging.ERROR)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        np.random.seed(seed)  # (ASHA draws its bracket from there)
        told = {"sampler": sampler} if sampler else {"seed": seed}
        self._search = OptunaSearch(distributions_of(space), metric="loss", mode="min", **told)
        self._asha = ASHAScheduler(
            time_attr="epoch",
            metric="loss",
            mode="min",
            max_t=epochs,
            grace_period=grace,
            reduction_factor=reduction,
        )
        self._epochs = epochs
        self._trials: list[Any] = []

    def next_job(self) -> tuple[int, Settings]:
        number = len(self._trials)
        trial = SimpleNamespace(trial_id=str(number))
        settings = self._search.suggest(trial.trial_id)
        self._asha.on_trial_add(None, trial)
        self._trials.append(trial)
        return number, settings

    def report(self, number: int, epoch: int, value: float) -> bool:
        trial, result = self._trials[number], {"epoch": epoch, "loss": value}
        result["training_iteration"] = epoch
        goes_on = self._asha.on_trial_result(None, trial, result) == self._asha.CONTINUE
        if goes_on and epoch < self._epochs:
            self._search.on_trial_result(trial.trial_id, result)
            return True
        self._asha.on_trial_complete(None, trial, result)
        self._search.on_trial_complete(trial.trial_id, result)
        return False


class OptunaStudy:
    """Optuna alone: a sampler and a pruner of its own."""

    def __init__(self, space: Spec, epochs: int, sampler: BaseSampler, pruner: BasePruner) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(sampler=sampler, pruner=pruner)
        self._distributions = distributions_of(space)
        self._epochs = epochs
        self._trials: list[Trial] = []

    def next_job(self) -> tuple[int, Settings]:
        trial = self._study.ask(self._distributions)
        self._trials.append(trial)
        return trial.number, dict(trial.params)

    def report(self, number: int, epoch: int, value: float) -> bool:
        trial = self._trials[number]
        trial.report(value, epoch)
        if epoch == self._epochs:
            self._study.tell(trial, value)
            return False
        if trial.should_prune():
            self._study.tell(trial, state=TrialState.PRUNED)
            return False
        return True


def distributions_of(space: Spec) -> dict[str, BaseDistribution]:
    """The space as Optuna has it."""
    return {
        name: IntDistribution(int(low), int(high), log=log)
        if whole
        else FloatDistribution(low, high, log=log)
        for name, (low, high, log, whole) in space.items()
    }


def _tpe(seed: int) -> TPESampler:
    return TPESampler(seed=seed, multivariate=False, constant_liar=False)


CONTENDERS: dict[str, Callable[[Spec, int, int], Contender]] = {
    "ours": Ours,
    "random": lambda space, epochs, seed: OptunaStudy(
        space, epochs, RandomSampler(seed), NopPruner()
    ),
    "random, Ray's ASHA": lambda space, epochs, seed: RayStack(
        space, epochs, seed, RandomSampler(seed)
    ),
    "random, Ray's ASHA, 4 and 3": lambda space, epochs, seed: RayStack(
        space, epochs, seed, RandomSampler(seed), DEFAULT.grace_epochs, DEFAULT.reduction
    ),
    "random, our ASHA": lambda space, epochs, seed: Ours(space, epochs, seed, sampler="random"),
    "Ray's OptunaSearch and ASHA": lambda space, epochs, seed: RayStack(space, epochs, seed, None),
    "independent TPE, Ray's ASHA, grace 3": lambda space, epochs, seed: RayStack(
        space, epochs, seed, _tpe(seed), 3
    ),
    "Optuna, MedianPruner": lambda space, epochs, seed: OptunaStudy(
        space, epochs, TPESampler(seed=seed), MedianPruner()
    ),
    "Optuna, HyperbandPruner": lambda space, epochs, seed: OptunaStudy(
        space, epochs, TPESampler(seed=seed), HyperbandPruner(1, epochs)
    ),
}
"""By name, made for a space, the epochs of a full training and a seed."""
