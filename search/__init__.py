"""Search the settings of a training with Ray Tune, Optuna and ASHA: `run_search` over a `Space`.

`OwnTraining` makes a training of your own searchable.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kptrain.config import Settings, setting
    from search.session import SearchResult, read_history, resume_search, run_search
    from search.space.space import Space
    from search.space.training import Metric
    from search.trainings.custom import OwnTraining

__all__ = [
    "Metric",
    "OwnTraining",
    "SearchResult",
    "Settings",
    "Space",
    "read_history",
    "resume_search",
    "run_search",
    "setting",
]
MODULES = {
    "Metric": "search.space.training",
    "OwnTraining": "search.trainings.custom",
    "Settings": "kptrain.config",
    "Space": "search.space.space",
    "SearchResult": "search.session",
    "read_history": "search.session",
    "resume_search": "search.session",
    "run_search": "search.session",
    "setting": "kptrain.config",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: Ray and torch take seconds."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)
