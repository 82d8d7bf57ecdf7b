"""What a search has come to, and what it does next: all of it follows from what it is told.

Each call that changes it is a line of the journal before anyone acts on what it answers. `redo`
makes the same calls from the lines of a journal, so a search that goes on is what it was. Knows
nothing of Ray, and of the disk only the journal.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from kptrain.config import Settings
from kptrain.errors import CheckpointError, KptrainError
from search.asha import Asha
from search.budget import Budget, Spending
from search.journal import Event, Journal
from search.pace import Seconds
from search.record import Record, State, TrialRecord
from search.searcher import Ending
from search.trainable import Report

Cause = Literal["memory", "node_memory", "lost", "own"]
"""Why a trial failed: it did not fit into its share of a GPU, its node's own memory was full, its
process or node died, or by itself."""
MOST_LOST = 3
"""Processes and nodes that may die under one trial before it has failed."""
PAUSES = (2.0, 15.0, 60.0)
"""Seconds before each further try of a trial whose node was full, as others may fill it."""
ALIKE = 3
"""First trials that must fail alike, before any epoch of any, for the search to end."""


class Source(Protocol):
    """Where the settings of trials come from; told what becomes of them."""

    def propose(self, number: int, known: Mapping[str, Any] | None = None, /) -> dict[str, Any]: ...
    def report(self, number: int, epoch: int, value: float, /) -> None: ...
    def finish(self, number: int, ending: Ending, best: float | None, /) -> None: ...


class SearchState:
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
        self.record = record
        self.asha = asha
        self.spending = spending
        self.clock = spending.clock
        self.ended = False
        """Whether nothing is left to be run."""
        self.interrupted = ""
        """Why no trial may go on beyond its epoch, though there is more to be done."""
        self.running: set[int] = set()
        """Trials that are running, or about to."""
        self.expected: Seconds | None = None
        """How long all trials take, as it was estimated; None where it was not."""
        self.wandb_ids: dict[int, str] = {}
        self._source = source
        self._configure = configure
        self._journal = journal
        self._ends_if_alike = ends_if_alike
        self._is_redone = False
        self._is_closed = False
        self._again: list[int] = []
        self._num_lost: dict[int, int] = {}
        self._shares: dict[int, float] = {}
        self._rooms: dict[int, int] = {}
        self._not_before: dict[int, float] = {}
        self._news: list[tuple[TrialRecord, str]] = []

    # What Tune asks and tells.

    def next_trial(self, new_id: Callable[[], str]) -> int | None:
        """The number of the trial that runs next; None if there is none, for now or at all.

        new_id: names a run at Weights & Biases.
        """
        self._tick()
        if not self.interrupted:
            for number in self._again:  # one for which there is no room may have it later
                if self._may_go_on(number) and not self._pauses(number):
                    return self._go_on(number)
            if (promoted := self._promote()) is not None:
                return promoted
            if self.spending.may_begin():
                number = len(self.record.trials)
                return self._begin(number, self._source.propose(number), new_id())
        # A trial that ends may leave epochs to the next one.
        waits = any(self._may_go_on(number) and self._pauses(number) for number in self._again)
        self.ended = not self.running and (bool(self.interrupted) or not waits)
        return None

    def start(self, number: int, gpu: float) -> None:
        """A trial's process is there, and holds a share of a GPU from now on."""
        self._tick()
        self._write("start", number, gpu=gpu)
        self.spending.start(number, gpu)
        self.record.start(number)
        self._tell(number, "started")

    def report(self, number: int, report: Report, host: str, device: str) -> bool:
        """A trial has trained its next epoch; whether it goes on at once."""
        self._tick()
        trial = self.record.trials[number]
        fate, why = self._judge(trial, report)
        out = self.asha.pop_out()
        self._write(
            "epoch",
            number,
            report=report,
            host=host,
            device=device,
            fate=fate,
            why=why,
            out=out,
        )
        self.record.report(number, report, host, device)
        self._source.report(number, report["epoch"], self._value(report))
        self._tell(number, "epoch")
        if fate == "paused":
            self._let_go(number)
            self.record.pause(number)
            self._tell(number, "paused")
        elif fate != "running":
            self._end(trial, fate, why)
        for other in out:  # these waited, and others at their rung are better
            if self.record.trials[other].state == "paused":
                self._end(self.record.trials[other], "stopped")
        return fate == "running"

    def fail(self, number: int, error: str, cause: Cause, gpu: float) -> None:
        """A trial's process ended with an error, or was lost; it held `gpu` of a GPU."""
        self._tick()
        trial = self.record.trials[number]
        is_lost = cause in ("lost", "node_memory")  # whose process Ray ends then is chance
        self._num_lost[number] = self._num_lost.get(number, 0) + is_lost
        goes_on = (
            number not in self._shares and 0 < gpu < 1
            if cause == "memory"
            else is_lost and self._num_lost[number] <= MOST_LOST
        )
        self._write("fail", number, error=error, cause=cause, gpu=gpu, goes_on=goes_on)
        if not goes_on:
            self.asha.forget(number)
            self._end(trial, "failed", error + self._tries(number, cause, gpu))
            if self._ends_if_alike and self._failed_alike():
                self.interrupted = f"the first {ALIKE} trials failed alike: {error}"
            return
        if cause == "memory":
            self._shares[number] = min(2 * gpu, 1.0)
        elif cause == "node_memory":
            self._rooms[number] = 2 * self.room(number)
            self._not_before[number] = self.clock.now + PAUSES[self._num_lost[number] - 1]
        self.spending.release(number)
        self.running.discard(number)
        self.record.wait(number)
        self._again.append(number)
        self._tell(number, f"goes on after epoch {len(trial.curve)}: {error}")

    def interrupt(self, why: str) -> None:
        """Let every trial end after its current epoch; the search may be gone on with."""
        self._tick()
        self._write("interrupt", why=why)
        self.interrupted = why

    def close(self) -> None:
        """The search has come to its end: what waits at a rung goes no further."""
        self._tick()
        self._write("close")
        self._is_closed = True
        self.asha.close()
        for trial in self.record.trials:
            if trial.state == "paused":
                self._end(trial, "stopped")

    def resume(self, budget: Budget) -> None:
        """Another command goes on with the search, maybe with another budget."""
        self.clock.set(self.clock.now)
        self._write("resume", budget=budget.model_dump(include=set(Budget.model_fields)))
        self.interrupted = ""
        self.ended = False
        self.running.clear()
        self._not_before.clear()
        self.spending.budget = budget
        under_way = [t for t in self.record.trials if t.state in ("waiting", "running")]
        put_down = [t for t in self.record.trials if t.state == "interrupted"]
        for trial in under_way:
            self.spending.release(trial.number)
            self.record.wait(trial.number)
        # Those that were promised their next epoch go first.
        self._again = [trial.number for trial in [*under_way, *put_down]]

    # What else may be asked.

    def has_work(self) -> bool:
        """Whether there is anything left to be run, or told the end of."""
        spending = self.spending
        may_go_on = any(self._may_go_on(number) for number in self._again)
        return not self._is_closed or may_go_on or spending.may_begin()

    def share(self, number: int, gpu: float) -> float:
        """What a trial holds of a GPU where each other one holds `gpu`; nothing on CPUs."""
        return max(self._shares.get(number, gpu), gpu) if gpu else 0.0

    def room(self, number: int) -> int:
        """How many times what another one holds of a node a trial does, as the node was full."""
        return self._rooms.get(number, 1)

    def pop_news(self) -> list[tuple[TrialRecord, str]]:
        """What happened to which trial, since this was asked last."""
        news, self._news = self._news, []
        return news

    def redo(self) -> bool:
        """Do again what the journal holds; whether there was anything.

        Raises: CheckpointError if it does not come out as it was.
        """
        self._is_redone = True
        try:
            found = self._redo_all()
        except KptrainError:
            raise
        except Exception as error:  # lines of another version do whatever they happen to say
            raise CheckpointError(
                f"{self._journal.path}: must be a journal of this version, but cannot be done "
                f"again ({type(error).__name__}: {error}); go on with the version that began it"
            ) from None
        finally:
            self._is_redone = False
        self._news.clear()
        return found

    def _redo_all(self) -> bool:
        found = False
        while (event := self._journal.next_written()) is not None:
            found = True
            self.clock.set(_number(event["at"]))
            self._redo(event)
        return found

    def _redo(self, event: Event) -> None:
        number = event.get("trial", 0)
        known = len(self.record.trials) + (event["event"] == "begin")
        if "trial" in event and (type(number) is not int or not 0 <= number < known):
            raise ValueError(f"trial {number!r}")
        match event["event"]:
            case "begin":
                known = event["settings"]
                self._begin(number, self._source.propose(number, known), event["wandb_id"])
            case "promote":
                self._promote(last_call=event["last_call"])
            case "again":
                self._go_on(number)
            case "start":
                self.start(number, _number(event["gpu"]))
            case "epoch":
                self.report(number, dict(event["report"]), event["host"], event["device"])
            case "fail":
                self.fail(number, event["error"], event["cause"], _number(event["gpu"]))
            case "interrupt":
                self.interrupt(event["why"])
            case "close":
                self.close()
            case "resume":
                self.resume(Budget(**event["budget"]))
            case other:
                raise ValueError(f"event {other!r}")

    # How it changes.

    def _begin(self, number: int, settings: dict[str, Any], wandb_id: str) -> int:
        config = self._configure(number, settings)
        self._write("begin", number, settings=settings, wandb_id=wandb_id)
        self.record.add(settings, config)
        self.wandb_ids[number] = wandb_id
        self.spending.begin(number)
        return self._run(number)

    def _promote(self, *, last_call: bool | None = None) -> int | None:
        """A trial that waited at a rung and goes on."""
        if last_call is None:
            if not self.spending.may_take_up():
                return None
            last_call = not self.running and not self.spending.may_begin()
        number = self.asha.promote(last_call=last_call)
        if number is None:
            return None
        self._write("promote", number, last_call=last_call)
        return self._take_up(number)

    def _go_on(self, number: int) -> int:
        """A trial runs again, after its process was lost, or the search interrupted."""
        self._write("again", number)
        self._again.remove(number)
        return self._take_up(number)

    def _take_up(self, number: int) -> int:
        if number not in self.spending.promised:
            self.spending.take_up(number)
        self.record.wait(number)
        return self._run(number)

    def _may_go_on(self, number: int) -> bool:
        """Whether the budget has epochs for a trial that waits to run again."""
        return number in self.spending.promised or self.spending.may_take_up()

    def _pauses(self, number: int) -> bool:
        """Whether its node was full a moment ago."""
        return self._not_before.get(number, 0.0) > self.clock.now

    def _run(self, number: int) -> int:
        self.running.add(number)
        self._is_closed = False  # a search at its end has been gone on with
        return number

    def _judge(self, trial: TrialRecord, report: Report) -> tuple[State, str]:
        """What becomes of a trial after an epoch, and why."""
        spent = self.spending.spend_epoch(trial.number)
        if report["epoch"] == trial.epochs:
            return "completed", ""
        sign = -1 if self.record.metric.is_max else 1
        if not self.asha.report(trial.number, report["epoch"], sign * self._value(report)):
            is_paused = trial.number in self.asha.waiting()
            return ("paused" if is_paused else "stopped"), ""
        why = spent or self.interrupted
        return ("interrupted" if why else "running"), why

    def _end(self, trial: TrialRecord, ending: State, error: str = "") -> None:
        self._let_go(trial.number)
        self.record.end(trial.number, ending, error)
        if ending in ("completed", "stopped", "failed"):
            self._source.finish(trial.number, ending, trial.best())
        self._tell(trial.number, "ended")

    def _tries(self, number: int, cause: Cause, gpu: float) -> str:
        """How often or with how much a trial was tried, that has failed for good."""
        if cause == "memory" and gpu:
            before = f"{gpu / 2:g} and " if number in self._shares else ""
            return f" (tried with {before}{gpu:g} of a GPU)"
        return f" ({self._num_lost[number]} times)" if cause in ("lost", "node_memory") else ""

    def _failed_alike(self) -> bool:
        """Whether the first trials all failed, before any epoch, for one and the same reason."""
        failed = [trial.error for trial in self.record.trials if trial.state == "failed"]
        any_epoch = any(trial.curve for trial in self.record.trials)
        return len(failed) >= ALIKE and not any_epoch and len(set(map(_kind, failed))) == 1

    def _let_go(self, number: int) -> None:
        self.spending.end(number)
        self.running.discard(number)

    def _value(self, report: Report) -> float:
        value: float = report[self.record.metric.name]
        return value

    def _tick(self) -> None:
        if not self._is_redone:
            self.clock.tick()

    def _write(self, event: str, number: int | None = None, **content: Any) -> None:
        trial = {} if number is None else {"trial": number}
        self._journal.write({"at": self.clock.now, "event": event, **trial, **content})

    def _tell(self, number: int, what: str) -> None:
        self._news.append((self.record.trials[number], what))


def _number(value: Any) -> float:
    """Raises: ValueError if it is none."""
    if not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    return value


def _kind(error: str) -> str:
    """What two errors share that differ in their numbers."""
    return "".join(c for c in error if not c.isdigit())
