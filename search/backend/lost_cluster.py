"""The end of a search whose cluster has vanished, in a line: Ray's C++ would end it without one."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from search.backend.ray_address import why_no_cluster

MOST_SILENT = 5
"""Times in a row that its GCS may not answer."""
PAUSE = 5.0
"""Seconds before each; with as many for an answer, that is less than the 60 of Ray."""


@contextmanager
def ends_with_cluster(address: str, how_to_resume: str) -> Iterator[None]:
    """While the block runs, this process ends with exit code 2 once the cluster is gone: Ray's own
    calls wait for it and cannot be interrupted. All that counts is in the journal by then."""
    is_over = threading.Event()

    def watch() -> None:
        silent = 0
        while not is_over.wait(PAUSE):
            reason = why_no_cluster(address)
            silent = 0 if reason is None else silent + 1
            if silent == MOST_SILENT and not is_over.is_set():
                sys.stdout.flush()
                os.write(2, f"error: {_told(address, how_to_resume)}\n".encode())
                os._exit(2)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()


def _told(address: str, how_to_resume: str) -> str:
    return (
        f"{address}: the cluster must be there until the search is at its end, but has vanished; "
        f"start it again. {how_to_resume}"
    )
