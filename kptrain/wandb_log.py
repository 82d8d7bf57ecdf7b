"""Metrics to Weights & Biases, where `wandb.mode` asks for it: a reader that passes on."""

from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from kptrain.config import TrainConfig
from kptrain.curve import EpochReport
from kptrain.errors import SettingsError
from kptrain.resolve import settings_of


def log_to_wandb(
    reports: Generator[EpochReport, None, None],
    config: TrainConfig,
    run_dir: Path,
    *,
    group: str | None = None,
    run_id: str | None = None,
) -> Generator[EpochReport, None, None]:
    """Pass the reports on, each logged before; closing this closes the stream and the run.

    A run with a `run_id` that was logged before goes on where it ended.

    Raises: SettingsError if Weights & Biases cannot start a run.
    """
    with closing(reports):
        if config.wandb.mode == "disabled":
            yield from reports
            return
        run = _start_run(config, run_dir, group, run_id)
        exit_code = 1
        try:  # not `with run`, which prints a traceback and takes an early stop for a failure
            with suppress(GeneratorExit):
                for report in reports:
                    run.log(vars(report), step=report.epoch)
                    yield report
            exit_code = 0
        finally:
            run.finish(exit_code)


def _start_run(config: TrainConfig, run_dir: Path, group: str | None, run_id: str | None) -> Any:
    import wandb  # noqa: PLC0415  (a second of start-up that most trainings need not pay)

    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        return wandb.init(
            project=config.wandb.project,
            mode=config.wandb.mode,
            dir=run_dir,
            name=run_dir.name,
            group=group,
            id=run_id,
            resume="allow" if run_id else None,
            config=settings_of(config),
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
        )
    except wandb.Error as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise SettingsError(
            f"wandb.mode: must be a mode that can start a run here, but {config.wandb.mode} "
            f"cannot: {reason}; or use offline or disabled"
        ) from None
