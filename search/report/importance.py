"""The importance of each setting in a search, with its uncertainty.

All trials are compared after the same epoch, the last one that every completed or stopped trial
reached: only promoted trials reach a later one, and final values of trials of different lengths
mostly reflect the length. The measure is PED-ANOVA: how much the distribution of a setting in the
best quarter of the trials differs from that in all trials, as a share of the sum over settings. An
axis that only some trials have is measured among these: their best quarter, and all of them.

Source: Watanabe et al., PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
Subspaces, 2023.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from kptrain.machine.disk import write_csv
from search.space.axes import Axes, Axis, Choice
from search.space.space import short_names
from search.space.training import Metric
from search.trials.record import Record, TrialRecord

LEAST_TRIALS = 10
"""The least number of trials: of fewer, the best quarter would be two."""
BEST = 0.25
"""The share of trials that counts as the best. With a tenth, PED-ANOVA's default, 40 trials have
four best ones, and the shares vary twice as much from search to search."""
NUM_DRAWS = 100
SURE = 0.05
"""The significance level: an importance with a larger chance may be due to chance."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """The importance of one setting."""

    path: str
    share: float
    """The share of the importance of all settings, 0 to 1."""
    low: float
    """The lower end of the 90 % interval; `high` is the upper end."""
    high: float
    chance: float
    """The p-value: how often a random permutation of the trials' values gives at least this
    importance."""
    num_trials: int
    """The trials that are compared: those that have the setting."""


@dataclass(frozen=True)
class Importance:
    """The importance of all settings of a search."""

    metric: Metric
    epoch: int
    """The epoch after which trials are compared."""
    num_trials: int
    """The trials that are compared by settings that all of them have."""
    shares: tuple[Share, ...]
    """The largest first."""
    why_not: str = ""
    """The reason if there are no shares."""
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    """The reason for each setting that has no share beside others that have one."""


@dataclass(frozen=True)
class Group:
    """The settings that the same trials have, and the values of these trials; lower is better."""

    axes: Axes
    trials: Sequence[TrialRecord]
    values: Values


def importance(record: Record, axes: Axes, seed: int = 0) -> Importance:
    """Measure the importance with the trials that lie on the axes; seed: of the random draws."""
    epoch = common_epoch(record)
    reached = [trial for trial in record.trials if len(trial.curve) >= epoch > 0]
    # The values of the defaults may not lie on the axes.
    trials = [trial for trial in reached if _is_on_axes(axes, trial)]
    groups = _groups(axes, trials, epoch, record.metric)
    reasons = {path: _why_not(group) for group in groups for path in group.axes}
    measured = [group for group in groups if not any(reasons[path] for path in group.axes)]
    num_measured = sum(len(group.axes) for group in measured)
    shares: tuple[Share, ...] = ()
    why_not = "a single setting was searched" if len(axes) == 1 else ""
    if not why_not and num_measured < 2:
        path, why_not = next((path, why) for path, why in reasons.items() if why)
        why_not = f"{path}: {why_not}" if measured else why_not
    if not why_not:
        shares = _shares(measured, np.random.default_rng(seed))
        why_not = "" if shares else "too many trials have the same value"
    unmeasured = {path: why for path, why in reasons.items() if why and shares}
    return Importance(record.metric, epoch, len(trials), shares, why_not, unmeasured)


def _is_on_axes(axes: Axes, trial: TrialRecord) -> bool:
    return all(
        axis.contains(trial.settings[path]) for path, axis in axes.items() if path in trial.settings
    )


def _groups(axes: Axes, trials: Sequence[TrialRecord], epoch: int, metric: Metric) -> list[Group]:
    """The axes by the trials that have them; those that all trials have are the first."""
    alike: dict[tuple[int, ...], dict[str, Axis]] = {}
    for path, axis in axes.items():
        having = (n for n, trial in enumerate(trials) if not axis.when or path in trial.settings)
        alike.setdefault(tuple(having), {})[path] = axis
    values = np.array([metric.cost(trial.values()[epoch - 1]) for trial in trials])
    return [
        Group(own, [trials[n] for n in having], values[list(having)])
        for having, own in sorted(alike.items(), key=lambda item: -len(item[0]))
    ]


def common_epoch(record: Record) -> int:
    """The last epoch that all completed and stopped trials reached; if there are none, that all
    paused trials reached; else 0."""
    for states in (("completed", "stopped"), ("paused",)):
        if lengths := [len(trial.curve) for trial in record.trials if trial.state in states]:
            return min(lengths)
    return 0


def _why_not(group: Group) -> str:
    values = group.values
    if len(values) < LEAST_TRIALS:
        return f"{LEAST_TRIALS} trials must be comparable, but {len(values)} are"
    return "all trials have the same value" if np.all(values == values[0]) else ""


def _shares(groups: Sequence[Group], rng: np.random.Generator) -> tuple[Share, ...]:
    """The shares, the largest first; none if ties leave no best quarter."""
    parts = [_measured(group, rng) for group in groups]
    whole, halves, permuted = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    halves = halves[halves.sum(axis=1) > 0]
    if not whole.sum() or not len(halves):
        return ()
    ends = np.quantile(halves / halves.sum(axis=1, keepdims=True), [0.05, 0.95], axis=0)
    # The observed order counts as one of the permutations.
    chance = (1 + np.sum(permuted >= whole, axis=0)) / (1 + NUM_DRAWS)
    counts = {path: len(group.trials) for group in groups for path in group.axes}
    figures = zip(counts, whole / whole.sum(), *ends, chance, strict=True)
    shares = [
        Share(path, float(share), float(low), float(high), float(chance), counts[path])
        for path, share, low, high, chance in figures
    ]
    return tuple(sorted(shares, key=lambda share: -share.share))


def _measured(group: Group, rng: np.random.Generator) -> tuple[Values, Values, Values]:
    """PED-ANOVA's measure of each of a group's axes: with all of its trials (axes), with random
    halves of them (draws, axes), and with permuted values (draws, axes)."""
    axes, values, draws = group.axes, group.values, range(NUM_DRAWS)
    study = _study(axes, group.trials)
    whole = _divergences(study, axes, values)
    halves = [_divergences(study, axes, _half(values, rng)) for _ in draws]
    permuted = [_divergences(study, axes, rng.permutation(values)) for _ in draws]
    return whole, np.array(halves), np.array(permuted)


def _half(values: Values, rng: np.random.Generator) -> Values:
    """The values of a random half of the trials, NaN for the others.

    Shares from halves, drawn without replacement, vary like those from a bootstrap. But a trial
    that a bootstrap draws twice would be an artificial peak in the density.
    Source: Shao and Wu, A General Theory for Jackknife Variance Estimation, 1989.
    """
    half = np.full_like(values, math.nan)
    drawn = rng.permutation(len(values))[: math.ceil(len(values) / 2)]
    half[drawn] = values[drawn]
    return half


def _study(axes: Axes, trials: Sequence[TrialRecord]) -> optuna.Study:
    """The trials as an Optuna study; their values are given in `_divergences`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {path: _distribution(axis) for path, axis in axes.items()}
    study = optuna.create_study()
    for trial in trials:
        params = {path: _place(axis, trial.settings[path]) for path, axis in axes.items()}
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=0.0))
    return study


