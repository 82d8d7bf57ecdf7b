"""Figure 5: `spaces/quick.yaml` whole, against the textbook with plain Ray Tune.

The textbook is given the trials that ours proposed, on the same cores and with the same ASHA. What
counts is the time from the command's start until the worse of the two best values is reached; with
a warm pack, as every search but the first on a machine has it, and for ours cold as well. Ours
computes OKS and AP in every epoch, too, which the textbook does not.

Drawn images are few, small and decoded fast, so that the start of Python and Ray is most of it.
With photographs (`--data`, repeated up to 1,000 and 250) it is as with COCO, on the small network
of the embedded set.
"""

import json
import os
import re
import sys
import tempfile
from pathlib import Path

import yaml

from bench.command import Said, run_command, run_search, table_of
from bench.measure import parse_arguments, ratio, record, show, spread
from bench.repeated import repeat
from kptrain.resolve import EMBEDDED, EMBEDDED_SETTINGS, resolve
from search.space.reader import read_space
from search.trainings.keypoints import KEYPOINTS

OURS, TEXTBOOKS = r"epoch +\d+/\d+  val_loss (\S+)", r"^reached (\S+)"
"""How each tells the value of an epoch."""
NUM_TRAIN, NUM_VAL = 1000, 250
"""Photographs; half of what quick.yaml takes at most, so that five turns take ten minutes."""
SPACE = Path(__file__).parents[1] / "spaces" / "quick.yaml"


def main() -> None:
    arguments = parse_arguments(__doc__, takes_data=True)
    ours: list[float] = []
    peers: list[float] = []
    ends: list[tuple[float, float]] = []
    values: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        options = _options(arguments.data, Path(folder) / "data")
        cold = _cold(Path(folder), options)
        run_search(SPACE, Path(folder) / "warm", *options)
        for turn in range(arguments.repetitions):
            out = Path(folder) / f"ours-{turn}"
            mine = run_search(SPACE, out, *options)
            peer = _textbook(out, Path(folder) / f"textbook-{turn}")
            mine_at = reached(mine, OURS)
            peer_at = reached(peer, TEXTBOOKS)
            best = min(v for _, v in mine_at), min(v for _, v in peer_at)
            ours.append(next(t for t, v in mine_at if v <= max(best)))
            peers.append(next(t for t, v in peer_at if v <= max(best)))
            ends.append((mine.total, peer.total))
            values.append(best)
    times = ratio(peers, ours)
    whole = ratio([peer for _, peer in ends], [own for own, _ in ends])
    own_best, peer_best = (spread(list(v), 6) for v in zip(*values, strict=True))
    show(
        [
            ("ours, s to the same best value", spread(ours, 1)),
            ("textbook, s to it", spread(peers, 1)),
            ("textbook / ours", times),
            ("whole commands, textbook / ours", whole),
            ("best value of ours", own_best),
            ("best value of the textbook", peer_best),
            ("ours with an empty cache, whole command, s", f"{cold:.1f}"),
        ]
    )
    kind = "drawn images" if arguments.data == EMBEDDED else "photographs"
    record(
        arguments,
        f"quick.yaml on {kind}, to the same best value: textbook {spread(peers, 1)} s, "
        f"ours {spread(ours, 1)} s: {times}; best {peer_best} and "
        f"{own_best}; whole commands {whole}",
    )


def _options(data: str, folder: Path) -> list[str]:
    """How a search is told its data; photographs get the small network's settings."""
    if data == EMBEDDED:
        return ["--data", EMBEDDED]
    said = EMBEDDED_SETTINGS | {"data.limit_train": NUM_TRAIN, "data.limit_val": NUM_VAL}
    said = {path: value for path, value in said.items() if path != "train.epochs"}
    settings = [part for path, value in said.items() for part in ("--set", f"{path}={value}")]
    return ["--data", str(repeat(Path(data), folder, NUM_TRAIN, NUM_VAL)), *settings]


def _cold(folder: Path, options: list[str]) -> float:
    """Seconds of a first search, which packs the data, and draws them if they are drawn ones."""
    before = os.environ.get("KPTRAIN_CACHE")
    os.environ["KPTRAIN_CACHE"] = str(folder / "cache")
    try:
        return run_search(SPACE, folder / "cold", *options).total
    finally:
        del os.environ["KPTRAIN_CACHE"]
        if before is not None:
            os.environ["KPTRAIN_CACHE"] = before


def reached(said: Said, pattern: str) -> list[tuple[float, float]]:
    """When each epoch's value was told."""
    found = [(seconds, re.search(pattern, line)) for seconds, line in said.lines]
    return [(seconds, float(match[1])) for seconds, match in found if match]


def _textbook(out: Path, folder: Path) -> Said:
    """The textbook on the trials of a search of ours."""
    space = read_space(SPACE, KEYPOINTS)
    numbers = sorted({row["trial"] for row in table_of(out)}, key=int)
    trials = [
        yaml.safe_load((out / "trials" / f"{int(n):03d}" / "config.yaml").read_text())
        for n in numbers
    ]
    given = {
        "trials": trials,
        "epochs": resolve(space.base | {"data.root": "embedded"}, "bench").train.epochs,
        "grace_epochs": space.asha.grace_epochs,
        "reduction": space.asha.reduction,
    }
    listed = folder.with_suffix(".json")
    listed.write_text(json.dumps(given))
    return run_command([sys.executable, "-m", "bench.textbook_search", str(listed), str(folder)])


if __name__ == "__main__":
    main()
