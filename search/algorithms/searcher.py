"""Proposes settings: the defaults, the space's start points, then points from an Optuna sampler.

It receives the value of each epoch and the ending of each trial. A trial that was stopped early is
pruned at its last epoch in Optuna's terms, never complete. An interrupted trial has no ending, as
it may be resumed.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import optuna
from optuna.trial import Trial, TrialState, create_trial

from kptrain.config import Settings
from search.algorithms.earlier import Ending
from search.algorithms.optuna_axes import Label, label_on, labelled, suggest, value_of
from search.algorithms.rung_sampler import RandomSampler, RungSampler
from search.algorithms.source import Source
from search.space.axes import Axes
from search.space.conditions import active, has_value, names_at, parents_first
from search.space.space import (
    Rungs,
    SamplerName,
    Space,
    defaults_on,
    max_epochs,
    rungs_of,
)

STATES: dict[str, TrialState] = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
"""The states of ended trials in Optuna's terms."""


class Searcher(Source):
    """Proposes settings by trial number, from 0."""

    def __init__(
        self,
        axes: Axes,
        first: Sequence[dict[str, Any]],
        rungs: Sequence[int],
        *,
        maximise: bool = False,
        seed: int = 0,
        sampler: SamplerName = "gp",
    ) -> None:
        """first: points to try before any other, which may lie outside of the axes; rungs: epochs
        at which trials are compared, the last epoch of a training included."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._axes = axes
        self._labelled = labelled(axes)
        self._first = first
        self._sampler = (
            RandomSampler(self._labelled, seed)
            if sampler == "random"
            else RungSampler(self._labelled, rungs, seed)
        )
        self._distributions = self._sampler.distributions
        self.study = optuna.create_study(
            sampler=self._sampler,
            direction="maximize" if maximise else "minimize",
        )
        """The Optuna study of all trials."""
        self._num_registered = 0
        """Trials that were proposed by or registered with this object."""
        self._trials: dict[int, Trial] = {}
        self._best: dict[int, float] = {}
        self._better = max if maximise else min
        self._worst = -math.inf if maximise else math.inf

    @classmethod
    def of(cls, space: Space, base: Settings, rungs: Rungs | None = None) -> "Searcher":
        """The searcher of a space whose trial 0 has the settings `base`; rungs: default those of
        the space."""
        defaults = defaults_on(space, base)
        last = max_epochs(space, base)
        rungs = rungs or rungs_of(space.asha, last)
        return cls(
            space.axes,
            [active(space.axes, defaults | point) for point in ({}, *space.start)],
            [*rungs.all(), last],
            maximise=space.metric.is_max,
            seed=space.seed,
            sampler=space.sampler,
        )

    def learn(
        self, settings: Mapping[str, Any], curve: Sequence[tuple[int, float]], ending: Ending
    ) -> None:
        """Add a trial of an earlier search as an observation; its settings must lie on the axes."""
        epochs, values = zip(*curve, strict=True)
        best = list(accumulate(map(self._finite, values), self._better))
        trial = create_trial(
            state=STATES[ending],
            value=best[-1] if ending == "completed" else None,
            params=self._labels(settings),
            distributions={path: self._distributions[path] for path in settings},
            intermediate_values=dict(zip(epochs, best, strict=True)),
        )
        self.study.add_trial(trial)

    def propose(self, number: int) -> dict[str, Any]:
        """The settings of a trial, by dotted path. Called once per number, in order."""
        self._num_registered = number + 1
        if number < len(self._first):
            point = self._first[number]
            if not self._is_on_axes(point):
                return point  # Optuna cannot learn from a point outside of its space
            self.study.enqueue_trial(self._labels(point))
        trial = self._trials[number] = self._ask()
        return {
            path: value_of(axis, trial.params[path])
            for path, axis in self._axes.items()
            if path in trial.params
        }

    def _ask(self) -> Trial:
        """A new trial of the study, with a value on each axis that it has."""
        trial = self.study.ask()
        for path in parents_first(self._labelled):
            if has_value(self._labelled, path, trial.params):
                suggest(trial, path, self._labelled[path])
        return trial

    def _labels(self, settings: Mapping[str, Any]) -> dict[str, Label]:
        return {path: label_on(self._axes[path], value) for path, value in settings.items()}

    def memory(self) -> dict[str, Any] | None:
        """The sampler's state besides the trials, as JSON; None if it has none."""
        return self._sampler.memory()

    def take(
        self, number: int, settings: Mapping[str, Any], memory: Mapping[str, Any] | None
    ) -> None:
        """Register a trial from the journal and restore the sampler's state; nothing is sampled.

        Does nothing for a trial that this object proposed. Raises: ValueError if the settings have
        other axes than hold there, or the memory is not one of this kind of sampler.
        """
        if number < self._num_registered:
            return
        if settings.keys() != set(names := names_at(self._axes, settings)):
            raise ValueError(f"settings must name {', '.join(names)}, but got {settings}")
        self._sampler.recall(memory)
        self._num_registered = number + 1
        if self._is_on_axes(settings):
            self.study.enqueue_trial(self._labels(settings))
            self.study.sampler = (
                optuna.samplers.RandomSampler()
            )  # has no value to draw, as all are given
            self._trials[number] = self._ask()
            self.study.sampler = self._sampler

    def _is_on_axes(self, point: Mapping[str, Any]) -> bool:
        return all(self._axes[path].contains(value) for path, value in point.items())

    def report(self, number: int, epoch: int, value: float) -> None:
        """Report the metric's value after an epoch.

        Optuna gets the best value so far: a trial counts by its best epoch, whose checkpoint is
        kept.
        """
        if number in self._trials:
            previous = self._best.get(number, self._worst)
            best = self._best[number] = self._better(self._finite(value), previous)
            self._trials[number].report(best, epoch)

    def finish(self, number: int, ending: Ending, best: float | None) -> None:
        """Report how a trial ended; best: its best value, used if it completed."""
        if number in self._trials:
            value = best if ending == "completed" else None
            self.study.tell(self._trials.pop(number), value, STATES[ending])

    def _finite(self, value: float) -> float:
        """The value; if it is not finite, the worst value."""
        return value if math.isfinite(value) else self._worst
