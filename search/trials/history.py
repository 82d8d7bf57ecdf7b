"""The history of a search, read from the journals in its folder; nothing is written there.

The search may be running, killed or finished. Everything follows from the events of the journal,
whatever rules decided them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kptrain.machine.locks import is_held
from search.algorithms.source import Source
from search.journal.journal import JOURNAL, Line, read_events
from search.space.training import Trainable
from search.trials.assembly import parts_of_confirmation, parts_of_search
from search.trials.confirmation import Confirmation, fresh_seeds
from search.trials.fold import StateFromEvents
from search.trials.record import Record, TrialRecord
from search.trials.run_folder import LOCK, Search, open_search


@dataclass(frozen=True)
class Span:
    """A period in which a trial had a process."""

    trial: int
    place: str
    """Host and device."""
    share: float
    """The share of a GPU."""
    begin: float
    end: float
    """Seconds of the search's clock, which stops while no command runs."""


@dataclass(frozen=True)
class History:
    search: Search
    state: StateFromEvents
    events: list[Line]
    confirmation: Confirmation | None
    """None if the confirmation has not begun, or was of other trials."""
    is_run: bool
    """Whether a command was running the search when the history was read."""

    @property
    def record(self) -> Record:
        return self.state.record

    def leader(self) -> TrialRecord | None:
        """The best trial; if the search has work left, it may be one that has not ended."""
        return self.record.front_runner() if self.state.has_work() else self.record.leader()

    def spans(self) -> list[Span]:
        """The periods in which each trial had a process; one that still runs ends now."""
        spans: list[Span] = []
        begun: dict[int, Line] = {}
        for event in self.events:
            number = event.get("trial")
            has_ended = event["event"] == "fail" or event.get("state", "running") != "running"
            if event["event"] == "start":
                begun[event["trial"]] = event
            elif event["event"] == "resume":
                spans += [self._span(start, event["at"]) for start in begun.values()]
                begun.clear()
            elif has_ended and number in begun:
                spans.append(self._span(begun.pop(number), event["at"]))
        now = self.state.clock.now
        return [*spans, *(self._span(start, now) for start in begun.values())]

    def _span(self, start: Line, end: float) -> Span:
        trial = self.record.trials[start["trial"]]
        place = f"{trial.host} {trial.device}".strip()
        return Span(trial.number, place, start["gpu"], start["at"], end)


def read_history(folder: Path, trainable: Trainable[Any]) -> History:
    """Raises: CheckpointError or SettingsError if the folder holds no search of `trainable`."""
    is_run = is_held(folder / LOCK)  # checked first, so that a finished search is read to its end
    search = open_search(folder, trainable, None, {}, None)
    record = Record(search.folder, trainable, search.space.metric, search.space.keep)
    events = read_events(folder / JOURNAL)
    state = StateFromEvents(parts_of_search(search, record, Source()))
    state.replay(folder / JOURNAL, events)
    return History(search, state, events, _read_confirmation(search, record), is_run)


def _read_confirmation(search: Search, record: Record) -> Confirmation | None:
    confirm = search.space.confirm
    path = search.folder / "confirm" / JOURNAL
    if confirm is None or not path.exists():
        return None
    events = read_events(path)
    seeds = fresh_seeds(search.space, search.base, confirm.seeds)
    confirmation = Confirmation(record, confirm, seeds)
    if events[:1] != [confirmation.first_line()]:
        return None  # it confirmed other trials, before the search was resumed
    parts = parts_of_confirmation(search, confirmation, Source())
    StateFromEvents(parts).replay(path, events)
    return confirmation
