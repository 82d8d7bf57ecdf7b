"""The training as a stream: `fit` yields one report per finished epoch, and calls nobody back.

    with closing(fit(config, run_dir)) as reports:
        for report in reports:
            ...

A report comes only after its epoch's state is safe in `run_dir`; so a reader may stop after any
report, and a run that was killed goes on from the last one. On a CPU the resumed run equals the
uninterrupted one bit for bit.
"""

import math
import resource
import sys
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import nn

from kptrain.batches import Batch, batches, epoch_order, joint_weights, targets
from kptrain.checkpoint import BEST, RESUME, load_checkpoint, save_checkpoint
from kptrain.config import TrainConfig, best_is_max, save_config
from kptrain.curve import EpochReport, save_curve
from kptrain.errors import CheckpointError, SettingsError, TrainingError
from kptrain.evaluate import average_precision, detect, oks
from kptrain.loss import heatmap_loss
from kptrain.model import build_model
from kptrain.pack import Pack, open_pack
from kptrain.resolve import setting_infos, settings_of


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

    Raises: DataError, WeightsError; CheckpointError if `run_dir` holds a run and `resume` is not
    set; SettingsError if it holds one with other settings; TrainingError for a loss that is not
    finite.
    """
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    device = find_device(config)
    state = _saved_state(config, run_dir, resume)
    training = _start(config, device)  # what is missing is said before anything long begins
    train_pack = open_pack(config.data, "train", progress)
    val_pack = open_pack(config.data, "val", progress)
    data = f"{train_pack.fingerprint} {val_pack.fingerprint}"
    if state is not None:
        _restore(training, state, config, data, run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    save_config(config, run_dir / "config.yaml")
    for epoch in range(len(training.curve) + 1, config.train.epochs + 1):
        report = _run_epoch(training, config, train_pack, val_pack, device, epoch, progress)
        _save(training, config, data, report, run_dir)
        yield report


def find_device(config: TrainConfig) -> torch.device:
    """The device that `train.device` names.

    Raises: SettingsError if it is a CUDA device that is not there.
    """
    name = config.train.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind == "cpu":
        return torch.device("cpu")
    index = int(number or 0)  # torch.device would read cuda:128 as cuda:-128
    if index >= torch.cuda.device_count():
        raise SettingsError(
            f"train.device: must be a device of this machine, but {name} is not there "
            f"({torch.cuda.device_count()} CUDA devices found); use auto or cpu"
        )
    return torch.device("cuda", index)


def _start(config: TrainConfig, device: torch.device) -> Training:
    model = build_model(config.model, config.train.seed)
    model = model.to(device).to(memory_format=torch.channels_last)  # as batches come
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


def _saved_state(config: TrainConfig, run_dir: Path, resume: bool) -> dict[str, Any] | None:
    """The state to go on from; None where no epoch was finished yet."""
    if not (run_dir / RESUME).exists():
        return None
    if not resume:
        raise CheckpointError(
            f"{run_dir}: must not hold a run yet, but does; go on with --resume, or choose "
            f"another folder with --out"
        )
    state = load_checkpoint(run_dir / RESUME)
    _check_same(state["settings"], config, run_dir)
    return state


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


def _check_same(saved: dict[str, Any], config: TrainConfig, run_dir: Path) -> None:
    """Only where it runs, and for how long, may differ from the run that is resumed."""
    free = {path for path, info in setting_infos().items() if info.changes == "place"}
    free |= {"train.epochs", "data.root"}  # data are compared by their fingerprint
    free -= {"checkpoint.metric"}  # the best so far was kept by it, and the others are gone
    now = settings_of(config)
    for path in now:
        if path not in free and saved.get(path) != now[path]:
            raise SettingsError(
                f"{run_dir}: {path} must be {saved.get(path)!r} as in the run that is resumed, "
                f"but got {now[path]!r}; correct it, or choose another folder with --out"
            )


def _save(
    training: Training, config: TrainConfig, data: str, report: EpochReport, run_dir: Path
) -> None:
    """The best checkpoint first and the resume state last: a kill in between repeats the epoch."""
    training.curve.append(report)
    weights = training.model.state_dict()
    settings = settings_of(config)
    if report.is_best:
        best = {"weights": weights, "config": settings, "metrics": report.metrics()}
        save_checkpoint(best, run_dir / BEST)
    save_curve(training.curve, run_dir)
    state = {
        "weights": weights,
        "optimizer": training.optimizer.state_dict(),
        "schedule": training.schedule.state_dict(),
        "curve": [vars(row) for row in training.curve],
        "settings": settings,
        "data": data,
    }
    save_checkpoint(state, run_dir / RESUME)


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
        peak_memory_bytes=_peak_memory(device),
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
    steps: Iterable[Batch] = batches(pack, order, config.train.batch_size, device)
    if progress:
        total = -(-len(order) // config.train.batch_size)
        title = f"Epoch {epoch}/{config.train.epochs}"
        steps = track(steps, description=title, total=total, transient=True)
    sums = []
    for batch in steps:
        losses = _losses(training.model(batch.images), batch, config)
        training.optimizer.zero_grad()
        losses.mean().backward()  # type: ignore[no-untyped-call]  # torch
        training.optimizer.step()
        sums.append(losses.detach().sum())
    return _mean(sums, len(pack), config, epoch)


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


def _losses(prediction: torch.Tensor, batch: Batch, config: TrainConfig) -> torch.Tensor:
    weights = joint_weights(batch, config)
    return heatmap_loss(prediction, targets(batch, config), weights, batch.mask)


@torch.inference_mode()
def validate(
    model: nn.Module, config: TrainConfig, pack: Pack, device: torch.device
) -> tuple[float, float, float]:
    """The mean loss of the samples, the mean OKS of the persons, and COCO's AP."""
    model.eval()
    total = 0.0
    found = np.zeros_like(pack.table.keypoints)
    for batch in batches(pack, np.arange(len(pack)), config.train.batch_size, device):
        heatmaps = model(batch.images)
        total += float(_losses(heatmaps, batch, config).double().sum())
        persons, joints = detect(heatmaps, pack, batch.samples)
        found[persons] = joints
    val_loss = total / len(pack)
    return val_loss, float(oks(found, pack.table).mean()), average_precision(found, pack.table)


def _is_best(value: float, curve: list[EpochReport], config: TrainConfig) -> bool:
    earlier = [getattr(row, config.checkpoint.metric) for row in curve]
    if best_is_max(config.checkpoint.metric):
        return value > max(earlier, default=-torch.inf)
    return value < min(earlier, default=torch.inf)


def _peak_memory(device: torch.device) -> int:
    """Bytes: of the device in this epoch, or of the process so far on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
