"""Which settings to try next: the defaults, the space's start points, then a sampler of Optuna.

Knows nothing of Ray: it is asked for a trial's settings, told every epoch's value, and told how
the trial ended. A trial that was stopped early is told to Optuna as pruned at its last epoch,
never as a finished result; one that was interrupted is not told as ended, as it may go on.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import optuna
from optuna.trial import Trial, TrialState, create_trial

from kptrain.config import Settings
from kptrain.resolve import settings_of
from search.algorithms.earlier import Ending
from search.algorithms.optuna_axes import distribution, label_on, labelled, value_of
from search.algorithms.rung_sampler import PointSampler, RungSampler, Silent
from search.space.axes import Choice, Range
from search.space.space import Rungs, SamplerName, Space, max_epochs, rungs_of

STATES: dict[Ending, TrialState] = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Searcher:
    """Proposes settings by trial number, from 0."""

    def __init__(
        self,
        axes: Mapping[str, Choice | Range],
        first: Sequence[dict[str, Any]],
        rungs: Sequence[int],
        *,
        maximise: bool = False,
        seed: int = 0,
        sampler: SamplerName = "gp",
    ) -> None:
        """first: points to try before any other, some maybe beyond the axes; rungs: the epochs at
        which trials are compared, the last one of a training included."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._axes = axes
        self._first = first
        self._distributions = {path: distribution(axis) for path, axis in axes.items()}
        self._sampler = (
            PointSampler(self._distributions, labelled(axes), seed)
            if sampler == "random"
            else RungSampler(self._distributions, labelled(axes), rungs, seed)
        )
        self._study = optuna.create_study(
            sampler=self._sampler,
            direction="maximize" if maximise else "minimize",
        )
        self._num_known = 0
        """Trials that were proposed or taken."""
        self._trials: dict[int, Trial] = {}
        self._best: dict[int, float] = {}
        self._better = max if maximise else min
        self._worst = -math.inf if maximise else math.inf

    @classmethod
    def of(cls, space: Space, base: Settings, rungs: Rungs | None = None) -> "Searcher":
        """The searcher of a space whose first trial has the settings `base`; rungs: if not those
        that follow from the space."""
        defaults = {path: settings_of(base)[path] for path in space.axes}
        last = max_epochs(space, base)
        told = rungs or rungs_of(space.asha, last)
        return cls(
            space.axes,
            [defaults, *(defaults | point for point in space.start)],
            [*told.all(), last],
            maximise=space.metric.is_max,
            seed=space.seed,
            sampler=space.sampler,
        )

    def learn(
        self, settings: Mapping[str, Any], curve: Sequence[tuple[int, float]], ending: Ending
    ) -> None:
        """Take a trial of an earlier search, all of its values on the axes, as one of this one."""
        epochs, values = zip(*curve, strict=True)
        best = list(accumulate(map(self._finite, values), self._better))
        trial = create_trial(
            state=STATES[ending],
            value=best[-1] if ending == "completed" else None,
            params={path: label_on(axis, settings[path]) for path, axis in self._axes.items()},
            distributions=self._distributions,
            intermediate_values=dict(zip(epochs, best, strict=True)),
        )
        self._study.add_trial(trial)

    def propose(self, number: int) -> dict[str, Any]:
        """The settings of a trial, by dotted path. Numbers are asked for in order, once each."""
        self._num_known = number + 1
        if number < len(self._first):
            point = self._first[number]
            if not self._is_on_axes(point):
                return point  # Optuna cannot learn from a point outside of its space
            self._study.enqueue_trial({p: label_on(self._axes[p], point[p]) for p in point})
        trial = self._study.ask(self._distributions)
        self._trials[number] = trial
        return {path: value_of(self._axes[path], trial.params[path]) for path in self._axes}

    def memory(self) -> dict[str, Any] | None:
        """What the sampler needs, beside the trials, to propose as it would have: JSON."""
        return self._sampler.memory()

    def take(
        self, number: int, settings: Mapping[str, Any], memory: Mapping[str, Any] | None
    ) -> None:
        """A trial that was proposed before, to another process: nothing is drawn for it.

        One that was proposed here is known. Raises: ValueError if the settings are of other axes,
        or the memory is no sampler's of this kind.
        """
        if number < self._num_known:
            return
        if settings.keys() != self._axes.keys():
            raise ValueError(f"settings must name {', '.join(self._axes)}, but got {settings}")
        self._sampler.recall(memory)
        self._num_known = number + 1
        if self._is_on_axes(settings):
            labels = {path: label_on(axis, settings[path]) for path, axis in self._axes.items()}
            self._study.enqueue_trial(labels)
            self._study.sampler = Silent()
            self._trials[number] = self._study.ask(self._distributions)
            self._study.sampler = self._sampler

    def _is_on_axes(self, point: Mapping[str, Any]) -> bool:
        return all(self._axes[path].contains(value) for path, value in point.items())

    def report(self, number: int, epoch: int, value: float) -> None:
        """Tell the metric's value after an epoch.

        Optuna is told the best so far: a trial is worth its best epoch, whose checkpoint is kept.
        """
        if number in self._trials:
            known = self._best.get(number, self._worst)
            best = self._best[number] = self._better(self._finite(value), known)
            self._trials[number].report(best, epoch)

    def finish(self, number: int, ending: Ending, best: float | None) -> None:
        """Tell how a trial ended, and its best value if it completed."""
        if number in self._trials:
            value = best if ending == "completed" else None
            self._study.tell(self._trials.pop(number), value, STATES[ending])

    def _finite(self, value: float) -> float:
        """The value, or the worst one instead of one that is not finite."""
        return value if math.isfinite(value) else self._worst

    @property
    def study(self) -> optuna.Study:
        """What Optuna has been told."""
        return self._study
