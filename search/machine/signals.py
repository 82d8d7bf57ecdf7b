"""Ctrl-C and SIGTERM, which cluster schedulers send: the first signal interrupts the search after
the current epochs, the second one at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_at_once() -> None:
    """From now on both signals raise KeyboardInterrupt. No effect outside of the main thread, the
    only one that receives signals."""
    if _is_main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def handlers_restored() -> Iterator[None]:
    """Restore the handlers of both signals at the end of the block."""
    before = {number: signal.getsignal(number) for number in SIGNALS} if _is_main_thread() else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: it was not set from Python
                signal.signal(number, handler)


@contextmanager
def first_signal_recorded() -> Iterator[Callable[[], str]]:
    """Record the first signal; the second one raises KeyboardInterrupt. Yields a function that
    returns the first one's name: empty if there was none, and outside of the main thread."""
    name = ""

    def record(number: int, _: FrameType | None) -> None:
        nonlocal name
        name = signal.Signals(number).name
        # Not `print`: the signal may interrupt another `print`.
        os.write(2, b"Trials end after their current epoch; a second signal ends them at once.\n")
        end_at_once()

    with handlers_restored():
        if _is_main_thread():
            for number in SIGNALS:
                signal.signal(number, record)
        yield lambda: name


@contextmanager
def signals_delayed() -> Iterator[None]:
    """Delay both signals until the end of the block."""
    delayed: list[int] = []
    try:
        with handlers_restored():
            for number in SIGNALS if _is_main_thread() else ():
                if signal.getsignal(number) is not None:  # None: it was not set from Python
                    signal.signal(number, lambda n, _: delayed.append(n))
            yield
    finally:
        for one in delayed:
            signal.raise_signal(one)


def _is_main_thread() -> bool:
    """Whether this is the main thread, the only one that receives signals."""
    return threading.current_thread() is threading.main_thread()
