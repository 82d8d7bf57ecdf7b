"""What happened in a search, read from the journals in its folder alone; nothing is written there.

It may run, have been killed, or be at its end: all that it came to is made again by the calls that
the journal holds.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kptrain.locks import is_held
from search.confirm import Confirmation, fresh_seeds
from search.fates import fates_of
from search.journal import JOURNAL, Event, Journal, read_events
from search.opening import LOCK, Search, open_search
from search.rebuild import AsTold, confirmation_state, search_state
from search.record import Record
from search.state import SearchState
from search.trainable import Trainable


@dataclass(frozen=True)
class Span:
    """A time in which a trial had a process."""

    trial: int
    place: str
    """Host and device."""
    share: float
    """Of a GPU."""
    begin: float
    end: float
    """Seconds of the search's clock, which stands still while nothing runs."""


@dataclass(frozen=True)
class History:
    search: Search
    state: SearchState
    events: list[Event]
    confirmation: Confirmation | None
    """None where none of these trials was begun."""
    is_run: bool
    """Whether a command worked on it when it was read."""

    @cached_property
    def fates(self) -> dict[int, str]:
        """How each trial ended or where it stands, by its number."""
        return fates_of(self.record, self.state.asha.epochs(), is_run=self.is_run)

    @property
    def record(self) -> Record:
        return self.state.record

    def spans(self) -> list[Span]:
        """When each trial had a process; one that has it still, until now."""
        spans: list[Span] = []
        begun: dict[int, Event] = {}
        for event in self.events:
            number = event.get("trial")
            has_let_go = event["event"] == "fail" or event.get("fate", "running") != "running"
            if event["event"] == "start":
                begun[event["trial"]] = event
            elif event["event"] == "resume":
                spans += [self._span(start, event["at"]) for start in begun.values()]
                begun.clear()
            elif has_let_go and number in begun:
                spans.append(self._span(begun.pop(number), event["at"]))
        now = self.state.clock.now
        return [*spans, *(self._span(start, now) for start in begun.values())]

    def _span(self, start: Event, end: float) -> Span:
        trial = self.record.trials[start["trial"]]
        place = f"{trial.host} {trial.device}".strip()
        return Span(trial.number, place, start["gpu"], start["at"], end)


def read_history(folder: Path, trainable: Trainable[Any]) -> History:
    """Raises: CheckpointError or SettingsError if the folder does not hold a search of that."""
    is_run = is_held(folder / LOCK)  # before the look, so that one at its end is seen whole
    search = open_search(folder, trainable, None, {}, None)
    record = Record(search.folder, trainable, search.space.metric, search.space.keep)
    path = folder / JOURNAL
    events = read_events(path)  # first: of a search that runs, the state may know more by then
    state = search_state(search, record, AsTold(), _behind_its_first_lines(path))
    state.redo()
    return History(search, state, events, _read_confirmation(search, record), is_run)


def _read_confirmation(search: Search, record: Record) -> Confirmation | None:
    how = search.space.confirm
    path = search.folder / "confirm" / JOURNAL
    if how is None or not path.exists():
        return None
    confirmation = Confirmation(record, how, fresh_seeds(search.space, search.base, how.seeds))
    if read_events(path)[:1] != [confirmation.first_line()]:
        return None  # it confirmed others, before the search went on
    journal = _behind_its_first_lines(path)
    confirmation_state(search, confirmation, AsTold(), journal).redo()
    return confirmation


def _behind_its_first_lines(path: Path) -> Journal:
    """Behind those that tell what is searched, on which data."""
    journal = Journal(path)
    for event in read_events(path):
        if event["event"] in ("search", "data", "confirm"):
            journal.write(event)  # as it is there already, it is only passed over
    return journal