def _divergences(study: optuna.Study, axes: Axes, values: Values) -> Values:
    """PED-ANOVA's measure of each axis; lower values are better, trials with NaN are left out."""
    evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST)
    with warnings.catch_warnings():
        # It warns that the target is minimised, as intended, and that there are few trials.
        warnings.simplefilter("ignore")
        measures = get_param_importances(
            study, evaluator=evaluator, target=lambda t: float(values[t.number]), normalize=False
        )
    return np.array([measures[path] for path in axes])


def _distribution(axis: Axis) -> BaseDistribution:
    if isinstance(axis, Choice):
        return CategoricalDistribution(range(len(axis.values)))
    return FloatDistribution(0.0, 1.0)


def _place(axis: Axis, value: Any) -> float:
    """The index of a choice, or the position of a value in its range, 0 to 1."""
    if isinstance(axis, Choice):
        return axis.values.index(value)
    low, high, at = (math.log(x) if axis.log else x for x in (axis.low, axis.high, value))
    return min(max((at - low) / (high - low), 0.0), 1.0)  # a rounding error may exceed an end


def describe_importance(measured: Importance) -> str:
    """One line: each setting's share with its interval, the largest first."""
    if measured.why_not:
        return f"Mattered  cannot be measured: {measured.why_not}"
    paths = [*(share.path for share in measured.shares), *measured.unmeasured]
    names = short_names(paths)
    shares = ", ".join(
        f"{names[share.path]} {share.share:.2f} ({share.low:.2f} to {share.high:.2f}"
        f"{'' if share.chance <= SURE else '; may be chance'}{_of(share, measured)})"
        for share in measured.shares
    )
    missing = "".join(f"; not {names[path]}: {why}" for path, why in measured.unmeasured.items())
    return (
        f"Mattered  {shares} ({measured.metric.label} after epoch {measured.epoch} of "
        f"{measured.num_trials} trials{missing})"
    )


def _of(share: Share, measured: Importance) -> str:
    """The number of trials that have a setting, if not all have it."""
    few = share.num_trials < measured.num_trials
    return f"; of {share.num_trials} trials that have it" if few else ""


def save_importance(measured: Importance, run_dir: Path) -> None:
    """Write `importance.csv`: one row per setting, the largest share first; may have no rows."""
    columns = ["setting", "share", "low_90", "high_90", "chance", "metric", "epoch", "trials"]
    common = [measured.metric, measured.epoch]
    rows = ([*figures, *common, num] for *figures, num in map(astuple, measured.shares))
    write_csv(run_dir / "importance.csv", columns, rows)
