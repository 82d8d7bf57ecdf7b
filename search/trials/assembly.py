"""The state of a search, and of its confirmation, to be told what their journals hold."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kptrain.config import Settings
from kptrain.resolve import change
from search.algorithms.asha import Asha
from search.algorithms.searcher import Searcher
from search.journal.journal import Journal
from search.space.budget import Budget, Clock, Spending
from search.trials.confirmation import Confirmation
from search.trials.controller import SearchState
from search.trials.fold import Fold
from search.trials.proposals import Source
from search.trials.record import Record
from search.trials.run_folder import Search


class AsTold:
    """The settings that a journal holds: nobody is asked, nothing is learnt."""

    def propose(self, number: int, /) -> dict[str, Any]:
        raise AssertionError(f"trial {number} must come from the journal")

    def memory(self) -> None:
        pass

    def take(self, *_: object) -> None:
        pass

    def report(self, *_: object) -> None:
        pass

    def finish(self, *_: object) -> None:
        pass


class Listed(AsTold):
    """Settings that are known beforehand, so that no result changes them."""

    def __init__(self, points: list[dict[str, Any]]) -> None:
        self._points = points

    def propose(self, number: int, /) -> dict[str, Any]:
        return self._points[number]


def searcher_of(search: Search) -> Searcher:
    """Who proposes the settings of a search, with what it knows of earlier ones."""
    searcher = Searcher.of(search.space, search.base, search.rungs)
    for trial in search.past:
        searcher.learn(trial.settings, trial.curve, trial.ending)
    return searcher


class _Parts(NamedTuple):
    """What every state is made of, in the order of its arguments."""

    record: Record
    source: Source
    asha: Asha
    spending: Spending
    configure: Callable[[int, Mapping[str, Any]], Settings]


def search_state(search: Search, record: Record, source: Source, journal: Journal) -> SearchState:
    """A search that knows nothing yet: `read_back` tells it what the journal holds."""
    return SearchState(*_of_search(search, record, source), journal)


def search_as_told(search: Search, record: Record) -> Fold:
    """Likewise, only to be told."""
    return Fold(*_of_search(search, record, AsTold()))


def confirmation_state(
    search: Search, confirmation: Confirmation, source: Source, journal: Journal
) -> SearchState:
    """All trainings of a confirmation, likewise; none is stopped before its end."""
    parts = _of_confirmation(search, confirmation, source)
    # Of its trainings the first have the same settings, and may fail alike.
    return SearchState(*parts, journal, ends_if_alike=False)


def confirmation_as_told(search: Search, confirmation: Confirmation) -> Fold:
    return Fold(*_of_confirmation(search, confirmation, AsTold()))


def _of_search(search: Search, record: Record, source: Source) -> _Parts:
    asha = Asha(search.rungs.stops, search.space.asha.reduction, search.rungs.early)
    # The budget that it began with: later ones are events.
    budget = Budget(**search.first["budget"])
    return _parts(search, record, source, asha, budget, set(search.space.axes))


def _of_confirmation(search: Search, confirmation: Confirmation, source: Source) -> _Parts:
    points = confirmation.points()
    never, budget = Asha((), 2), Budget(trials=len(points))
    return _parts(search, confirmation, source, never, budget, set(points[0]))


def _parts(
    search: Search, record: Record, source: Source, asha: Asha, budget: Budget, names: set[str]
) -> _Parts:
    """names: of the settings that are varied."""

    def configure(number: int, settings: Mapping[str, Any]) -> Settings:
        if settings.keys() != names:
            raise ValueError(f"settings must name {', '.join(sorted(names))}, but got {settings}")
        return change(search.base, settings, f"{search.space.path}: trial {number}")

    spending = Spending(budget, search.space.asha.grace_epochs, Clock())
    return _Parts(record, source, asha, spending, configure)
