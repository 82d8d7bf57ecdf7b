"""Search the settings of `kptrain` with Ray Tune, Optuna and ASHA: `run_search` over a `Space`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.api import run_search
    from search.history import read_history
    from search.space import Space

__all__ = ["Space", "read_history", "run_search"]


def __getattr__(name: str) -> Any:
    """Imported when they are used: Ray and torch take seconds."""
    if name == "run_search":
        from search.api import run_search  # noqa: PLC0415  (only what is needed)

        return run_search
    if name == "read_history":
        from search.history import read_history  # noqa: PLC0415  (only what is needed)

        return read_history
    if name == "Space":
        from search.space import Space  # noqa: PLC0415  (only what is needed)

        return Space
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
