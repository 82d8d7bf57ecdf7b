"""The training as a stream: `fit` yields one report per finished epoch, and calls nobody back.

    with closing(fit(config, run_dir)) as reports:
        for report in reports:
            ...

What an epoch leaves is written while the next one runs; the last report, and the end of the
stream, come when all is safe in `run_dir`. So a reader may stop after any report, and a run that
was killed goes on from its last safe epoch and repeats what came after with the same numbers. On a
CPU the resumed run equals the uninterrupted one bit for bit.
"""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import nn

from kptrain.augment import draw_augmentation
from kptrain.batches import Batch, batches, epoch_order, joint_weights, targets
from kptrain.checkpoint import BEST, RESUME, on_host, save_checkpoint, with_dtype
from kptrain.config import TrainConfig, best_is_max, save_config
from kptrain.curve import EpochReport, save_curve
from kptrain.device import explained, find_device, find_dtype, peak_memory
from kptrain.errors import CheckpointError, TrainingError
from kptrain.evaluate import average_precision, find_peaks, in_original, oks
from kptrain.loss import heatmap_loss
from kptrain.model import build_model
from kptrain.pack import Pack, open_pack
from kptrain.resolve import settings_of
from kptrain.run_folder import CONFIG, only_user_of, saved_state


@dataclass
class Training:
    """Everything that changes from epoch to epoch."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    curve: list[EpochReport]


def fit(
    config: TrainConfig, run_dir: Path, *, resume: bool = False, progress: bool = False
) -> Generator[EpochReport, None, None]:
    """Train, validate and save, epoch by epoch.

    Writes into `run_dir`: `config.yaml`, `metrics.csv`, `timing.csv`, the best checkpoint by
    `checkpoint.metric`, and the state to resume from. Sets torch's number of threads for the
    whole process if `train.threads` is given.

    Raises: DataError, WeightsError; CheckpointError if `run_dir` is in use, holds a run and
    `resume` is not set, or holds none and it is; SettingsError if it holds one with other
    settings; TrainingError for a loss that is not finite, or memory that does not suffice.
    """
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    device = find_device(config)
    with only_user_of(run_dir):
        yield from _fit(config, run_dir, device, resume, progress)


def _fit(
    config: TrainConfig, run_dir: Path, device: torch.device, resume: bool, progress: bool
) -> Generator[EpochReport, None, None]:
    state = saved_state(config, run_dir, resume)
    with explained(config):  # what is missing is said before anything long begins
        training = start_training(config, device, afresh=state is None)
    train_pack = open_pack(config.data, "train", progress)
    val_pack = open_pack(config.data, "val", progress)
    data = f"{train_pack.fingerprint} {val_pack.fingerprint}"
    if state is not None:
        _restore(training, state, config, data, run_dir)
    save_config(config, run_dir / CONFIG)
    with _in_background() as write:
        for epoch in range(len(training.curve) + 1, config.train.epochs + 1):
            with explained(config):
                report = _run_epoch(training, config, train_pack, val_pack, device, epoch, progress)
                files = _files(training, config, data, report)
            write(partial(_save, files, run_dir))
            if epoch == config.train.epochs:
                write(lambda: None)  # which waits for the files
            yield report


@contextmanager
def _in_background() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Yield a function that runs a job in a thread, once the job before has ended.

    What a job raises is raised by the call for the next one, or at the end.
    """
    with ThreadPoolExecutor(1, "save") as thread:
        last: Future[None] = thread.submit(lambda: None)

        def run(job: Callable[[], None]) -> None:
            nonlocal last
            last.result()
            last = thread.submit(job)

        try:
            yield run
        finally:
            last.result()


def start_training(config: TrainConfig, device: torch.device, afresh: bool) -> Training:
    """Everything as it is before the first epoch; not `afresh`, with random weights.

    Raises: WeightsError.
    """
    # A saved state holds all weights: those that the run began from need not be there any more.
    weights = config.model.weights if afresh else "none"
    settings = config.model.model_copy(update={"weights": weights})
    model = build_model(settings, config.train.seed)
    model = model.to(device).to(memory_format=torch.channels_last)  # as batches come
    if config.train.compile:
        model.compile(dynamic=False)
    torch.backends.cudnn.benchmark = device.type == "cuda"  # the shapes of a training stay
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=config.optim.lr,
        weight_decay=config.optim.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.StepLR(
        optimizer, config.schedule.step_epochs, config.schedule.gamma
    )
    return Training(model, optimizer, schedule, [])


def _restore(
    training: Training, state: dict[str, Any], config: TrainConfig, data: str, run_dir: Path
) -> None:
    if state["data"] != data:
        raise CheckpointError(
            f"{run_dir}: must go on with the data that it began with, but {config.data.root} holds "
            f"other data; name the first with --data, or choose another folder with --out"
        )
    training.model.load_state_dict(state["weights"])
    training.optimizer.load_state_dict(state["optimizer"])
    training.schedule.load_state_dict(state["schedule"])
    training.curve = [EpochReport(**row) for row in state["curve"]]


@dataclass(frozen=True)
class _Files:
    """What an epoch leaves on disk; the tensors are copies that the training does not touch."""

    best: dict[str, Any] | None
    curve: list[EpochReport]
    resume: dict[str, Any] | None


