"""What the checkpoints of a search of 40 trials take on the disk, against the bound of `--plan`.

python -m bench.disk
"""

import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.measure import parse_arguments, record, show

SPACE = """\
base:
  data: {image_size: [64, 64], limit_train: 12, limit_val: 6}
  model: {deconv_channels: [16, 16, 16]}
  heatmap: {sigma_px: 1.0}
  train: {epochs: 4}
space:
  optim.lr: {low: 1.0e-4, high: 1.0e-1, log: true}
  train.batch_size: [2, 4, 8]
trials: 40
asha: {grace_epochs: 1, reduction: 2}
resources: {cpu: 1}
"""


def main() -> None:
    arguments = parse_arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "space.yaml").write_text(SPACE)
        out = root / "out"
        command = [sys.executable, "-m", "search.run", str(root / "space.yaml")]
        command += ["--data", "embedded", "--out", str(out)]
        plan = subprocess.check_output([*command, "--plan"], text=True)
        match = re.search(r"and (\S+) GB of checkpoints", plan)
        assert match is not None, plan
        bound = 1e9 * float(match[1])
        taken: list[int] = []
        ended = threading.Event()
        watch = threading.Thread(target=_watch, args=(out, taken, ended))
        watch.start()
        try:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        finally:
            ended.set()
            watch.join()
    figure = (
        f"at most {max(taken) / 1e6:.3g} MB of checkpoints at any of {len(taken):,} looks, "
        f"{taken[-1] / 1e6:.3g} MB at the end; --plan says at most {bound / 1e6:.3g} MB"
    )
    show([("40 trials", figure)])
    record(arguments, figure)


def _watch(out: Path, taken: list[int], ended: threading.Event) -> None:
    """Bytes of all checkpoints, those being written too, some fifty times a second."""
    while not ended.is_set():
        taken.append(sum(map(_size, out.rglob("*.p*t*"))))
        time.sleep(0.02)
    taken.append(sum(map(_size, out.rglob("*.p*t*"))))


def _size(path: Path) -> int:
    """Of a checkpoint, or of one that is being written; 0 of anything else."""
    if not re.search(r"\.(pth|pt)(\.tmp)?$", path.name):
        return 0
    try:
        return path.stat().st_size
    except FileNotFoundError:  # renamed or removed since it was listed
        return 0


if __name__ == "__main__":
    main()
