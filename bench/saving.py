"""What saving the full model costs an epoch: written before the next one begins, or beside it."""

import tempfile
from pathlib import Path

import torch

from bench.measure import in_turns, parse_arguments, ratio, record, show, spread
from kptrain.model.checkpoint import on_host, save_checkpoint
from kptrain.needs.memory import random_batch
from kptrain.resolve import resolve
from kptrain.training.state import start_training, take_step

FULL = {
    "data.root": "embedded",
    "data.image_size": [64, 64],
    "heatmap.sigma_px": 1.0,
    "model.trunk": "resnet50",
    "model.deconv_channels": [1024, 512, 256],
    "model.weights": "none",
    "train.batch_size": 2,
}


def main() -> None:
    arguments = parse_arguments(__doc__)
    config = resolve(FULL, "bench")
    device = torch.device("cpu")
    training = start_training(config, device, afresh=True)
    take_step(training, random_batch(config, device), config)
    state = {
        "weights": training.model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resume.pt"
        seconds = in_turns(
            {"written": lambda: save_checkpoint(state, path), "copied": lambda: on_host(state)},
            arguments.repetitions,
        )
        size = path.stat().st_size
    times = ratio(seconds["written"], seconds["copied"])
    show(
        [
            ("state to resume from", f"{size / 1e6:.0f} MB"),
            ("written and flushed, s", spread(seconds["written"], 2)),
            ("copied for the thread that writes, s", spread(seconds["copied"], 2)),
            ("written / copied", times),
        ]
    )
    record(
        arguments,
        f"the full model's state ({size / 1e6:.0f} MB) holds an epoch up for "
        f"{spread(seconds['copied'], 2)} s instead of {spread(seconds['written'], 2)} s: {times}",
    )


if __name__ == "__main__":
    main()
