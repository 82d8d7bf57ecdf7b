"""How long a search takes, against what its plan said just before it.

Both are whole commands, on drawn people, in turns; the estimate is as it is printed.
"""

import re
import tempfile
from pathlib import Path
from statistics import median

from bench.command import run_search
from bench.measure import parse_arguments, record, show, spread
from kptrain.machine.progress import UNITS

SPACE = Path("spaces/quick.yaml")
TAKES = re.compile(r"^Takes +about ([\d.]+) (\w+) \(", re.MULTILINE)


def estimate_of(said: str) -> float:
    """Seconds."""
    found = TAKES.search(said)
    assert found is not None, said
    lengths = {name: seconds for seconds, name in UNITS}
    return float(found[1]) * lengths[found[2]]


def main() -> None:
    arguments = parse_arguments(__doc__)
    told, took = [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(arguments.repetitions):
            out = Path(folder) / str(turn)
            plan = run_search(SPACE, out, "--data", "embedded", "--plan")
            told.append(estimate_of("".join(line for _, line in plan.lines)))
            took.append(run_search(SPACE, out, "--data", "embedded").total)
    ratios = [real / said for real, said in zip(took, told, strict=True)]
    show(
        [
            ("the plan says, s", spread(told, 0)),
            ("the search takes, s", spread(took, 0)),
            ("search / plan", spread(ratios, 2)),
        ]
    )
    record(
        arguments,
        f"{SPACE} on drawn people: the plan says {median(told):.0f} s, the search takes "
        f"{spread(took, 0)} s, {spread(ratios, 2)} of it",
    )


if __name__ == "__main__":
    main()
