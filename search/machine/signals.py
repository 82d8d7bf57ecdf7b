"""Ctrl-C, and SIGTERM, which schedulers of clusters send: the first one asks, the next one ends."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_at_once() -> None:
    """From now on either signal raises KeyboardInterrupt; outside of the main thread, which alone
    receives them, nothing changes."""
    if _may_answer():
        for number in SIGNALS:
            signal.signal(number, _end)


@contextmanager
def kept() -> Iterator[None]:
    """Whatever answers to either signal does so again when the block has ended."""
    before = {number: signal.getsignal(number) for number in SIGNALS} if _may_answer() else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that was not set from Python
                signal.signal(number, handler)


@contextmanager
def ask_first() -> Iterator[Callable[[], str]]:
    """The first signal is kept, and the next one raises KeyboardInterrupt; yields what tells its
    name, empty while there was none. In another thread than the main one there is never any."""
    asked = ""

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        asked = signal.Signals(number).name
        # Not printed: Python may be in the midst of that.
        os.write(2, b"Trials end after their current epoch; once more ends them at once.\n")
        end_at_once()

    with kept():
        if _may_answer():
            for number in SIGNALS:
                signal.signal(number, ask)
        yield lambda: asked


@contextmanager
def held_back() -> Iterator[None]:
    """Either signal comes when the block has ended."""
    if not _may_answer():
        yield
        return
    came: list[int] = []
    ours = [number for number in SIGNALS if signal.getsignal(number) is not None]
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for one in came:
            signal.raise_signal(one)


def _may_answer() -> bool:
    """Whether this is the main thread: it alone receives signals."""
    return threading.current_thread() is threading.main_thread()


def _end(*_: object) -> None:
    raise KeyboardInterrupt
