"""What a search has come to: it changes by events alone, and asks no rule of its own."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kptrain.config import Settings
from kptrain.errors import SettingsError
from search.algorithms.asha import Asha
from search.journal.events import (
    HEADS,
    Again,
    Begin,
    Close,
    Epoch,
    Event,
    Fail,
    Interrupt,
    OfTrial,
    Promote,
    Resume,
    Start,
    misplaced,
    read_event,
)
from search.journal.reasons import Cause, Ended, Failed, Reason
from search.space.budget import Spending
from search.space.pace import Seconds
from search.space.training import Report
from search.trials.proposals import Source
from search.trials.record import Record, State, TrialRecord


class News(NamedTuple):
    """What happened to a trial."""

    trial: TrialRecord
    what: str
    """`started`, `epoch`, `paused`, `retry` or `ended`."""
    reason: Reason | None = None


class Fold:
    """Told one event after the other, as they happen or as a journal has them."""

    def __init__(
        self,
        record: Record,
        source: Source,
        asha: Asha,
        spending: Spending,
        configure: Callable[[int, Mapping[str, Any]], Settings],
    ) -> None:
        """configure: all settings of a trial, by its number and what is varied."""
        self.record = record
        self.asha = asha
        self.spending = spending
        self.clock = spending.clock
        self.interrupted: Ended | None = None
        """Why no trial may go on beyond its epoch, though there is more to be done."""
        self.running: set[int] = set()
        """Trials that are running, or about to."""
        self.expected: Seconds | None = None
        """How long all trials take, as it was estimated; None where it was not."""
        self.wandb_ids: dict[int, str] = {}
        self._source = source
        self._configure = configure
        self._is_closed = False
        self._again: list[int] = []
        """Trials that are to run again, in this order."""
        self._num_lost: dict[int, int] = {}
        self._too_small: dict[int, list[float]] = {}
        """Shares of a GPU with which a trial ran out of its memory."""
        self._shares: dict[int, float] = {}
        self._rooms: dict[int, int] = {}
        self._not_before: dict[int, float] = {}
        self._news: list[News] = []

    def follow(self, path: Path, lines: Iterable[Mapping[str, Any]]) -> bool:
        """Apply what a journal holds, and set the clock by it; whether there was anything.

        Raises: CheckpointError naming the line that cannot be.
        """
        found = False
        for number, line in enumerate(lines, 1):
            if line.get("event") not in HEADS:
                self._follow(read_event(dict(line), path, number), path, number)
                found = True
        self._news.clear()
        return found

    def _follow(self, event: Event, path: Path, line: int) -> None:
        self.clock.set(event.at)
        try:
            self.check(event)
            self.apply(event)
        except (ValueError, SettingsError) as error:
            raise misplaced(path, line, str(error)) from None

    def check(self, event: Event) -> None:
        """Raises: ValueError if it cannot happen next."""
        trials = self.record.trials
        if isinstance(event, Begin):
            _must(event.trial == len(trials), f"trial must be {len(trials)}", event.trial)
            return
        if isinstance(event, OfTrial):
            rule = f"trial must be one that has begun, below {len(trials)}"
            _must(event.trial < len(trials), rule, event.trial)
        match event:
            case Start() | Epoch():
                runs = event.trial in self.running
                _must(runs, "trial must be one that runs", event.trial)
        match event:
            case Epoch():
                self._check_report(event)
            case Promote():
                waits = event.trial in self.asha.waiting(event.rung)
                rule = f"trial must wait at the rung of epoch {event.rung}"
                _must(waits, rule, event.trial)
            case Again():
                _must(event.trial in self._again, "trial must be one to run again", event.trial)

    def _check_report(self, event: Epoch) -> None:
        following = len(self.record.trials[event.trial].curve) + 1
        epoch, name = event.report.get("epoch"), self.record.metric.name
        rule = f"report.epoch must be {following}, the next of trial {event.trial}"
        _must(type(epoch) is int and epoch == following, rule, epoch)
        value = event.report.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        _must(is_number, f"report.{name} must be a number", value)
        for number in event.arrival.out if event.arrival else ():
            known = number < len(self.record.trials)
            _must(known, "arrival.out must name trials that have begun", number)

    # How it changes.

    def apply(self, event: Event) -> None:
        """Do what was decided."""
        match event:
            case Begin():
                self._begin(event)
            case Promote():
                self.asha.take(event.trial, event.rung)
                self._take_up(event.trial, event.promised)
            case Again():
                self._again.remove(event.trial)
                self._take_up(event.trial, event.promised)
            case Start():
                self.spending.start(event.trial, event.gpu)
                self.record.start(event.trial)
                self._tell(event.trial, "started")
            case Epoch():
                self._epoch(event)
            case Fail():
                self._fail(event)
            case Interrupt():
                self.interrupted = event.reason
            case Close():
                self._close()
            case Resume():
                self._resume(event)

    def _begin(self, event: Begin) -> None:
        config = self._configure(event.trial, event.settings)
        self._source.take(event.trial, event.settings, event.sampler)
        self.record.add(event.settings, config)
        self.wandb_ids[event.trial] = event.wandb_id
        self.spending.begin(event.trial, event.promised)
        self._run(event.trial)

    def _take_up(self, number: int, promised: int) -> None:
        self.spending.take_up(number, promised)
        self.record.wait(number)
        self._run(number)

    def _run(self, number: int) -> None:
        self.running.add(number)
        self._is_closed = False  # a search at its end has been gone on with

    def _epoch(self, event: Epoch) -> None:
        number, value = event.trial, self.value(event.report)
        self.spending.spend_epoch(number, event.promised)
        self.record.report(number, event.report, event.host, event.device)
        if event.state != "completed":  # there is no rung at the end of a training
            self.asha.tell(number, self.signed(value), event.arrival)
        self._source.report(number, event.report["epoch"], value)
        self._tell(number, "epoch")
        if event.state == "paused":
            self._let_go(number)
            self.record.pause(number)
            self._tell(number, "paused")
        elif event.state != "running":
            self._end(number, event.state, event.reason)
        for other in event.arrival.out if event.arrival else ():
            if self.record.trials[other].state == "paused":
                self._end(other, "stopped")

    def _fail(self, event: Fail) -> None:
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
        self.record.wait(number)
        self._again.append(number)
        self._tell(number, "retry", reason)

    def why_failed(self, number: int, error: str, cause: Cause, gpu: float) -> Failed:
        """Of a trial that fails now: what it said, and what was tried with it, this time too."""
        if cause == "memory":
            shares = [*self._too_small.get(number, []), *([gpu] if gpu else [])]
            return Failed(error=error, cause=cause, shares=shares)
        is_lost = cause in ("lost", "node_memory")  # whose process Ray ends then is chance
        num_lost = self._num_lost.get(number, 0) + 1 if is_lost else 0
        return Failed(error=error, cause=cause, num_lost=num_lost)

    def _close(self) -> None:
        self._is_closed = True
        self.asha.close()
        for trial in self.record.trials:
            if trial.state == "paused":
                self._end(trial.number, "stopped")

    def _resume(self, event: Resume) -> None:
        self.interrupted = None
        self.running.clear()
        self._not_before.clear()
        self.spending.budget = event.budget
        under_way = [t for t in self.record.trials if t.state in ("waiting", "running")]
        put_down = [t for t in self.record.trials if t.state == "interrupted"]
        for trial in under_way:
            self.spending.release(trial.number)
            self.record.wait(trial.number)
        # Those that were promised their next epoch go first.
        self._again = [trial.number for trial in [*under_way, *put_down]]

    def _end(self, number: int, ending: State, reason: Reason | None = None) -> None:
        trial = self.record.trials[number]
        self._let_go(number)
        self.record.end(number, ending, reason)
        if ending in ("completed", "stopped", "failed"):
            self._source.finish(number, ending, trial.best())
        self._tell(number, "ended", reason)

    def _let_go(self, number: int) -> None:
        self.spending.end(number)
        self.running.discard(number)

    def _tell(self, number: int, what: str, reason: Reason | None = None) -> None:
        self._news.append(News(self.record.trials[number], what, reason))

    # What may be asked.

    def has_work(self) -> bool:
        """Whether there is anything left to be run, or told the end of."""
        may_go_on = any(self.may_go_on(number) for number in self._again)
        return not self._is_closed or may_go_on or self.spending.may_begin()

    def may_go_on(self, number: int) -> bool:
        """Whether the budget has epochs for a trial that waits to run again."""
        return number in self.spending.promised or self.spending.may_take_up()

    def share(self, number: int, gpu: float) -> float:
        """What a trial holds of a GPU where each other one holds `gpu`; nothing on CPUs."""
        return max(self._shares.get(number, gpu), gpu) if gpu else 0.0

    def room(self, number: int) -> int:
        """How many times what another one holds of a node a trial does, as the node was full."""
        return self._rooms.get(number, 1)

    def value(self, report: Report) -> float:
        """Of the metric."""
        value: float = report[self.record.metric.name]
        return value

    def signed(self, value: float) -> float:
        """As ASHA takes it: lower is better."""
        return self.record.metric.cost(value)

    def pop_news(self) -> list[News]:
        """What happened to which trial, since this was asked last."""
        news, self._news = self._news, []
        return news


def _must(holds: bool, rule: str, given: object) -> None:
    if not holds:
        raise ValueError(f"{rule}, but got {given!r}")
