"""Train a COCO keypoint model: `fit` yields one report per finished epoch of a `TrainConfig`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kptrain.config import TrainConfig
    from kptrain.training.fit import fit

__all__ = ["TrainConfig", "fit"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: importing torch takes seconds."""
    if name == "fit":
        from kptrain.training.fit import fit  # noqa: PLC0415  (only what is needed)

        return fit
    if name == "TrainConfig":
        from kptrain.config import TrainConfig  # noqa: PLC0415  (only what is needed)

        return TrainConfig
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
