"""What happened in a search, read from the journals in its folder alone; nothing is written there.

It may run, have been killed, or be at its end: all that it came to follows from the events that the
journal holds, whatever rules they were decided by.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kptrain.machine.locks import is_held
from search.journal.journal import JOURNAL, Line, read_events
from search.space.training import Trainable
from search.trials.assembly import confirmation_as_told, search_as_told
from search.trials.confirmation import Confirmation, fresh_seeds
from search.trials.fold import Fold
from search.trials.record import Record
from search.trials.run_folder import LOCK, Search, open_search


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
    state: Fold
    events: list[Line]
    confirmation: Confirmation | None
    """None where none of these trials was begun."""
    is_run: bool
    """Whether a command worked on it when it was read."""

    @property
    def record(self) -> Record:
        return self.state.record

    def spans(self) -> list[Span]:
        """When each trial had a process; one that has it still, until now."""
        spans: list[Span] = []
        begun: dict[int, Line] = {}
        for event in self.events:
            number = event.get("trial")
            has_let_go = event["event"] == "fail" or event.get("state", "running") != "running"
            if event["event"] == "start":
                begun[event["trial"]] = event
            elif event["event"] == "resume":
                spans += [self._span(start, event["at"]) for start in begun.values()]
                begun.clear()
            elif has_let_go and number in begun:
                spans.append(self._span(begun.pop(number), event["at"]))
        now = self.state.clock.now
        return [*spans, *(self._span(start, now) for start in begun.values())]

    def _span(self, start: Line, end: float) -> Span:
        trial = self.record.trials[start["trial"]]
        place = f"{trial.host} {trial.device}".strip()
        return Span(trial.number, place, start["gpu"], start["at"], end)


def read_history(folder: Path, trainable: Trainable[Any]) -> History:
    """Raises: CheckpointError or SettingsError if the folder does not hold a search of that."""
    is_run = is_held(folder / LOCK)  # before the look, so that one at its end is seen whole
    search = open_search(folder, trainable, None, {}, None)
    record = Record(search.folder, trainable, search.space.metric, search.space.keep)
    events = read_events(folder / JOURNAL)
    state = search_as_told(search, record)
    state.follow(folder / JOURNAL, events)
    return History(search, state, events, _read_confirmation(search, record), is_run)


def _read_confirmation(search: Search, record: Record) -> Confirmation | None:
    how = search.space.confirm
    path = search.folder / "confirm" / JOURNAL
    if how is None or not path.exists():
        return None
    events = read_events(path)
    seeds = fresh_seeds(search.space, search.base, how.seeds)
    confirmation = Confirmation(record, how, seeds)
    if events[:1] != [confirmation.first_line()]:
        return None  # it confirmed others, before the search went on
    confirmation_as_told(search, confirmation).follow(path, events)
    return confirmation
