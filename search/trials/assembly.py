"""Builds the initial state of a search and of its confirmation; a journal is then replayed on
it."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from kptrain.config import Settings
from kptrain.resolve import change
from search.algorithms.asha import Asha
from search.algorithms.searcher import Searcher
from search.algorithms.source import Source
from search.journal.journal import Journal
from search.space.budget import Budget, Clock, Spending
from search.space.conditions import names_at
from search.trials.confirmation import Confirmation
from search.trials.controller import SearchState
from search.trials.fold import Parts
from search.trials.record import Record
from search.trials.run_folder import Search

Names = Callable[[int, Mapping[str, Any]], Collection[str]]
"""The names of the settings that a trial varies, from its number and its settings."""


class ListedSettings(Source):
    """A fixed list of settings, whatever the results."""

    def __init__(self, points: list[dict[str, Any]]) -> None:
        self._points = points

    def propose(self, number: int) -> dict[str, Any]:
        return self._points[number]


def searcher_of(search: Search) -> Searcher:
    """The searcher of a search, warm-started with the trials of earlier searches."""
    searcher = Searcher.of(search.space, search.base, search.rungs)
    for trial in search.past:
        searcher.learn(trial.settings, trial.curve, trial.ending)
    return searcher


def search_state(search: Search, record: Record, source: Source, journal: Journal) -> SearchState:
    """The initial state of a search; `read_back` applies what the journal holds."""
    return SearchState(parts_of_search(search, record, source), journal)


def confirmation_state(
    search: Search, confirmation: Confirmation, source: Source, journal: Journal
) -> SearchState:
    """The initial state of a confirmation, which stops no training early."""
    parts = parts_of_confirmation(search, confirmation, source)
    # Its first trainings have the same settings, so they may all fail for the same reason.
    return SearchState(parts, journal, ends_on_same_failure=False)


def parts_of_search(search: Search, record: Record, source: Source) -> Parts:
    """What the state of a search consists of before any event."""
    asha = Asha(search.rungs.stops, search.space.asha.reduction, search.rungs.early)
    # The initial budget; later ones are events.
    budget = Budget(**search.first["budget"])

    def names(_: int, settings: Mapping[str, Any]) -> Collection[str]:
        return names_at(search.space.axes, settings)

    return _parts(search, record, source, asha, budget, names)


def parts_of_confirmation(search: Search, confirmation: Confirmation, source: Source) -> Parts:
    """What the state of a confirmation consists of before any event."""
    points = confirmation.points()
    no_rungs, budget = Asha((), 2), Budget(trials=len(points))
    return _parts(search, confirmation, source, no_rungs, budget, lambda n, _: points[n])


def _parts(
    search: Search, record: Record, source: Source, asha: Asha, budget: Budget, names: Names
) -> Parts:

    def configure(number: int, settings: Mapping[str, Any]) -> Settings:
        if settings.keys() != set(needed := names(number, settings)):
            raise ValueError(f"settings must name {', '.join(sorted(needed))}, but got {settings}")
        return change(search.base, settings, f"{search.space.path}: trial {number}")

    spending = Spending(budget, search.space.asha.grace_epochs, Clock())
    return Parts(record, source, asha, spending, configure)
