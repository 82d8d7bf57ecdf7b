"""One trial as Ray Tune runs it: an actor that reads the stream of `fit`."""

import platform
from pathlib import Path
from typing import Any

import torch
from ray import tune

from kptrain.config import TrainConfig
from kptrain.device import describe_device, release_memory
from kptrain.errors import KptrainError
from kptrain.fit import fit
from kptrain.wandb_log import log_to_wandb

OWN_SHARE = 0.95
"""Of its share of a GPU, what a trial's tensors may take; CUDA itself needs the rest."""


class KeypointTrial(tune.Trainable):
    """A training that Ray may stop after any epoch; then the next one, in the same process.

    Its config: `settings` (all of a TrainConfig), `run_dir`, `title`, `search`, `cpu` (cores) and
    `gpu` (the share of one).
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": config["cpu"], "GPU": config["gpu"]}])

    def setup(self, config: dict[str, Any]) -> None:
        self._first: str = config["title"]
        if torch.cuda.is_available() and config["gpu"] < 1:
            # Without a cap, the greediest trial of a GPU would starve its neighbours.
            torch.cuda.set_per_process_memory_fraction(OWN_SHARE * config["gpu"])
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial, with the same share: a new process would import torch for seconds."""
        try:
            self._reports.close()
        except (KptrainError, OSError) as error:  # of the trial before, which has ended
            print(f"its last files: {error}", flush=True)
        del self._reports
        release_memory()
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        print(config["title"], flush=True)  # the dashboard shows it in the actor's log
        self._train_config = TrainConfig.model_validate(config["settings"])
        self._device = describe_device(self._train_config)
        run_dir = Path(config["run_dir"])
        reports = fit(self._train_config, run_dir)
        self._reports = log_to_wandb(reports, self._train_config, run_dir, group=config["search"])

    def step(self) -> dict[str, Any]:
        report = next(self._reports)
        done = report.epoch == self._train_config.train.epochs
        print(f"epoch {report.epoch}  val_loss {report.val_loss:.6f}", flush=True)
        return {**vars(report), "done": done, "node_host": platform.node(), "device": self._device}

    def cleanup(self) -> None:
        self._reports.close()

    def __repr__(self) -> str:
        """How the dashboard lists the actor; it asks once."""
        return f"{self._first}, and later ones: see its log"
