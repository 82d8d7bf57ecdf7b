"""Search the settings of a training with Ray Tune, Optuna and ASHA: `run_search` over a `Space`.

`OwnTraining` makes one of your own searchable.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kptrain.config import Settings, setting
    from search.api import read_history, run_search
    from search.own_training import OwnTraining
    from search.space import Space
    from search.trainable import Metric

__all__ = ["Metric", "OwnTraining", "Settings", "Space", "read_history", "run_search", "setting"]
PLACES = {
    "Metric": "search.trainable",
    "OwnTraining": "search.own_training",
    "Settings": "kptrain.config",
    "Space": "search.space",
    "read_history": "search.api",
    "run_search": "search.api",
    "setting": "kptrain.config",
}


def __getattr__(name: str) -> Any:
    """Imported when they are used: Ray and torch take seconds."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(PLACES[name]), name)
