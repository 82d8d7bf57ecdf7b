"""One trial as Ray Tune runs it: an actor that reads the stream of a training."""

import os
import platform
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from ray import tune

from kptrain.device import release_memory
from kptrain.errors import DataError, WeightsError
from kptrain.resolve import change, flatten
from kptrain.run_folder import only_user_of
from search.named import trainable_named
from search.storage import Storage
from search.trainable import Report

OWN_SHARE = 0.95
"""Of its share of a GPU, what a trial's tensors may take; CUDA itself needs the rest."""
PATIENCE = 60.0
"""Seconds for a process that still holds the trial's folder, as its search or node just died."""


class TrialActor(tune.Trainable):
    """A training that Ray may stop after any epoch; then the next one, in the same process.

    Its config: `trainable` (how a command names it), `settings` (the whole tree), `run_dir`,
    `title`, `search`, `wandb_id`, `cpu` (cores) and `gpu` (the share of one); `epoch`, the last one
    that the search knows; `rungs`, the epochs after which it is put down, whole on disk, as another
    process may take it up; `storage`, the URL of what `run_dir` is only this node's copy of while
    it trains, or None; `cache`, where the packs of all nodes are, or None where each has its own.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": config["cpu"], "GPU": config["gpu"]}])

    def setup(self, config: dict[str, Any]) -> None:
        if config["cache"] is not None:
            os.environ["KPTRAIN_CACHE"] = config["cache"]
        self._first: str = config["title"]
        self._trainable = trainable_named(config["trainable"])
        if torch.cuda.is_available() and config["gpu"] < 1:
            # Without a cap, the greediest trial of a GPU would starve its neighbours.
            torch.cuda.set_per_process_memory_fraction(OWN_SHARE * config["gpu"])
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial, with the same share: a new process would import torch for seconds."""
        try:
            self._put_down()
        except Exception as error:  # of the trial before, which has ended: it may be anybody's
            print(f"the end of {self._own['title']}: {error}", flush=True)
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        print(config["title"], flush=True)  # the dashboard shows it in the actor's log
        self._own = config
        defaults = self._trainable.settings()
        self._train_config = change(defaults, flatten(config["settings"]), config["title"])
        self._device = self._trainable.device(self._train_config)
        self._remote = None if config["storage"] is None else Storage(config["storage"])
        self._take_up(config["epoch"])

    def _take_up(self, epoch: int) -> None:
        """Open the training after an epoch, up to its next rung, from whatever is safe of it."""
        run_dir = Path(self._own["run_dir"])
        if self._remote is not None:
            _fetch(self._remote, run_dir)
        self._last = self._trainable.epochs_of(self._train_config)
        self._rung = next((rung for rung in self._own["rungs"] if epoch < rung < self._last), None)
        self._reports: Generator[Report, None, None] | None = self._trainable.stream(
            self._train_config,
            run_dir,
            known=epoch,
            until=self._rung or self._last,
            wait=PATIENCE,
            saved=self._send_epoch,
            group=self._own["search"],
            run_id=self._own["wandb_id"],
        )
        self._epoch = epoch

    def step(self) -> dict[str, Any]:
        if self._reports is None:
            self._take_up(self._epoch)
        assert self._reports is not None
        try:
            report = next(self._reports)
        except BaseException as error:
            self._reports = None  # it has let go of the folder, which may be another's by now
            if isinstance(error, DataError | WeightsError):  # another node may have what this lacks
                raise type(error)(f"{error} (on {platform.node()})") from None
            raise
        self._epoch = report["epoch"]
        values = (f"{name} {report[name]:.6g}" for name in self._trainable.metrics)
        print(f"epoch {self._epoch}  {'  '.join(values)}", flush=True)
        if self._epoch == self._rung:
            self._put_down()
        return {
            "report": report,
            "done": self._epoch == self._last,
            "node_host": platform.node(),
            "device": self._device,
        }

    def _put_down(self) -> None:
        """Let go of the training and its folder; what it leaves is on disk, or at its URL alone."""
        reports, self._reports = self._reports, None
        if reports is not None:
            reports.close()
            if self._remote is not None:
                self._remote.send(Path(self._own["run_dir"]))
                shutil.rmtree(self._own["run_dir"])
        del reports
        release_memory()

    def _send_epoch(self) -> None:
        if self._remote is not None:  # what loggers write, when they have finished
            run_dir = Path(self._own["run_dir"])
            self._remote.send(run_dir, skip=self._trainable.is_log)

    def cleanup(self) -> None:
        self._put_down()

    def __repr__(self) -> str:
        """How the dashboard lists the actor; it asks once."""
        return f"{self._first}, and later ones: see its log"


def _fetch(storage: Storage, run_dir: Path) -> None:
    """What is safe of a trial, instead of what a killed process may have left on this node."""
    with only_user_of(run_dir, PATIENCE):
        for path in run_dir.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif not path.name.startswith("."):  # the lock
                path.unlink()
        storage.fetch(run_dir)
