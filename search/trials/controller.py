"""The controller of a search: each transition is decided, written to the journal, then applied.

The backend asks which trial runs next, and reports what happens to each. An event is on disk before
it is applied; the state depends only on the events (`search.trials.fold`). This module does not
know Ray, and of the disk only the journal.
"""

from collections.abc import Callable

from search.journal import events
from search.journal.journal import Journal
from search.journal.reasons import Cause, EndReason, Failed, SameFailure, Signal, Spent
from search.space.budget import Budget, Part
from search.space.training import Report
from search.trials.fold import Parts, StateFromEvents

MOST_LOST = 3
"""How often a trial's process or node may die before the trial has failed."""
PAUSES = (2.0, 15.0, 60.0)
"""Seconds before each retry of a trial whose node was full, as other processes may fill it."""
ALIKE = 3
"""The search ends if so many first trials fail for the same reason, before any epoch."""


class SearchState(StateFromEvents):
    """Decides which trial runs next and what happens to each, and records it."""

    def __init__(
        self, parts: Parts, journal: Journal, *, ends_on_same_failure: bool = True
    ) -> None:
        """ends_on_same_failure: whether the search ends when the first trials all fail for the same
        reason."""
        super().__init__(parts)
        self.ended = False
        """Whether nothing was left to run at the last call of `next_trial`."""
        self._journal = journal
        self._ends_on_same_failure = ends_on_same_failure

    def read_back(self) -> bool:
        """Apply what the journal holds; returns whether there was any event.

        Raises: CheckpointError naming the invalid line.
        """
        return self.replay(self._journal.path, self._journal.written)

    # What the backend asks and reports.

    def next_trial(self, new_id: Callable[[], str]) -> int | None:
        """The number of the trial that runs next; None if there is none now (see `ended`).

        new_id: creates an id for a run at Weights & Biases.
        """
        self.clock.tick()
        event = None if self.interrupted else self._next(new_id)
        if event is not None:
            self._happen(event)
            return event.trial
        # A trial that ends early may release epochs for the next one.
        waits = any(
            self.may_resume_trial(number) and self._must_wait(number) for number in self._to_resume
        )
        self.ended = not self.running and (self.interrupted is not None or not waits)
        return None

    def start(self, number: int, gpu: float) -> None:
        """A trial's process has started, and holds a share of a GPU from now on."""
        self.clock.tick()
        self._happen(events.Start(at=self.clock.now, trial=number, gpu=gpu))

    def report(self, number: int, report: Report, host: str, device: str) -> bool:
        """A trial has finished its next epoch; returns whether it keeps running."""
        self.clock.tick()
        part, promised = self.spending.decide_epoch(number)
        arrival = None
        if report["epoch"] < self.record.trials[number].epochs:  # a trial's last one is no rung
            arrival = self.asha.decide(number, report["epoch"], self.signed(self.value(report)))
        state, reason = self._judge(number, report, arrival, part)
        event = events.Epoch(
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
        """A trial's process ended with an error, or was lost; gpu: the share that it held."""
        self.clock.tick()
        reason = self.why_failed(number, error, cause, gpu)
        onward = self._onward(number, reason, gpu)
        event = events.Fail(
            at=self.clock.now,
            trial=number,
            error=error,
            cause=cause,
            gpu=gpu,
            onward=onward,
            ends=self._same_failure(reason)
            if onward is None and self._ends_on_same_failure
            else None,
        )
        self._happen(event)

    def interrupt(self, signal: str) -> None:
        """Let every trial end after its current epoch; the search can be resumed.

        signal: its name, such as `SIGINT`."""
        self.clock.tick()
        self._happen(events.Interrupt(at=self.clock.now, reason=Signal(name=signal)))

    def close(self) -> None:
        """The search is finished: trials that are paused at a rung are stopped."""
        self.clock.tick()
        self._happen(events.Close(at=self.clock.now))

    def resume(self, budget: Budget) -> None:
        """Another command resumes the search, maybe with another budget."""
        self.clock.set(self.clock.now)
        parts = Budget(**budget.model_dump(include=set(Budget.model_fields)))
        self._happen(events.ResumeSearch(at=self.clock.now, budget=parts))
        self.ended = False

    def _happen(self, event: events.Event) -> None:
        """Write an event to disk, then apply it."""
        self.check(event)
        self._journal.write(events.as_line(event))
        self.apply(event)

    # Decisions.

    def _next(
        self, new_id: Callable[[], str]
    ) -> events.ResumeTrial | events.Promote | events.Begin | None:
        """The trial that runs next."""
        now, spending = self.clock.now, self.spending
        for number in self._to_resume:  # one that exceeds the budget now may fit later
            if self.may_resume_trial(number) and not self._must_wait(number):
                return events.ResumeTrial(
                    at=now, trial=number, promised=spending.promised.get(number, 1)
                )
        if spending.may_resume():
            last_call = not self.running and not spending.may_begin()
            if (promotion := self.asha.next(last_call=last_call)) is not None:
                number, rung = promotion
                promised = spending.promised.get(number, 1)
                return events.Promote(at=now, trial=number, rung=rung, promised=promised)
        return self._new(new_id()) if spending.may_begin() else None

    def _new(self, wandb_id: str) -> events.Begin:
        number = len(self.record.trials)
        settings = self._source.propose(number)
        self._configure(number, settings)  # raises before it is written
        return events.Begin(
            at=self.clock.now,
            trial=number,
            settings=settings,
            wandb_id=wandb_id,
            promised=self.spending.grace_epochs,
            sampler=self._source.memory(),
        )

    def _must_wait(self, number: int) -> bool:
        """Whether the pause after its node was full has not ended."""
        return self._not_before.get(number, 0.0) > self.clock.now

    def _judge(
        self, number: int, report: Report, arrival: events.Arrival | None, part: Part | None
    ) -> tuple[events.NextState, EndReason | None]:
        """The state of a trial after an epoch, and the reason; part: of the budget, if it is
        spent."""
        if report["epoch"] == self.record.trials[number].epochs:
            return "completed", None
        if arrival is not None and not arrival.goes_on:
            return ("stopped" if number in arrival.out else "paused"), None
        reason = self.interrupted
        if part is not None:
            reason = Spent(part=part, value=getattr(self.spending.budget, part))
        return ("running" if reason is None else "interrupted"), reason

    def _onward(self, number: int, reason: Failed, gpu: float) -> events.Retry | None:
        """How a failed trial is resumed; None if it is not."""
        now = self.clock.now
        if reason.cause == "memory":
            can_grow = number not in self._shares and 0 < gpu < 1
            return (
                events.Retry(share=min(2 * gpu, 1.0), room=None, not_before=now)
                if can_grow
                else None
            )
        if not 0 < reason.num_lost <= MOST_LOST:
            return None
        if reason.cause == "lost":
            return events.Retry(share=None, room=None, not_before=now)
        not_before = now + PAUSES[reason.num_lost - 1]
        return events.Retry(share=None, room=2 * self.room(number), not_before=not_before)

    def _same_failure(self, last: Failed) -> SameFailure | None:
        """The reason if the first trials all failed for the same one, before any epoch."""
        trials = self.record.trials
        failed = [trial.reason for trial in trials if trial.state == "failed"]
        if len(failed) + 1 < ALIKE or any(trial.curve for trial in trials):
            return None
        if any(not (isinstance(one, Failed) and one.is_like(last)) for one in failed):
            return None
        return SameFailure(count=ALIKE, error=last.error)
