"""One trial as Ray Tune runs it: an actor that reads the stream of a training."""

import os
import platform
import shutil
from collections.abc import Generator
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
from search.space.training import Report
from search.trainings.loading import trainable_named

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
        """What may need another try is left to `step`: of an error here Ray keeps only the text."""
        if config["cache"] is not None:
            os.environ["KPTRAIN_CACHE"] = config["cache"]
        if not config["gpu"]:
            # Ray hides a GPU only from who has a share of another. CUDA reads this once, when it
            # is asked first, which a training of one's own may do when it is imported.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._first: str = config["title"]
        self._trainable = trainable_named(config["trainable"])
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
        self._remote = None if config["storage"] is None else Storage(config["storage"])
        self._reports: Generator[Report, None, None] | None = None
        self._epoch: int = config["epoch"]

    def _take_up(self, epoch: int) -> Generator[Report, None, None]:
        """Open the training after an epoch, up to its next rung, from whatever is safe of it."""
        _cap_memory(self._own["gpu"])
        self._device = self._trainable.device(self._train_config)
        run_dir = Path(self._own["run_dir"])
        if self._remote is not None:
            _fetch(self._remote, run_dir)
        self._last = self._trainable.epochs_of(self._train_config)
        self._rung = next((rung for rung in self._own["rungs"] if epoch < rung < self._last), None)
        return self._trainable.stream(
            self._train_config,
            run_dir,
            known=epoch,
            until=self._rung or self._last,
            wait=PATIENCE,
            saved=self._send_epoch,
            group=self._own["search"],
            run_id=self._own["wandb_id"],
        )

    def step(self) -> dict[str, Any]:
        if self._reports is None:
            self._reports = self._take_up(self._epoch)
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


def _cap_memory(share: float) -> None:
    """Without a cap, the greediest trial of a GPU would starve its neighbours.

    Raises: OutOfMemoryError if nothing is left of the share.
    """
    if 0 < share < 1 and torch.cuda.is_available():
        _, total = torch.cuda.mem_get_info()
        torch.cuda.set_per_process_memory_fraction(usable_bytes(share, total) / total)


def _fetch(storage: Storage, run_dir: Path) -> None:
    """What is safe of a trial, instead of what a killed process may have left on this node."""
    with only_user_of(run_dir, PATIENCE):
        for path in run_dir.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif not path.name.startswith("."):  # the lock
                path.unlink()
        storage.fetch(run_dir)
