"""Search the settings of a training with Ray Tune, Optuna and ASHA: `run_search` over a `Space`.

`OwnTraining` makes a training of your own searchable.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kptrain.config import Settings as Settings
    from kptrain.config import setting as setting
    from search.session import SearchResult as SearchResult
    from search.session import read_history as read_history
    from search.session import resume_search as resume_search
    from search.session import run_search as run_search
    from search.space.space import Space as Space
    from search.space.training import Metric as Metric
    from search.trainings.custom import OwnTraining as OwnTraining

MODULES = {
    "Metric": "search.space.training",
    "OwnTraining": "search.trainings.custom",
    "SearchResult": "search.session",
    "Settings": "kptrain.config",
    "Space": "search.space.space",
    "read_history": "search.session",
    "resume_search": "search.session",
    "run_search": "search.session",
    "setting": "kptrain.config",
}
__all__ = list(MODULES)


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: Ray and torch take seconds."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)
