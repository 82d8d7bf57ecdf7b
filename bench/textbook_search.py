"""The peer of a search: plain Ray Tune around the textbook's training.

The trials are given, so that both searches try the same. Each runs in a fresh process, as Tune does
unless told otherwise, and saves a checkpoint in full after each epoch. ASHA is Tune's own.

    python -m bench.textbook_search TRIALS.json OUT
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(
    {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "0", "TUNE_MAX_PENDING_TRIALS_PG": "16"}
)

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from bench import textbook
from kptrain.config import TrainConfig


def train(config: dict[str, Any]) -> None:
    """A function trainable, as Tune's tutorials have it."""
    settings = TrainConfig.model_validate(config["settings"])
    for epoch, (_, val_loss) in enumerate(textbook.train(settings, Path("run"), 0), 1):
        tune.report({"val_loss": val_loss, "epoch": epoch})


class Printer(tune.Callback):
    """One line for each epoch, so that who watches can tell when a value was reached."""

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        print(f"reached {result['val_loss']:.8f}", flush=True)


class Silence(tune.ProgressReporter):
    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: dict[str, Any]) -> None:
        pass


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text())
    ray.init(log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    print("Results", flush=True)
    asha = ASHAScheduler(
        time_attr="epoch",
        metric="val_loss",
        mode="min",
        max_t=given["epochs"],
        grace_period=given["grace_epochs"],
        reduction_factor=given["reduction"],
    )
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={"settings": tune.grid_search(given["trials"])},
        tune_config=tune.TuneConfig(scheduler=asha),
        run_config=tune.RunConfig(
            storage_path=str(Path(sys.argv[2]).absolute()),
            callbacks=[Printer()],
            verbose=0,
            progress_reporter=Silence(),
        ),
    )
    tuner.fit()


if __name__ == "__main__":
    main()
