"""Train a COCO keypoint model: `fit` yields one report per finished epoch of a `TrainConfig`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kptrain.config import TrainConfig
    from kptrain.training.fit import fit

MODULES = {"TrainConfig": "kptrain.config", "fit": "kptrain.training.fit"}
__all__ = ["TrainConfig", "fit"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: importing torch takes seconds."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)
