"""The result of a confirmation: as text, as a table, and for the winner's provenance."""

from dataclasses import astuple
from pathlib import Path
from typing import Any

from kptrain.machine.disk import write_csv
from search.report.importance import Importance, describe_importance
from search.report.wording import where_saved
from search.space.space import axis_values
from search.trials.confirmation import Confirmation
from search.trials.record import TrialRecord, varied
from search.trials.seed_summary import SeedSummary

COLUMNS = (
    *("metric", "n", "mean", "standard_deviation"),
    *("search_state", "search_epochs", "search_value", "optimism"),
    *("better_than_defaults", "low_95", "high_95"),
)
"""Columns of `confirm.csv` between the settings and the values by seed."""


def describe_confirmation(confirmation: Confirmation, importance: Importance, out: Path) -> str:
    """The mean of each setting, the winner, the importance, and the command that reruns it."""
    summaries, defaults = confirmation.summaries(), confirmation.defaults()
    lines = [
        "",
        f"Confirm   each trained in full with {len(confirmation.seeds)} fresh seeds; the best mean "
        f"{confirmation.metric.label} first:",
        *(f"          {describe_summary(summary, defaults)}" for summary in summaries),
        f"Best      {_winner(summaries[0])}",
        describe_importance(importance),
        where_saved(confirmation.trainable, out),
    ]
    return "\n".join(lines)


def describe_summary(summary: SeedSummary, defaults: SeedSummary) -> str:
    """One setting's mean, compared with the defaults and with the search's value."""
    parts = [f"{_name(summary.trial)}: {_mean(summary)}"]
    if summary.trial is not defaults.trial and summary.mean() is not None:
        parts.append(_against(summary, defaults))
    if (optimism := summary.optimism()) is not None:
        trial = summary.trial
        parts.append(
            f"the search's {trial.best():.6f} ({trial.state} after epoch "
            f"{len(trial.curve)}) was {_signed(optimism)}"
        )
    parts += [f"failed with seed {failed.seed}: {failed.error}" for failed in summary.failed()]
    return "; ".join(parts)


def _mean(summary: SeedSummary) -> str:
    mean, spread = summary.mean(), summary.spread()
    if mean is None:
        return "no training completed"
    deviation = "one seed only" if spread is None else f"sd {spread:.6f}"
    return f"{mean:.6f} ({deviation}, n {len(summary.values())})"


def _against(summary: SeedSummary, defaults: SeedSummary) -> str:
    gain = summary.gain(defaults)
    if gain is None:
        return "fewer than two seeds in common with the defaults"
    ends = f"95 %: {_signed(gain.low)} to {_signed(gain.high)}"
    if gain.low <= 0 <= gain.high:
        return f"not distinguishable from the defaults ({ends})"
    return f"{_signed(gain.mean)} than the defaults ({ends})"


def _winner(first: SeedSummary) -> str:
    title = f"{_name(first.trial)}, by the mean"
    if first.trial.number == 0:
        title = "the defaults (trial 0): by the mean, no confirmed setting is better"
    saved = first.best()
    assert saved is not None
    return (
        f"{title}, {axis_values(first.trial.settings)}; its training with seed {saved.seed} is "
        f"saved, {first.metric.label} {saved.best():.6f}"
    )


def _name(trial: TrialRecord) -> str:
    return "defaults (trial 0)" if trial.number == 0 else f"trial {trial.number}"


def _signed(gain: float) -> str:
    return f"{abs(gain):.6f} {'worse' if gain < 0 else 'better'}"


def provenance_of(confirmation: Confirmation) -> dict[str, Any]:
    """The fields of the winner's provenance that differ from those of a search's trial."""
    first = confirmation.summaries()[0]
    return {
        "trial": first.trial.number,
        "settings": first.trial.settings,
        "confirmed": {
            "values_by_seed": first.values(),
            "failed_by_seed": {training.seed: training.error for training in first.failed()},
            "mean": first.mean(),
            "standard_deviation": first.spread(),
            "search_value": first.trial.best(),
        },
    }


def save_confirmation(confirmation: Confirmation, run_dir: Path) -> None:
    """Write `confirm.csv`: one row per setting, best first."""
    defaults = confirmation.defaults()
    seeds = [f"seed {seed}" for seed in confirmation.seeds]
    summaries = confirmation.summaries()
    settings = varied([summary.trial for summary in [defaults, *summaries]])
    columns = ["trial", *settings, *COLUMNS, *seeds, "failed"]
    rows = (_row(summary, defaults, settings, confirmation.seeds) for summary in summaries)
    write_csv(run_dir / "confirm.csv", columns, rows)


def _row(
    summary: SeedSummary, defaults: SeedSummary, settings: list[str], seeds: list[int]
) -> list[Any]:
    """The cells of a trial; None without a figure, and for a setting that it does not have."""
    trial = summary.trial
    gain = None if trial is defaults.trial else summary.gain(defaults)
    return [
        *(trial.number, *(trial.settings.get(path) for path in settings)),
        *(summary.metric, len(summary.values()), summary.mean(), summary.spread()),
        *(trial.state, len(trial.curve), trial.best(), summary.optimism()),
        *((None, None, None) if gain is None else astuple(gain)),
        *(summary.values().get(seed) for seed in seeds),
        "; ".join(f"{training.seed}: {training.error}" for training in summary.failed()),
    ]
