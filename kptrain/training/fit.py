"""The training as a stream: `fit` yields one report per finished epoch; there are no callbacks.

    with closing(fit(config, run_dir)) as reports:
        for report in reports:
            ...

The files of an epoch are written while the next one runs; the last report, and the end of the
stream, come when everything is saved in `run_dir`. So a reader may stop after any report. A run
that was killed resumes after its last saved epoch and repeats the later ones with the same numbers.
On a CPU the resumed run equals the uninterrupted one bit for bit.
"""

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kptrain.config import TrainConfig, best_is_max, save_config
from kptrain.data.pack import open_pack
from kptrain.data.pack_format import Pack
from kptrain.errors import TrainingError
from kptrain.machine.device import explained, find_device, num_threads, peak_memory
from kptrain.machine.progress import track
from kptrain.optim.schedules import build_schedule
from kptrain.run.curve import EpochReport
from kptrain.run.folder import CONFIG, only_user_of, saved_state
from kptrain.training.augment import draw_augmentation
from kptrain.training.batches import batches, epoch_order
from kptrain.training.metrics import check_metric, coco_numbers, oks
from kptrain.training.saving import Schedule, copy_files, in_background, restore, write_files
from kptrain.training.state import Training, predict, sample_losses, start_training
from kptrain.training.steps import Steps
from kptrain.training.validation import find_peaks, in_original


def fit(
    config: TrainConfig,
    run_dir: Path,
    *,
    resume: bool = False,
    reported: int | None = None,
    until: int | None = None,
    wait: float = 0.0,
    saved: Callable[[], None] = lambda: None,
    progress: bool = False,
) -> Generator[EpochReport, None, None]:
    """Train, validate and save, epoch by epoch; with `until` only up to that epoch, after which
    another call can resume.

    A resumed run yields the epochs that it trains. With `reported`, the number of epochs that the
    caller has already, it yields all later ones: saved reports unchanged, and no report of an epoch
    up to `reported` that must be trained again. It waits up to `wait` seconds for another process
    that holds `run_dir`. The writing thread calls `saved` when an epoch's files are on disk.

    Writes into `run_dir`: `config.yaml`, `metrics.csv`, `timing.csv`, the best checkpoint by
    `checkpoint.metric`, and the state to resume from. For the whole process it sets
    torch's number of threads, and what `start_training` lists.

    Raises: DataError, WeightsError; CheckpointError if `run_dir` is in use, holds a run and
    `resume` is not set, or holds none and it is; SettingsError if it holds one with other
    settings, or the warm-up takes the whole training; TrainingError for a loss that is not finite,
    or memory that does not suffice.
    """
    torch.set_num_threads(num_threads(config.train.threads))
    device = find_device(config)
    with only_user_of(run_dir, wait):
        last = min(config.train.epochs, until or config.train.epochs)
        with closing(
            _fit(config, run_dir, device, resume, reported, last, saved, progress)
        ) as reports:
            for report in reports:
                if reported is None or reported < report.epoch <= last:
                    yield report


