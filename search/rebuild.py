"""The state of a search, and of its confirmation, to be told what their journals hold."""

from collections.abc import Mapping
from typing import Any

from kptrain.config import Settings
from kptrain.resolve import change
from search.asha import Asha
from search.budget import Budget, Clock, Spending
from search.confirm import Confirmation
from search.journal import Journal
from search.opening import Search
from search.record import Record
from search.searcher import Searcher
from search.space import early_rung, max_epochs, rungs
from search.state import SearchState, Source


class AsTold:
    """The settings that a journal holds: nobody is asked, nothing is learnt."""

    def propose(self, _: int, known: Mapping[str, Any] | None = None, /) -> dict[str, Any]:
        assert known is not None
        return dict(known)

    def report(self, *_: object) -> None:
        pass

    def finish(self, *_: object) -> None:
        pass


class Listed(AsTold):
    """Settings that are known beforehand, so that no result changes them."""

    def __init__(self, points: list[dict[str, Any]]) -> None:
        self._points = points

    def propose(self, number: int, _: Mapping[str, Any] | None = None, /) -> dict[str, Any]:
        return self._points[number]


def searcher_of(search: Search) -> Searcher:
    """Who proposes the settings of a search, with what it knows of earlier ones."""
    searcher = Searcher.of(search.space, search.base)
    for trial in search.past:
        searcher.learn(trial.settings, trial.curve, trial.ending)
    return searcher


def search_state(search: Search, record: Record, source: Source, journal: Journal) -> SearchState:
    """A search that knows nothing yet: `redo` tells it what the journal holds."""
    space = search.space
    last = max_epochs(space, search.base)
    asha = Asha(rungs(space.asha, last), space.asha.reduction, early_rung(space.asha, last))
    # The budget that it began with: later ones are events.
    budget = Budget(**search.first["budget"])
    return _state(search, record, source, budget, asha, journal, ends_if_alike=True)


def confirmation_state(
    search: Search, confirmation: Confirmation, source: Source, journal: Journal
) -> SearchState:
    """All trainings of a confirmation, likewise; none is stopped before its end."""
    budget = Budget(trials=len(confirmation.points()))
    # Of its trainings the first have the same settings, and may fail alike.
    never = Asha((), 2)
    return _state(search, confirmation, source, budget, never, journal, ends_if_alike=False)


def _state(
    search: Search,
    record: Record,
    source: Source,
    budget: Budget,
    asha: Asha,
    journal: Journal,
    *,
    ends_if_alike: bool,
) -> SearchState:
    def configure(number: int, settings: Mapping[str, Any]) -> Settings:
        return change(search.base, settings, f"{search.space.path}: trial {number}")

    spending = Spending(budget, search.space.asha.grace_epochs, Clock())
    return SearchState(
        record, source, asha, spending, configure, journal, ends_if_alike=ends_if_alike
    )
