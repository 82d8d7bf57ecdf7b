"""Logs reports to Weights & Biases and TensorBoard, as the settings ask, and passes them on."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from kptrain.config import TrainConfig
from kptrain.resolve import settings_of
from kptrain.run.curve import EpochReport
from kptrain.run.wandb_runs import start_wandb_run
from kptrain.strict_yaml import dump_yaml

TENSORBOARD = "tensorboard"
"""The folder of its files, in the run folder."""
Log = Callable[[EpochReport], None]


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
    with closing(reports), ExitStack() as stack:
        logs: list[Log] = []
        if config.wandb.mode != "disabled":
            run = start_wandb_run(config, run_dir, run_dir.name, group, run_id)
            logs.append(stack.enter_context(_wandb_log(run)))
        if config.tensorboard.enabled:
            logs.append(stack.enter_context(_tensorboard_log(config, run_dir)))
        with suppress(GeneratorExit):  # stopping early is not a failure
            for report in reports:
                for log in logs:
                    log(report)
                yield report


@contextmanager
def _wandb_log(run: Any) -> Iterator[Log]:
    exit_code = 1
    try:
        yield lambda report: run.log(vars(report), step=report.epoch)
        exit_code = 0
    finally:
        run.finish(exit_code)  # not `with run`: that prints a traceback


@contextmanager
def _tensorboard_log(config: TrainConfig, run_dir: Path) -> Iterator[Log]:
    writer: Any = None

    def log(report: EpochReport) -> None:
        nonlocal writer
        if writer is None:
            from tensorboardX import SummaryWriter  # noqa: PLC0415  (half a second of start-up)

            # Epochs that are trained again after a kill replace their old values.
            writer = SummaryWriter(str(run_dir / TENSORBOARD), purge_step=report.epoch)
            writer.add_text("settings", f"```\n{dump_yaml(settings_of(config))}```")
        for name, value in vars(report).items():
            if name != "epoch" and value is not None:
                writer.add_scalar(name, float(value), report.epoch)
        writer.flush()

    try:
        yield log
    finally:
        if writer is not None:
            writer.close()


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
