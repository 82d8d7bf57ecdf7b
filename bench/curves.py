"""Figure 7: whether this commit trains the curves of an earlier one, in fp32 on the CPU.

Both are trained now, in both views, from the same drawn data: equal bytes of `metrics.csv`, or the
largest relative difference of a loss.

    python -m bench.curves COMMIT
"""

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import parse_arguments, record, show

HERE = Path(__file__).parents[1]
TRAININGS = {
    "image view": ["data.view=image", "train.epochs=3"],
    "person view": ["data.view=person", "train.epochs=2", "train.batch_size=16"],
    "image view, ResNet-18": ["model.trunk=resnet18", "train.epochs=1", "data.limit_train=200"],
}
SAID = ["train.threads=1", "train.device=cpu"]


def main() -> None:
    arguments = parse_arguments(__doc__, takes_commit=True)
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "before"
        git = ["git", "worktree", "add", "--quiet", "--detach", str(before), arguments.commit]
        subprocess.run(git, cwd=HERE, check=True)
        try:
            rows = [(name, compared(name, before, Path(folder))) for name in TRAININGS]
        finally:
            git = ["git", "worktree", "remove", "--force", str(before)]
            subprocess.run(git, cwd=HERE, check=True)
    show(rows)
    summary = "; ".join(f"{name}: {found}" for name, found in rows)
    record(arguments, f"curves against {arguments.commit}: {summary}")


def compared(name: str, before: Path, folder: Path) -> str:
    """Train in both trees; say how the curves compare."""
    curves = [
        trained(name, tree, folder / f"{kind} {name}")
        for kind, tree in (("old", before), ("new", HERE))
    ]
    if curves[0].read_bytes() == curves[1].read_bytes():
        return "identical"
    old, new = (list(csv.DictReader(curve.open(newline=""))) for curve in curves)
    differences = [
        abs(float(now[loss]) / float(then[loss]) - 1)
        for then, now in zip(old, new, strict=True)
        for loss in ("train_loss", "val_loss")
    ]
    return f"losses differ by up to {max(differences):.1%}, {differences[0]:.2%} in the first epoch"


def trained(name: str, tree: Path, out: Path) -> Path:
    settings = [part for said in SAID + TRAININGS[name] for part in ("--set", said)]
    command = [sys.executable, "-m", "kptrain", "--data", "embedded", "--out", str(out), *settings]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, check=True)
    return out / "metrics.csv"


if __name__ == "__main__":
    main()