def _files(training: Training, config: TrainConfig, data: str, report: EpochReport) -> _Files:
    training.curve.append(report)
    is_due = report.epoch % config.checkpoint.resume_epochs == 0
    is_due |= report.epoch == config.train.epochs
    if not (report.is_best or is_due):
        return _Files(None, list(training.curve), None)
    weights = on_host(training.model.state_dict())
    settings = settings_of(config)
    best = {
        "weights": with_dtype(weights, config.checkpoint.best_dtype),
        "config": settings,
        "metrics": report.metrics(),
    }
    state = {
        "weights": weights,
        "optimizer": on_host(training.optimizer.state_dict()),
        "schedule": training.schedule.state_dict(),
        "curve": [vars(row) for row in training.curve],
        "settings": settings,
        "data": data,
    }
    return _Files(best if report.is_best else None, list(training.curve), state if is_due else None)


def _save(files: _Files, run_dir: Path) -> None:
    """The best checkpoint first and the resume state last: a kill in between repeats the epoch."""
    if files.best is not None:
        save_checkpoint(files.best, run_dir / BEST)
    save_curve(files.curve, run_dir)
    if files.resume is not None:
        save_checkpoint(files.resume, run_dir / RESUME)


def _run_epoch(
    training: Training,
    config: TrainConfig,
    train_pack: Pack,
    val_pack: Pack,
    device: torch.device,
    epoch: int,
    progress: bool,
) -> EpochReport:
    started = time.perf_counter()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    lr = training.optimizer.param_groups[0]["lr"]
    train_loss = _train(training, config, train_pack, device, epoch, progress)
    train_seconds = time.perf_counter() - started
    val_loss, val_oks, val_ap = validate(training.model, config, val_pack, device)
    if not math.isfinite(val_loss):
        raise TrainingError(
            f"epoch {epoch}, validation: the loss must be finite, but is {val_loss}; a smaller "
            f"optim.lr ({config.optim.lr:g}) may help"
        )
    training.schedule.step()
    values = {"val_loss": val_loss, "val_oks": val_oks, "val_ap": val_ap}
    return EpochReport(
        epoch=epoch,
        train_loss=train_loss,
        **values,
        lr=lr,
        seconds=time.perf_counter() - started,
        images_per_second=len(train_pack) / train_seconds,
        peak_memory_bytes=peak_memory(device),
        is_best=_is_best(values[config.checkpoint.metric], training.curve, config),
    )


def _train(
    training: Training,
    config: TrainConfig,
    pack: Pack,
    device: torch.device,
    epoch: int,
    progress: bool,
) -> float:
    """One pass over the training samples; returns the mean loss of its samples."""
    training.model.train()
    order = epoch_order(len(pack), config.train.seed, epoch)
    augmentation = draw_augmentation(
        config.augment, len(pack), config.data.image_size, config.train.seed, epoch
    )
    steps: Iterable[Batch] = batches(pack, order, config.train.batch_size, device, augmentation)
    if progress:
        total = -(-len(order) // config.train.batch_size)
        title = f"Epoch {epoch}/{config.train.epochs}"
        steps = track(steps, description=title, total=total, transient=True)
    sums = []
    for batch in steps:
        sums.append(take_step(training, batch, config))
    return _mean(sums, len(pack), config, epoch)


def take_step(training: Training, batch: Batch, config: TrainConfig) -> torch.Tensor:
    """Forward, backward and Adam; returns the sum of the samples' losses, on the device."""
    losses = _losses(_predict(training.model, batch, config), batch, config)
    training.optimizer.zero_grad()
    losses.mean().backward()  # type: ignore[no-untyped-call]  # torch
    training.optimizer.step()
    return losses.detach().sum()


def _mean(sums: list[torch.Tensor], count: int, config: TrainConfig, epoch: int) -> float:
    """Read the losses of an epoch at its end: reading one a step would wait for the GPU."""
    losses = torch.stack(sums).double().cpu()
    broken = (~losses.isfinite()).nonzero()
    if len(broken):
        raise TrainingError(
            f"epoch {epoch}, step {int(broken[0]) + 1}: the loss must be finite, but is "
            f"{float(losses[broken[0]])}; a smaller optim.lr ({config.optim.lr:g}) may help"
        )
    return float(losses.sum() / count)


def _predict(model: nn.Module, batch: Batch, config: TrainConfig) -> torch.Tensor:
    """(B, K, h, w) float32 heatmaps."""
    device = batch.images.device
    dtype = find_dtype(config, device)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        heatmaps: torch.Tensor = model(batch.images)
    return heatmaps.float()


def _losses(prediction: torch.Tensor, batch: Batch, config: TrainConfig) -> torch.Tensor:
    weights = joint_weights(batch, config)
    return heatmap_loss(prediction, targets(batch, config), weights, batch.mask)


@torch.inference_mode()
def validate(
    model: nn.Module, config: TrainConfig, pack: Pack, device: torch.device
) -> tuple[float, float, float]:
    """The mean loss of the samples, the mean OKS of the persons, and COCO's AP."""
    model.eval()
    sums, peaks = [], []
    for batch in batches(pack, np.arange(len(pack)), config.train.batch_size, device):
        heatmaps = _predict(model, batch, config)
        sums.append(_losses(heatmaps, batch, config).double().sum())
        peaks.append(find_peaks(heatmaps, batch.samples, pack.table))
    val_loss = float(torch.stack(sums).sum()) / len(pack)  # only from here a GPU is waited for
    found = in_original(torch.cat(peaks), np.arange(len(pack)), pack.table)
    return val_loss, float(oks(found, pack.table).mean()), average_precision(found, pack.table)


def _is_best(value: float, curve: list[EpochReport], config: TrainConfig) -> bool:
    earlier = [getattr(row, config.checkpoint.metric) for row in curve]
    if best_is_max(config.checkpoint.metric):
        return value > max(earlier, default=-torch.inf)
    return value < min(earlier, default=torch.inf)
