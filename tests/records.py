"""Records of searches whose trials are reported by hand."""

from dataclasses import fields
from typing import Any, get_args

from kptrain.config import BEST, RESUME, Metric, TrainConfig
from kptrain.resolve import change
from kptrain.run.curve import EpochReport
from search.journal.reasons import Failed
from search.report.importance import Importance
from search.space.training import Report
from search.trainings.keypoints import KEYPOINTS
from search.trials.record import Record, State, TrialRecord

BROKE = Failed(error="it broke", cause="own")
NOTHING = Importance(KEYPOINTS.metrics["val_loss"], 1, 3, (), "too few")


def report_of(epoch: int, **values: Any) -> EpochReport:
    """An epoch that came to the given values; all others are 0."""
    others = {field.name: 0.0 for field in fields(EpochReport)}
    told = {"epoch": epoch, "peak_memory_bytes": 0, "is_best": True}
    return EpochReport(**(others | told | values))


def epoch(number: int, value: float) -> Report:
    """A report whose every metric is the given value."""
    return vars(report_of(number, train_loss=value, **dict.fromkeys(get_args(Metric), value)))


def add(record: Record, values: list[float], state: State, lr: float = 1e-3) -> TrialRecord:
    """A trial that ended after the given values, with files as a training leaves them."""
    config = change(TrainConfig(), {"optim.lr": lr, "train.epochs": 3}, "test")
    trial = record.add({"optim.lr": lr}, config)
    trial.run_dir.mkdir(parents=True)
    for name in (BEST, RESUME):
        (trial.run_dir / name).write_bytes(b"x")
    for number, value in enumerate(values, 1):
        record.report(trial.number, epoch(number, value), "host", "cpu")
    record.set_state(trial.number, state, BROKE if state == "failed" else None)
    return trial
