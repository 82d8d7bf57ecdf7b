"""One trial as Ray Tune runs it: an actor that reads the stream of `fit`."""

import platform
from pathlib import Path
from typing import Any

import torch
from ray import tune

from kptrain.config import TrainConfig
from kptrain.device import describe_device
from kptrain.fit import fit
from kptrain.wandb_log import log_to_wandb


class KeypointTrial(tune.Trainable):
    """A training that Ray may stop after any epoch.

    Its config: `settings` (all of a TrainConfig), `run_dir`, `title`, `search` and `gpu`, the
    share of a GPU.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._title: str = config["title"]
        if torch.cuda.is_available() and config["gpu"] < 1:
            # Without a cap, the greediest trial of a GPU would starve its neighbours.
            torch.cuda.set_per_process_memory_fraction(config["gpu"])
        self._train_config = TrainConfig.model_validate(config["settings"])
        self._device = describe_device(self._train_config)
        run_dir = Path(config["run_dir"])
        reports = fit(self._train_config, run_dir)
        self._reports = log_to_wandb(reports, self._train_config, run_dir, group=config["search"])

    def step(self) -> dict[str, Any]:
        report = next(self._reports)
        done = report.epoch == self._train_config.train.epochs
        return {**vars(report), "done": done, "node_host": platform.node(), "device": self._device}

    def cleanup(self) -> None:
        self._reports.close()

    def __repr__(self) -> str:
        """How the dashboard lists the actor."""
        return self._title
