"""Real searches of `spaces/quick.yaml` on the drawn set, against the defaults and random settings.

Each seed has two searches of the same epochs, one with our sampler and one with random settings,
both with our ASHA. What each finds and the defaults are then trained with three fresh seeds
(`confirm`), and what is compared is the mean of these: no value was chosen for being best.

    python -m bench.real_search
"""

import csv
import re
import sys
import tempfile
from pathlib import Path
from statistics import fmean

from bench.command import run_command
from bench.measure import parse_arguments, record, show, spread

SPACE = Path(__file__).parents[1] / "spaces" / "quick.yaml"
EPOCHS = 48
"""Of each search, all trials together."""


def main() -> None:
    arguments = parse_arguments(__doc__)
    seeds = range(arguments.repetitions)
    with tempfile.TemporaryDirectory() as folder:
        ours, drawn = (
            [confirmed(Path(folder), sampler, seed) for seed in seeds]
            for sampler in ("gp", "random")
        )
    beaten = sum(found < default for found, default in ours)
    rows = [
        (name, " ".join(f"{value:.6f}" for value in values))
        for name, values in (
            ("ours, by seed", [found for found, _ in ours]),
            ("random settings, by seed", [found for found, _ in drawn]),
            ("the defaults, by seed", [default for _, default in ours]),
        )
    ]
    show(rows)
    record(
        arguments,
        f"quick.yaml, {EPOCHS} epochs a search, confirmed with 3 fresh seeds: below the defaults' "
        f"val_loss in {beaten} of {len(ours)} searches; ours {_told(ours)}, "
        f"random settings {_told(drawn)}",
    )


def confirmed(folder: Path, sampler: str, seed: int) -> tuple[float, float]:
    """The means of what a search promotes and of the defaults."""
    space = folder / f"{sampler}-{seed}.yaml"
    text = re.sub(r"^trials: .*$", f"epochs: {EPOCHS}", SPACE.read_text(), flags=re.M)
    added = f"sampler: {sampler}\nseed: {seed}\nconfirm: {{top: 1, seeds: 3}}\n"
    space.write_text(f"{text}\n{added}")
    out = space.with_suffix("")
    command = ["-m", "search.run", str(space), "--data", "embedded", "--out", str(out)]
    run_command([sys.executable, *command])
    with (out / "confirm.csv").open(newline="") as file:
        means = {row["trial"]: float(row["mean"]) for row in csv.DictReader(file)}
    return min(means.values()), means["0"]


def _told(found: list[tuple[float, float]]) -> str:
    values = [value for value, _ in found]
    return f"mean {fmean(values):.6f}, {spread(values, 6)}"


if __name__ == "__main__":
    main()
