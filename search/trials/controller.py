"""What a search does next: each transition is decided, written to the journal, then applied.

Ray's side asks which trial runs next, and tells whatever becomes of each. An event is on the disk
before anyone acts on it; the state of a search follows from its events alone
(`search.trials.fold`).
Knows nothing of Ray, and of the disk only the journal.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kptrain.config import Settings
from search.algorithms.asha import Asha
from search.journal.events import (
    Again,
    Arrival,
    Begin,
    Close,
    Decided,
    Epoch,
    Event,
    Fail,
    Interrupt,
    Onward,
    Promote,
    Resume,
    Start,
    as_line,
)
from search.journal.journal import Journal
from search.journal.reasons import Alike, Cause, Ended, Failed, Signal, Spent
from search.space.budget import Budget, Part, Spending
from search.space.training import Report
from search.trials.fold import Fold
from search.trials.proposals import Source
from search.trials.record import Record

MOST_LOST = 3
"""Processes and nodes that may die under one trial before it has failed."""
PAUSES = (2.0, 15.0, 60.0)
"""Seconds before each further try of a trial whose node was full, as others may fill it."""
ALIKE = 3
"""First trials that must fail alike, before any epoch of any, for the search to end."""


class SearchState(Fold):
    """Asked which trial runs next, and told whatever becomes of each."""

    def __init__(
        self,
        record: Record,
        source: Source,
        asha: Asha,
        spending: Spending,
        configure: Callable[[int, Mapping[str, Any]], Settings],
        journal: Journal,
        *,
        ends_if_alike: bool = True,
    ) -> None:
        """configure: all settings of a trial, by its number and what is varied; ends_if_alike:
        whether the search ends when the first trials all fail for the same reason."""
        super().__init__(record, source, asha, spending, configure)
        self.ended = False
        """Whether nothing is left to be run, since `next_trial` was last asked."""
        self._journal = journal
        self._ends_if_alike = ends_if_alike

    def read_back(self) -> bool:
        """Apply what the journal holds; whether there was anything.

        Raises: CheckpointError naming the line that cannot be.
        """
        return self.follow(self._journal.path, self._journal.written)

    # What Tune asks and tells.

    def next_trial(self, new_id: Callable[[], str]) -> int | None:
        """The number of the trial that runs next; None if there is none, for now or at all.

        new_id: names a run at Weights & Biases.
        """
        self.clock.tick()
        event = None if self.interrupted else self._next(new_id)
        if event is not None:
            self._happen(event)
            return event.trial
        # A trial that ends may leave epochs to the next one.
        waits = any(self.may_go_on(number) and self._pauses(number) for number in self._again)
        self.ended = not self.running and (self.interrupted is not None or not waits)
        return None

    def start(self, number: int, gpu: float) -> None:
        """A trial's process is there, and holds a share of a GPU from now on."""
        self.clock.tick()
        self._happen(Start(at=self.clock.now, trial=number, gpu=gpu))

    def report(self, number: int, report: Report, host: str, device: str) -> bool:
        """A trial has trained its next epoch; whether it goes on at once."""
        self.clock.tick()
        part, promised = self.spending.decide_epoch(number)
        arrival = self._arrival(number, report)
        state, reason = self._judge(number, report, arrival, part)
        event = Epoch(
            at=self.clock.now,
            trial=number,
            report=report,
            host=host,
            device=device,
            state=state,
            reason=reason,
            promised=promised if state == "running" else 0,
            arrival=arrival,
        )
        self._happen(event)
        return state == "running"

    def fail(self, number: int, error: str, cause: Cause, gpu: float) -> None:
        """A trial's process ended with an error, or was lost; it held `gpu` of a GPU."""
        self.clock.tick()
        reason = self.why_failed(number, error, cause, gpu)
        onward = self._onward(number, reason, gpu)
        event = Fail(
            at=self.clock.now,
            trial=number,
            error=error,
            cause=cause,
            gpu=gpu,
            onward=onward,
            ends=self._alike(reason) if onward is None and self._ends_if_alike else None,
        )
        self._happen(event)

    def interrupt(self, signal: str) -> None:
        """Let every trial end after its current epoch; the search may be gone on with.

        signal: its name, such as `SIGINT`."""
        self.clock.tick()
        self._happen(Interrupt(at=self.clock.now, reason=Signal(name=signal)))

    def close(self) -> None:
        """The search has come to its end: what waits at a rung goes no further."""
        self.clock.tick()
        self._happen(Close(at=self.clock.now))

    def resume(self, budget: Budget) -> None:
        """Another command goes on with the search, maybe with another budget."""
        self.clock.set(self.clock.now)
        parts = Budget(**budget.model_dump(include=set(Budget.model_fields)))
        self._happen(Resume(at=self.clock.now, budget=parts))
        self.ended = False

    def _happen(self, event: Event) -> None:
        """Write it, on the disk when this returns, and apply it."""
        self.check(event)
        self._journal.write(as_line(event))
        self.apply(event)

    # What is decided.

    def _next(self, new_id: Callable[[], str]) -> Again | Promote | Begin | None:
        """The trial that runs next."""
        now, spending = self.clock.now, self.spending
        for number in self._again:  # one for which there is no room may have it later
            if self.may_go_on(number) and not self._pauses(number):
                return Again(at=now, trial=number, promised=spending.promised.get(number, 1))
        if spending.may_take_up():
            last_call = not self.running and not spending.may_begin()
            if (found := self.asha.next(last_call=last_call)) is not None:
                number, rung = found
                promised = spending.promised.get(number, 1)
                return Promote(at=now, trial=number, rung=rung, promised=promised)
        return self._new(new_id()) if spending.may_begin() else None

    def _new(self, wandb_id: str) -> Begin:
        number = len(self.record.trials)
        settings = self._source.propose(number)
        self._configure(number, settings)  # raises before it is written
        return Begin(
            at=self.clock.now,
            trial=number,
            settings=settings,
            wandb_id=wandb_id,
            promised=self.spending.grace_epochs,
            sampler=self._source.memory(),
        )

    def _pauses(self, number: int) -> bool:
        """Whether its node was full a moment ago."""
        return self._not_before.get(number, 0.0) > self.clock.now

    def _arrival(self, number: int, report: Report) -> Arrival | None:
        """What ASHA says, which is not asked about the last epoch of a training."""
        if report["epoch"] == self.record.trials[number].epochs:
            return None
        return self.asha.decide(number, report["epoch"], self.signed(self.value(report)))

    def _judge(
        self, number: int, report: Report, arrival: Arrival | None, part: Part | None
    ) -> tuple[Decided, Ended | None]:
        """What becomes of a trial after an epoch, and why; part: of the budget, that is spent."""
        if report["epoch"] == self.record.trials[number].epochs:
            return "completed", None
        if arrival is not None and not arrival.goes_on:
            return ("stopped" if number in arrival.out else "paused"), None
        reason = self.interrupted
        if part is not None:
            reason = Spent(part=part, value=getattr(self.spending.budget, part))
        return ("running" if reason is None else "interrupted"), reason

    def _onward(self, number: int, reason: Failed, gpu: float) -> Onward | None:
        """How a trial that fails goes on; None if it has failed for good."""
        now = self.clock.now
        if reason.cause == "memory":
            can_grow = number not in self._shares and 0 < gpu < 1
            return Onward(share=min(2 * gpu, 1.0), room=None, not_before=now) if can_grow else None
        if not 0 < reason.num_lost <= MOST_LOST:
            return None
        if reason.cause == "lost":
            return Onward(share=None, room=None, not_before=now)
        not_before = now + PAUSES[reason.num_lost - 1]
        return Onward(share=None, room=2 * self.room(number), not_before=not_before)

    def _alike(self, last: Failed) -> Alike | None:
        """Whether the first trials all failed, before any epoch, for one and the same reason."""
        trials = self.record.trials
        failed = [trial.reason for trial in trials if trial.state == "failed"]
        if len(failed) + 1 < ALIKE or any(trial.curve for trial in trials):
            return None
        if any(not (isinstance(one, Failed) and one.is_like(last)) for one in failed):
            return None
        return Alike(count=ALIKE, error=last.error)
