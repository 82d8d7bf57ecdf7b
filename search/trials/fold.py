"""The state of a search: it changes only by events, and contains no rules."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kptrain.config import Settings
from kptrain.errors import SettingsError
from search.algorithms.asha import Asha
from search.algorithms.source import Source
from search.journal import events
from search.journal.reasons import Cause, EndReason, Failed, Reason
from search.space.budget import Spending
from search.space.pace import Seconds
from search.space.training import Report
from search.trials.record import Record, State, TrialRecord


class News(NamedTuple):
    """What happened to a trial."""

    trial: TrialRecord
    what: str
    """`started`, `epoch`, `paused`, `retry` or `ended`."""
    reason: Reason | None = None


class Parts(NamedTuple):
    """What a state consists of before any event."""

    record: Record
    source: Source
    asha: Asha
    spending: Spending
    configure: Callable[[int, Mapping[str, Any]], Settings]
    """Returns all settings of a trial, from its number and its varied settings."""


class StateFromEvents:
    """Applies events in order, as they happen or as a journal holds them."""

    def __init__(self, parts: Parts) -> None:
        self.record, self._source, self.asha, self.spending, self._configure = parts
        self.clock = self.spending.clock
        self.interrupted: EndReason | None = None
        """Why all trials end after their current epoch although there is work left."""
        self.running: set[int] = set()
        """Trials that run or are about to start."""
        self.expected: Seconds | None = None
        """The estimated time of all trials; None if it was not estimated."""
        self.wandb_ids: dict[int, str] = {}
        self._is_closed = False
        self._to_resume: list[int] = []
        """Trials to resume, in this order."""
        self._num_lost: dict[int, int] = {}
        self._too_small: dict[int, list[float]] = {}
        """Shares of a GPU with which a trial ran out of memory."""
        self._shares: dict[int, float] = {}
        self._rooms: dict[int, int] = {}
        self._not_before: dict[int, float] = {}
        self._news: list[News] = []

    def replay(self, path: Path, lines: Iterable[Mapping[str, Any]]) -> bool:
        """Apply the events of a journal and set the clock by them; returns whether there were any.

        Raises: CheckpointError naming the invalid line.
        """
        has_events = False
        for number, line in enumerate(lines, 1):
            if line.get("event") not in events.FIRST_LINES:
                self._replay(events.read_event(dict(line), path, number), path, number)
                has_events = True
        self._news.clear()
        return has_events

    def _replay(self, event: events.Event, path: Path, line: int) -> None:
        self.clock.set(event.at)
        try:
            self.check(event)
            self.apply(event)
        except (ValueError, SettingsError) as error:
            raise events.bad_line(path, line, str(error)) from None

    def check(self, event: events.Event) -> None:
        """Raises: ValueError if an event cannot happen in this state."""
        trials = self.record.trials
        if isinstance(event, events.Begin):
            _must(event.trial == len(trials), f"trial must be {len(trials)}", event.trial)
            return
        if isinstance(event, events.TrialEvent):
            rule = f"trial must be one that has begun, below {len(trials)}"
            _must(event.trial < len(trials), rule, event.trial)
        if isinstance(event, events.Start | events.Epoch):
            _must(event.trial in self.running, "trial must be one that runs", event.trial)
        match event:
            case events.Epoch():
                self._check_report(event)
            case events.Promote():
                is_paused = event.trial in self.asha.paused(event.rung)
                rule = f"trial must be paused at the rung of epoch {event.rung}"
                _must(is_paused, rule, event.trial)
            case events.ResumeTrial():
                _must(event.trial in self._to_resume, "trial must be one to resume", event.trial)

    def _check_report(self, event: events.Epoch) -> None:
        following = len(self.record.trials[event.trial].curve) + 1
        epoch, name = event.report.get("epoch"), self.record.metric.name
        rule = f"report.epoch must be {following}, the next of trial {event.trial}"
        _must(type(epoch) is int and epoch == following, rule, epoch)
        value = event.report.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        _must(is_number, f"report.{name} must be a number", value)
        for number in event.arrival.out if event.arrival else ():
            has_begun = number < len(self.record.trials)
            _must(has_begun, "arrival.out must name trials that have begun", number)

    # Changes.

    def apply(self, event: events.Event) -> None:
        """Change the state as an event says."""
        match event:
            case events.Begin():
                self._begin(event)
            case events.Promote():
                self.asha.take(event.trial, event.rung)
                self._resume_trial(event.trial, event.promised)
            case events.ResumeTrial():
                self._to_resume.remove(event.trial)
                self._resume_trial(event.trial, event.promised)
            case events.Start():
                self.spending.start(event.trial, event.gpu)
                self.record.set_state(event.trial, "running")
                self._add_news(event.trial, "started")
            case events.Epoch():
                self._epoch(event)
            case events.Fail():
                self._fail(event)
            case events.Interrupt():
                self.interrupted = event.reason
            case events.Close():
                self._close()
            case events.ResumeSearch():
                self._resume(event)

    def _begin(self, event: events.Begin) -> None:
        config = self._configure(event.trial, event.settings)
        self._source.take(event.trial, event.settings, event.sampler)
        self.record.add(event.settings, config)
        self.wandb_ids[event.trial] = event.wandb_id
        self.spending.begin(event.trial, event.promised)
        self._run(event.trial)

    def _resume_trial(self, number: int, promised: int) -> None:
        self.spending.resume_trial(number, promised)
        self.record.set_state(number, "waiting")
        self._run(number)

    def _run(self, number: int) -> None:
        self.running.add(number)
        self._is_closed = False  # a finished search was resumed

    def _epoch(self, event: events.Epoch) -> None:
        number, value = event.trial, self.value(event.report)
        self.spending.spend_epoch(number, event.promised)
        self.record.report(number, event.report, event.host, event.device)
        if event.state != "completed":  # the last epoch has no rung
            self.asha.record(number, self.signed(value), event.arrival)
        self._source.report(number, event.report["epoch"], value)
        self._add_news(number, "epoch")
        if event.state == "paused":
            self._release(number)
            self.record.set_state(number, "paused")
            self._add_news(number, "paused")
        elif event.state != "running":
            self._end(number, event.state, event.reason)
        for other in event.arrival.out if event.arrival else ():
            if self.record.trials[other].state == "paused":
                self._end(other, "stopped")

    def _fail(self, event: events.Fail) -> None:
        number, onward = event.trial, event.onward
        reason = self.why_failed(number, event.error, event.cause, event.gpu)
        self._num_lost[number] = max(reason.num_lost, self._num_lost.get(number, 0))
        self._too_small[number] = reason.shares or self._too_small.get(number, [])
        if onward is None:
            self.asha.forget(number)
            self._end(number, "failed", reason)
            self.interrupted = event.ends or self.interrupted
            return
        self._shares |= {} if onward.share is None else {number: onward.share}
        self._rooms |= {} if onward.room is None else {number: onward.room}
        self._not_before[number] = onward.not_before
        self.spending.release(number)
        self.running.discard(number)
        self.record.set_state(number, "waiting")
        self._to_resume.append(number)
        self._add_news(number, "retry", reason)

    def why_failed(self, number: int, error: str, cause: Cause, gpu: float) -> Failed:
        """The reason of a failure that happens now, with all attempts so far."""
        if cause == "memory":
            shares = [*self._too_small.get(number, []), *([gpu] if gpu else [])]
            return Failed(error=error, cause=cause, shares=shares)
        is_lost = cause in ("lost", "node_memory")  # Ray ends any process of a full node
        num_lost = self._num_lost.get(number, 0) + 1 if is_lost else 0
        return Failed(error=error, cause=cause, num_lost=num_lost)

    def _close(self) -> None:
        self._is_closed = True
        self.asha.close()
        for trial in self.record.trials:
            if trial.state == "paused":
                self._end(trial.number, "stopped")

    def _resume(self, event: events.ResumeSearch) -> None:
        self.interrupted = None
        self.running.clear()
        self._not_before.clear()
        self.spending.budget = event.budget
        under_way = [t for t in self.record.trials if t.state in ("waiting", "running")]
        interrupted = [t for t in self.record.trials if t.state == "interrupted"]
        for trial in under_way:
            self.spending.release(trial.number)
            self.record.set_state(trial.number, "waiting")
        # Trials with epochs reserved come first.
        self._to_resume = [trial.number for trial in [*under_way, *interrupted]]

    def _end(self, number: int, ending: State, reason: Reason | None = None) -> None:
        trial = self.record.trials[number]
        self._release(number)
        self.record.set_state(number, ending, reason)
        if ending in ("completed", "stopped", "failed"):
            self._source.finish(number, ending, trial.best())
        self._add_news(number, "ended", reason)

    def _release(self, number: int) -> None:
        self.spending.end(number)
        self.running.discard(number)

    def _add_news(self, number: int, what: str, reason: Reason | None = None) -> None:
        self._news.append(News(self.record.trials[number], what, reason))

    # Queries.

    def has_work(self) -> bool:
        """Whether the search is not finished, or could run more trials or epochs."""
        may_resume_trial = any(self.may_resume_trial(number) for number in self._to_resume)
        return not self._is_closed or may_resume_trial or self.spending.may_begin()

    def may_resume_trial(self, number: int) -> bool:
        """Whether the budget has an epoch for a trial to resume."""
        return number in self.spending.promised or self.spending.may_resume()

    def share(self, number: int, gpu: float) -> float:
        """The share of a GPU that a trial needs, if ordinary trials hold `gpu`; 0 on CPUs."""
        return max(self._shares.get(number, gpu), gpu) if gpu else 0.0

    def room(self, number: int) -> int:
        """How many times the resources of an ordinary trial it needs, after its node was full."""
        return self._rooms.get(number, 1)

    def value(self, report: Report) -> float:
        """The metric's value in a report."""
        value: float = report[self.record.metric.name]
        return value

    def signed(self, value: float) -> float:
        """The value as ASHA needs it: lower is better."""
        return self.record.metric.cost(value)

    def pop_news(self) -> list[News]:
        """The news since the last call."""
        news, self._news = self._news, []
        return news


def _must(holds: bool, rule: str, given: object) -> None:
    if not holds:
        raise ValueError(f"{rule}, but got {given!r}")
