"""Augmentations that are drawn for samples without a pack."""

from dataclasses import fields
from typing import Any

import numpy as np

from kptrain.config import AugmentSettings
from kptrain.data.pack_format import Table
from kptrain.training.augment import Augmentation, draw_augmentation

SIZE = (96, 128)


def settings(**changes: Any) -> AugmentSettings:
    return AugmentSettings(**changes)


def table_of(
    num_samples: int, scale: np.ndarray | None = None, inside: np.ndarray | None = None
) -> Table:
    """Of samples of the image view that are neither stretched nor padded, unless said."""
    whole = np.tile([0.0, 0.0, SIZE[1], SIZE[0]], (num_samples, 1))
    columns = dict.fromkeys((column.name for column in fields(Table)), np.empty(0))
    columns |= {
        "scale": np.ones((num_samples, 2)) if scale is None else scale,
        "inside": whole if inside is None else inside,
        "zoom": np.ones((num_samples, 2)),
        "origin": np.zeros((num_samples, 2)),
        "stored": np.tile(SIZE, (num_samples, 1)),
    }
    return Table(**columns)


def drawn_for(
    changes: dict[str, Any],
    num_samples: int = 16,
    seed: int = 0,
    epoch: int = 1,
    scale: np.ndarray | None = None,
) -> Augmentation:
    augmentation = draw_augmentation(
        settings(**changes), table_of(num_samples, scale), SIZE, seed, epoch
    )
    assert augmentation is not None
    return augmentation
