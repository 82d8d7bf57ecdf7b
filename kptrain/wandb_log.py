"""Metrics to Weights & Biases, where `wandb.mode` asks for it: a reader that passes on."""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from kptrain.config import TrainConfig
from kptrain.curve import EpochReport
from kptrain.resolve import settings_of


def log_to_wandb(
    reports: Generator[EpochReport, None, None],
    config: TrainConfig,
    run_dir: Path,
    *,
    group: str | None = None,
) -> Generator[EpochReport, None, None]:
    """Pass the reports on, each logged before; closing this closes the stream and the run."""
    with closing(reports):
        if config.wandb.mode == "disabled":
            yield from reports
            return
        import wandb  # noqa: PLC0415  (a second of start-up that most trainings need not pay)

        run_dir.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=config.wandb.project,
            mode=config.wandb.mode,
            dir=run_dir,
            name=run_dir.name,
            group=group,
            config=settings_of(config),
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
        )
        with run:
            for report in reports:
                run.log(vars(report), step=report.epoch)
                yield report
