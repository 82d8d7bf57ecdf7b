"""The confirmation of a search: its best few settings and the defaults, trained again in full.

The best of many values is partly luck. So each of these settings is trained with fresh seeds, the
same for all, and the one with the best mean is promoted.
"""

import random
import shutil
from pathlib import Path
from typing import Any

from kptrain.config import Settings
from search.journal.journal import JOURNAL, Journal, Line, read_events
from search.space.space import Confirm, Space
from search.space.training import SEEDS_BELOW
from search.trials.beginning import FORMAT
from search.trials.record import Record, TrialRecord
from search.trials.seed_summary import SeedSummary

ENDED = ("completed", "failed")


def fresh_seeds(space: Space, base: Settings, count: int) -> list[int]:
    """`count` training seeds that depend on the search's seed only and exclude the base's seed."""
    draw = random.Random(space.seed)  # noqa: S311 (must be repeatable, not secret)
    seeds: list[int] = []
    while len(seeds) < count:
        seed = draw.randrange(SEEDS_BELOW)
        if seed != space.trainable.seed_of(base) and seed not in seeds:
            seeds.append(seed)
    return seeds


def candidates(search: Record, top: int) -> list[TrialRecord]:
    """The best trials, best first, and the defaults; no settings twice.

    Trial 0 replaces any trial that has the defaults' settings.
    """
    defaults = search.trials[0]
    chosen: list[TrialRecord] = []
    for ranked in search.ranking():
        trial = defaults if ranked.config == defaults.config else ranked
        is_new = all(trial.config != other.config for other in chosen)
        if is_new and len(chosen) < top:
            chosen.append(trial)
    return chosen if any(trial is defaults for trial in chosen) else [*chosen, defaults]


class Confirmation(Record):
    """The table of the confirmation's trainings, in `<run>/confirm`: one per setting and seed."""

    def __init__(self, search: Record, how: Confirm, seeds: list[int]) -> None:
        storage = None if search.storage is None else search.storage.below("confirm")
        super().__init__(
            search.run_dir / "confirm", search.trainable, search.metric, storage=storage
        )
        self.search = search
        self.title = f"{search.run_dir.name}-confirm"
        self.seeds = seeds
        self.settings = candidates(search, how.top)
        # Setting by setting: checkpoints of a setting that cannot win are removed early.
        self._plan = [(trial, seed) for trial in self.settings for seed in seeds]

    def describe(self) -> str:
        """Which trials are trained again, and with which seeds."""
        numbers = ", ".join(map(str, self._numbers()))
        return (
            f"Confirm   trials {numbers}, in full with each of the seeds "
            f"{', '.join(map(str, self.seeds))}"
        )

    def journal(self) -> Journal:
        """Its journal with its first line; a journal of other trials or seeds is replaced."""
        first = self.first_line()
        path = self.run_dir / JOURNAL
        if path.exists() and read_events(path)[:1] != [first]:
            if self.storage is not None:
                self.storage.clear()
            shutil.rmtree(self.run_dir)  # last, as its journal is checked above
        self.run_dir.mkdir(exist_ok=True)
        journal = Journal(path, None if self.storage is None else self.storage.grow)
        if not journal.written:
            journal.write(first)
        return journal

    def first_line(self) -> Line:
        """The first line of its journal: what is confirmed."""
        confirmed = {"trials": self._numbers(), "seeds": self.seeds}
        return {"at": 0.0, "event": "confirm", "format": FORMAT, **confirmed}

    def _numbers(self) -> list[int]:
        return [trial.number for trial in self.settings]

    def points(self) -> list[dict[str, Any]]:
        """The settings of each training that differ from the base."""
        path = self.trainable.seed
        assert path is not None  # checked when the space was read
        return [trial.settings | {path: seed} for trial, seed in self._plan]

    def _name(self, number: int) -> tuple[str, Path]:
        trial, seed = self._plan[number]
        return f"{trial.number}-{seed}", self.run_dir / f"{trial.number:03d}-{seed}"

    def is_whole(self) -> bool:
        """Whether every training has completed or failed."""
        return self.num_done() == len(self._plan)

    def num_done(self) -> int:
        """The number of trainings that completed or failed."""
        return sum(trial.state in ENDED for trial in self.trials)

    def summaries(self) -> list[SeedSummary]:
        """The results of each setting, the best mean first, settings without a mean last."""
        summaries = [SeedSummary(trial, self._of(trial), self.metric) for trial in self.settings]
        return sorted(summaries, key=lambda summary: summary.rank())

    def defaults(self) -> SeedSummary:
        """The results of the defaults (trial 0)."""
        return next(summary for summary in self.summaries() if summary.trial.number == 0)

    def leader(self) -> TrialRecord | None:
        """The best training of the setting with the best mean; None if all have failed."""
        return self.summaries()[0].best()

    def _of(self, trial: TrialRecord) -> list[TrialRecord]:
        return [training for training in self.trials if self._plan[training.number][0] is trial]

    def _kept(self) -> list[TrialRecord]:
        """The best training of each setting that can still win."""
        summaries = self.summaries()
        done = [summary for summary in summaries if self._is_done(summary)]
        in_play = [summary for summary in summaries if summary not in done[1:]]
        return [best for summary in in_play if (best := summary.best()) is not None]

    def _is_done(self, summary: SeedSummary) -> bool:
        trainings = summary.trainings
        return len(trainings) == len(self.seeds) and all(t.state in ENDED for t in trainings)