def _fit(
    config: TrainConfig,
    run_dir: Path,
    device: torch.device,
    resume: bool,
    reported: int | None,
    last: int,
    saved: Callable[[], None],
    progress: bool,
) -> Generator[EpochReport, None, None]:
    state = saved_state(config, run_dir, resume)
    with explained(config):  # before the data are opened, which may take long
        training = start_training(config, device, afresh=state is None)
    train_pack = open_pack(config.data, "train", progress)
    val_pack = open_pack(config.data, "val", progress)
    check_metric(config.checkpoint.metric, val_pack.table)
    data = f"{train_pack.fingerprint} {val_pack.fingerprint}"
    num_steps = _num_batches(train_pack, config)
    training.schedule = build_schedule(training.optimizer, config, num_steps)
    if state is not None:
        restore(training, state, config, data, run_dir)
    save_config(config, run_dir / CONFIG)
    yield from () if reported is None else list(training.curve)
    size = config.train.batch_size
    steps = Steps(
        training,
        config,
        num_persons=train_pack.most_persons,
        num_steps=config.train.epochs * (len(train_pack) // size),
    )
    states = Schedule(config.checkpoint.resume_epochs)
    with in_background() as write:
        for epoch in range(len(training.curve) + 1, last + 1):
            with explained(config):
                report = _run_epoch(
                    training, steps, config, train_pack, val_pack, device, epoch, progress
                )
                training.curve.append(report)
            write(lambda: None)  # which waits: of the files before, the copies are no longer held
            with explained(config):
                is_due = epoch == last or states.is_due(epoch)
                files = copy_files(training, config, data, is_due=is_due)
            write(partial(write_files, files, run_dir, states, saved))
            del files
            if epoch == last:
                write(lambda: None)
            yield report


def _run_epoch(
    training: Training,
    steps: Steps,
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
    train_loss = _train(training, steps, config, train_pack, device, epoch, progress)
    train_seconds = time.perf_counter() - started
    values = validate(training.evaluated, config, val_pack, device, progress)
    if not math.isfinite(values["val_loss"]):
        raise TrainingError(
            f"epoch {epoch}, validation: the loss must be finite, but is {values['val_loss']}; a "
            f"smaller optim.lr ({config.optim.lr:g}) may help"
        )
    if config.schedule.interval == "epoch":
        training.schedule.step()
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
    steps: Steps,
    config: TrainConfig,
    pack: Pack,
    device: torch.device,
    epoch: int,
    progress: bool,
) -> float:
    """One pass over the training samples; returns the mean loss of its samples."""
    training.model.train()
    order = epoch_order(len(pack), config.train.seed, epoch)
    size, table = config.data.image_size, pack.table
    augmentation = draw_augmentation(
        config.augment, table.scale, table.inside, size, config.train.seed, epoch
    )
    parts = batches(pack, order, config.train.batch_size, device, augmentation)
    title = f"Epoch {epoch}/{config.train.epochs}"
    tracked = track(parts, title, _num_batches(pack, config), shown=progress)
    sums = []
    for batch in tracked:
        sums.append(steps(batch))
        if config.schedule.interval == "step":
            training.schedule.step()
    return _mean(sums, len(pack), config, epoch)


def _mean(sums: list[torch.Tensor], count: int, config: TrainConfig, epoch: int) -> float:
    """Read the losses at the end of an epoch: reading one per step would wait for the GPU."""
    losses = torch.stack(sums).double().cpu()
    broken = (~losses.isfinite()).nonzero()
    if len(broken):
        raise TrainingError(
            f"epoch {epoch}, step {int(broken[0]) + 1}: the loss must be finite, but is "
            f"{float(losses[broken[0]])}; a smaller optim.lr ({config.optim.lr:g}) may help"
        )
    return float(losses.sum() / count)


@torch.inference_mode()
def validate(
    model: nn.Module,
    config: TrainConfig,
    pack: Pack,
    device: torch.device,
    progress: bool = False,
) -> dict[str, float]:
    """The mean loss of the samples, the mean OKS of the persons, and COCO's ten numbers."""
    model.eval()
    sums, peaks = [], []
    steps = batches(pack, np.arange(len(pack)), config.train.batch_size, device)
    for batch in track(steps, "Validation", _num_batches(pack, config), shown=progress):
        heatmaps = predict(model, batch, config)
        sums.append(sample_losses(heatmaps, batch, config).double().sum())
        peaks.append(find_peaks(heatmaps, batch.samples, pack.table))
    # The GPU is waited for only from here on.
    found = in_original(torch.cat(peaks), np.arange(len(pack)), pack.table)
    val_loss = float(torch.stack(sums).sum()) / len(pack)
    val_oks = float(oks(found, pack.table).mean())
    return {"val_loss": val_loss, "val_oks": val_oks} | coco_numbers(found, pack.table)


def _num_batches(pack: Pack, config: TrainConfig) -> int:
    return -(-len(pack) // config.train.batch_size)


def _is_best(value: float, curve: list[EpochReport], config: TrainConfig) -> bool:
    metric = config.checkpoint.metric
    sign = 1 if best_is_max(metric) else -1
    return all(sign * value > sign * getattr(row, metric) for row in curve)
