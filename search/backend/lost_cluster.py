"""Ends a search whose cluster has vanished with an error message; Ray's C++ code would abort."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from search.backend.ray_address import why_no_cluster

MOST_SILENT = 5
"""How often in a row the GCS may fail to answer."""
PAUSE = 5.0
"""Seconds between checks; with the same time for each answer, the sum is below Ray's 60 s."""


@contextmanager
def ends_with_cluster(address: str, how_to_resume: str) -> Iterator[None]:
    """While the block runs, end this process with exit code 2 when the cluster has vanished: Ray's
    calls wait for it and cannot be interrupted. The journal is complete at any time."""
    is_over = threading.Event()

    def watch() -> None:
        silent = 0
        while not is_over.wait(PAUSE):
            reason = why_no_cluster(address)
            silent = 0 if reason is None else silent + 1
            if silent == MOST_SILENT and not is_over.is_set():
                sys.stdout.flush()
                message = (
                    f"error: {address}: the cluster must run until the search is finished, but has "
                    f"vanished; start it again. {how_to_resume}\n"
                )
                os.write(2, message.encode())
                os._exit(2)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
