"""Space files of one axis, as they are read and resolved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kptrain.config import TrainConfig
from search.space.reader import read_space
from search.space.space import Space, resolve_space
from search.trainings.keypoints import KEYPOINTS

LR = "{optim.lr: {low: 1e-4, high: 1e-2, log: true}}"


def read(space: str = LR, rest: str = "", trials: str = "4") -> Space:
    """Read `x.yaml` of one space and further lines."""
    text = f"space: {space}\ntrials: {trials}\n{rest}\n"
    Path("x.yaml").write_text(text, encoding="utf-8")
    return read_space(Path("x.yaml"), KEYPOINTS)


def resolved(space: Space, said: Mapping[str, Any]) -> TrainConfig:
    """The settings of trial 0 of a search of keypoints."""
    config = resolve_space(space, said)
    assert isinstance(config, TrainConfig)
    return config


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message
