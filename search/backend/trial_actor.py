"""The actor in which Ray Tune runs a trial: it reads the stream of a training."""

import os
import platform
import shutil
from pathlib import Path
from typing import Any

import torch
from ray import tune

from kptrain.errors import DataError, WeightsError
from kptrain.machine.device import release_memory
from kptrain.resolve import change, flatten
from kptrain.run.folder import only_user_of
from search.journal.remote import Storage
from search.machine.gpus import usable_bytes
from search.space.training import Reports, Stretch
from search.trainings.loading import trainable_named

PATIENCE = 60.0
"""Seconds to wait for a process that still holds the trial's folder after its search or node
died."""


class TrialActor(tune.Trainable):
    """Trains one trial, which Ray may stop after any epoch, then the next one in the same process.

    Its config: `trainable` (its name on the command line), `settings` (the whole tree), `run_dir`,
    `title`, `search`, `wandb_id`, `cpu` (cores) and `gpu` (share of one); `epoch`, the last one in
    the journal; `rungs`, the epochs after which the trial is released, complete on disk, as another
    process may resume it; `storage`, the URL of the trial's folder, of which `run_dir` is a copy on
    this node, or None; `cache`, the folder of packs for all nodes, or None if each has its own.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": config["cpu"], "GPU": config["gpu"]}])

    def setup(self, config: dict[str, Any]) -> None:
        """Errors that may be retried are raised in `step`: of an error here Ray keeps the text
        only."""
        if config["cache"] is not None:
            os.environ["KPTRAIN_CACHE"] = config["cache"]
        if not config["gpu"]:
            # Ray hides GPUs only from actors that have a GPU. CUDA reads this variable once, at its
            # first use, and importing a user's training may be that.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._first: str = config["title"]
        self._trainable = trainable_named(config["trainable"])
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next trial in this process: a new one would import torch for seconds."""
        try:
            self.cleanup()
        except Exception as error:  # of the previous trial, which has ended
            print(f"the end of {self._own['title']}: {error}", flush=True)
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        print(config["title"], flush=True)  # shown by the dashboard in the actor's log
        self._own = config
        defaults = self._trainable.settings()
        self._train_config = change(defaults, flatten(config["settings"]), config["title"])
        self._remote = None if config["storage"] is None else Storage(config["storage"])
        self._reports: Reports | None = None
        self._epoch: int = config["epoch"]

    def _resume(self, epoch: int) -> Reports:
        """Resume the training after an epoch, up to its next rung, from what is saved."""
        _cap_memory(self._own["gpu"])
        self._device = self._trainable.device(self._train_config)
        run_dir = Path(self._own["run_dir"])
        if self._remote is not None:
            _fetch(self._remote, run_dir)
        self._last = self._trainable.epochs_of(self._train_config)
        self._rung = next((rung for rung in self._own["rungs"] if epoch < rung < self._last), None)
        stretch = Stretch(
            reported=epoch,
            until=self._rung or self._last,
            wait=PATIENCE,
            saved=self._send_epoch,
            group=self._own["search"],
            run_id=self._own["wandb_id"],
        )
        return self._trainable.stream(self._train_config, run_dir, stretch)

    def step(self) -> dict[str, Any]:
        if self._reports is None:
            self._reports = self._resume(self._epoch)
        try:
            report = next(self._reports)
        except BaseException as error:
            self._reports = None  # the folder is released, and may belong to another process
            if isinstance(error, DataError | WeightsError):  # maybe only this node lacks the files
                raise type(error)(f"{error} (on {platform.node()})") from None
            raise
        self._epoch = report["epoch"]
        values = (f"{name} {report[name]:.6g}" for name in self._trainable.metrics)
        print(f"epoch {self._epoch}  {'  '.join(values)}", flush=True)
        if self._epoch == self._rung:
            self.cleanup()
        return {
            "report": report,
            "done": self._epoch == self._last,
            "node_host": platform.node(),
            "device": self._device,
        }

    def cleanup(self) -> None:
        """Release the training and its folder; its files are on disk, or only at its URL."""
        reports, self._reports = self._reports, None
        if reports is not None:
            reports.close()
            if self._remote is not None:
                self._remote.send(Path(self._own["run_dir"]))
                shutil.rmtree(self._own["run_dir"])
        del reports
        release_memory()

    def _send_epoch(self) -> None:
        if self._remote is not None:  # without the loggers' files, which are sent at the end
            run_dir = Path(self._own["run_dir"])
            self._remote.send(run_dir, skip=self._trainable.is_log)

    def __repr__(self) -> str:
        """The actor's name in the dashboard, which reads it once."""
        return f"{self._first}, and later ones: see its log"


def _cap_memory(share: float) -> None:
    """Limit torch to the trial's share of its GPU, to protect the other trials on it.

    Raises: OutOfMemoryError if nothing is left of the share.
    """
    if 0 < share < 1 and torch.cuda.is_available():
        _, total = torch.cuda.mem_get_info()
        torch.cuda.set_per_process_memory_fraction(usable_bytes(share, total) / total)


def _fetch(storage: Storage, run_dir: Path) -> None:
    """Replace a trial's files on this node, maybe of a killed process, by those at its URL."""
    with only_user_of(run_dir, PATIENCE):
        for path in run_dir.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif not path.name.startswith("."):  # the lock
                path.unlink()
        storage.fetch(run_dir)
