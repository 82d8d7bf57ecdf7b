"""Which tests see a GPU."""

import pytest


def has_gpu_for_itself(config: pytest.Config) -> bool:
    """Whether these are the tests marked `gpu` alone, in one process: two would share its memory,
    and a search claims it."""
    is_one = not hasattr(config, "workerinput") and not config.getoption("numprocesses", None)
    return is_one and config.getoption("markexpr") == "gpu"
