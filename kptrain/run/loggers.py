"""Logs reports to Weights & Biases and TensorBoard, as the settings ask, and passes them on."""

from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol

from kptrain.config import TrainConfig
from kptrain.resolve import settings_of
from kptrain.run.curve import EpochReport
from kptrain.run.wandb_runs import start_wandb_run
from kptrain.strict_yaml import dump_yaml

TENSORBOARD = "tensorboard"
"""The folder of its files, in the run folder."""


class Logger(Protocol):
    def log(self, report: EpochReport) -> None: ...
    def finish(self, exit_code: int, /) -> None: ...


def log_reports(
    reports: Generator[EpochReport, None, None],
    config: TrainConfig,
    run_dir: Path,
    *,
    group: str | None = None,
    run_id: str | None = None,
) -> Generator[EpochReport, None, None]:
    """Log each report, then yield it; closing this generator closes `reports` and the loggers.

    At Weights & Biases an earlier run with the same `run_id` is resumed.

    Raises: SettingsError if Weights & Biases cannot start a run.
    """
    with closing(reports):
        loggers: list[Logger] = []
        if config.wandb.mode != "disabled":
            loggers.append(
                WandbLogger(start_wandb_run(config, run_dir, run_dir.name, group, run_id))
            )
        if config.tensorboard.enabled:
            loggers.append(TensorboardLogger(config, run_dir))
        exit_code = 1
        try:
            with suppress(GeneratorExit):  # stopping early is not a failure
                for report in reports:
                    for logger in loggers:
                        logger.log(report)
                    yield report
            exit_code = 0
        finally:
            for logger in loggers:
                logger.finish(exit_code)


class WandbLogger:
    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, report: EpochReport) -> None:
        self._run.log(vars(report), step=report.epoch)

    def finish(self, exit_code: int) -> None:
        self._run.finish(exit_code)  # not `with run`: that prints a traceback


class TensorboardLogger:
    def __init__(self, config: TrainConfig, run_dir: Path) -> None:
        self._config = config
        self._folder = run_dir / TENSORBOARD
        self._writer: Any = None

    def log(self, report: EpochReport) -> None:
        if self._writer is None:
            from tensorboardX import SummaryWriter  # noqa: PLC0415  (half a second of start-up)

            # Epochs that are trained again after a kill replace their old values.
            self._writer = SummaryWriter(str(self._folder), purge_step=report.epoch)
            self._writer.add_text("settings", f"```\n{dump_yaml(settings_of(self._config))}```")
        for name, value in vars(report).items():
            if name != "epoch" and value is not None:
                self._writer.add_scalar(name, float(value), report.epoch)
        self._writer.flush()

    def finish(self, _: int) -> None:
        if self._writer is not None:
            self._writer.close()


def log_artifact(config: TrainConfig, folder: Path, *, group: str, run_id: str) -> None:
    """Upload a folder as a model artifact to Weights & Biases, unless its mode is `disabled`.

    Raises: SettingsError if no run can be started there.
    """
    if config.wandb.mode == "disabled":
        return
    import wandb  # noqa: PLC0415  (a second of start-up)

    run = start_wandb_run(config, folder.parent, f"{group} best", group, run_id)
    artifact = wandb.Artifact(f"{config.wandb.project}-best", "model", metadata=settings_of(config))
    artifact.add_dir(str(folder))
    run.log_artifact(artifact)
    run.finish()
