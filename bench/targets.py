"""Figure 3: targets for a batch of 64 with three persons each, against the loop, on one core."""

import numpy as np
import torch

from bench.measure import in_turns, parse_arguments, ratio, record, show, spread
from bench.textbook import heatmap_loop
from kptrain.machine.device import keep_freed_memory
from kptrain.model.heatmaps import encode

BATCH, PERSONS, JOINTS, SIDE, SIGMA = 64, 3, 17, 64, 2.0


def main() -> None:
    arguments = parse_arguments(__doc__)
    torch.set_num_threads(1)
    keep_freed_memory()  # as a training does
    generator = np.random.default_rng(0)
    joints = generator.uniform(0, SIDE, (BATCH, PERSONS, JOINTS, 2)).astype(np.float32)
    labelled = np.ones((BATCH, PERSONS, JOINTS), dtype=bool)
    on_device = torch.from_numpy(joints), torch.from_numpy(labelled)

    def loop() -> np.ndarray:
        maps = [
            heatmap_loop(list(j), list(seen), (SIDE, SIDE), SIGMA)
            for j, seen in zip(joints, labelled, strict=True)
        ]
        return np.stack(maps)

    def ours() -> torch.Tensor:
        return encode(*on_device, (SIDE, SIDE), SIGMA)

    difference = float(np.abs(loop() - ours().numpy()).max())
    seconds = in_turns({"loop": loop, "ours": ours}, arguments.repetitions)
    milliseconds = {name: [1e3 * s for s in turns] for name, turns in seconds.items()}
    times = ratio(seconds["loop"], seconds["ours"])
    show(
        [
            ("loop, ms a batch", spread(milliseconds["loop"], 1)),
            ("ours, ms a batch", spread(milliseconds["ours"], 1)),
            ("loop / ours", times),
            ("largest difference", f"{difference:.1g}"),
        ]
    )
    record(arguments, f"targets of 64 x 3 persons at 64x64: {times} the loop on one core")


if __name__ == "__main__":
    main()
