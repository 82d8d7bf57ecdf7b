"""Inputs that are damaged on purpose, by kind: each must be refused by one line and exit code 2, or
lead to a sound run that says what it left out, or to the result of the undamaged input.

    python -m bench.mutated

What no reader can notice is no mutation here: a digit of a keypoint, a pixel of a photograph.
"""

import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import kptrain.__main__
import search.backend.tune_driver  # once, before the commands are forked
import search.run
from bench.measure import parse_arguments, record, show
from kptrain.config import BEST, RESUME
from kptrain.machine.cores import usable_cores
from kptrain.synthetic.data_set import write_embedded

SETTINGS = """\
data: {image_size: [64, 64]}
heatmap: {sigma_px: 1.0}
model: {trunk: shufflenet_v2_x0_5, deconv_channels: [8, 8, 8], weights: none}
optim: {lr: 1.0e-3}
train: {epochs: 2, batch_size: 3, threads: 1, device: cpu}
"""
SPACE = """\
base:
  data: {image_size: [64, 64], limit_train: 6, limit_val: 4}
  model: {deconv_channels: [8, 8, 8]}
  heatmap: {sigma_px: 1.0}
  train: {epochs: 2}
space:
  optim.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
  train.batch_size: [2, 3]
trials: 2
asha: {grace_epochs: 1, reduction: 2}
resources: {cpu: CPUS}
"""
SECONDS = 120
"""More, and it counts as a hang."""

Draw = random.Random
Command = list[str]
CLEAN = "same result"


@dataclass
class Base:
    """What is there before anything is damaged."""

    root: Path
    coco: Path
    config: Path
    run: Path
    searched: Path
    results: dict[str, str]
    """What the undamaged training came to, and one from its weights, by folder."""
    table: str
    """And the undamaged search."""
    said: list[str]
    """What the undamaged data was said to be."""


def main() -> None:
    arguments = parse_arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        base = _base(Path(folder))
        ends: dict[str, Counter[str]] = {}
        for number in range(arguments.repetitions * len(KINDS)):
            kind = list(KINDS)[number % len(KINDS)]
            place = base.root / f"{number:04d}"
            place.mkdir()
            end = _end(kind, base, place, random.Random(number))  # noqa: S311  (to be drawn again)
            if end not in FINE:
                show([(f"{kind}, number {number}", end)])
                end = "WRONG"
            ends.setdefault(kind, Counter())[end] += 1
            shutil.rmtree(place)
    show([(kind, _told(counts)) for kind, counts in ends.items()])
    total = sum(ends.values(), Counter[str]())
    record(arguments, f"{total.total()} mutated inputs of {len(ends)} kinds: {_told(total)}")


FINE = ("refused", "left out", CLEAN, "built anew", "other sound settings")


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[end]} {end}" for end in (*FINE, "WRONG"))


def _base(root: Path) -> Base:
    os.environ["KPTRAIN_CACHE"] = str(root / "cache")
    coco, config, space = root / "coco", root / "config.yaml", root / "space.yaml"
    write_embedded(coco, num_train=8, num_val=6)
    config.write_text(SETTINGS)
    space.write_text(_space_text())
    run, searched = root / "run", root / "searched"
    train = [*TRAIN, str(config), "--data", str(coco), "--out"]
    said: list[str] = []
    for command in (
        [*train, str(run)],
        [*train, str(root / "from"), "--set", f"model.weights={run / BEST}"],
        [*SEARCH, str(space), "--data", "embedded", "--out", str(searched)],
    ):
        code, out, err = _run(command)
        if code:
            raise SystemExit(err)
        said = said or _summaries(out)
    table = (searched / "trials.csv").read_text()
    results = {folder: _results(root / folder) for folder in ("run", "from")}
    return Base(root, coco, config, run, searched, results, table, said)


TRAIN, SEARCH = ["kptrain"], ["search.run"]
MAINS: dict[str, Callable[[list[str]], int]] = {
    "kptrain": kptrain.__main__.main,
    "search.run": search.run.main,
}


def _run(command: Command) -> tuple[int, str, str]:
    """Exit code (negative: a signal), what was said, and what went to standard error."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            name, *arguments = command
            try:
                code = MAINS[name](arguments)
            except SystemExit as exit_:  # of argparse
                code = exit_.code if isinstance(exit_.code, int) else 1
            except BaseException:  # shown as Python would
                sys.excepthook(*sys.exc_info())
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        code = _wait(pid)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    return code, texts[0], texts[1]


def _wait(pid: int) -> int:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGALRM


def _end(kind: str, base: Base, place: Path, draw: Draw) -> str:
    command = KINDS[kind](base, place, draw)
    code, out, err = _run(command)
    if code == 2:
        lines = [line for line in err.splitlines() if not line.endswith("it is built again")]
        return "refused" if len(lines) == 1 and lines[0].startswith("error: ") else f"says {err!r}"
    if code or "Traceback" in err:
        return f"exit code {code}: {err[-600:]}"
    return _sound_end(kind, base, place, out, err)


def _sound_end(kind: str, base: Base, place: Path, out: str, err: str) -> str:
    if kind in ("settings", "space file"):
        return "other sound settings"
    if kind == "journal":
        return CLEAN if _table(place / "searched") == _plain(base.table) else "another table"
    folder = "from" if (place / "from").exists() else "run"
    is_same = _results(place / folder) == base.results[folder]
    if "built again" in err and is_same:
        return "built anew"
    if _summaries(out) != base.said:
        return "left out"
    return CLEAN if is_same else "another result, and nothing was said"


def _summaries(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith(("train: ", "val: "))]


def _space_text() -> str:
    """One trial at a time, so that a table comes out again."""
    return SPACE.replace("CPUS", str(usable_cores()))


def _results(run: Path) -> str:
    return (run / "metrics.csv").read_text()


def _table(searched: Path) -> list[list[str]]:
    return _plain((searched / "trials.csv").read_text())


def _plain(table: str) -> list[list[str]]:
    """Without the three columns of times and memory."""
    rows = [line.split(",") for line in table.splitlines()]
    times = ("seconds", "images_per_second", "peak_memory_bytes")
    kept = [index for index, name in enumerate(rows[0]) if name not in times]
    return [[row[index] for index in kept if index < len(row)] for row in rows]


def _copy(base: Base, place: Path) -> tuple[Path, Command]:
    """A data set to damage, and the command that trains on it."""
    root = place / "coco"
    shutil.copytree(base.coco, root)
    return root, [*TRAIN, str(base.config), "--data", str(root), "--out", str(place / "run")]


def _image(base: Base, place: Path, draw: Draw) -> Command:
    root, command = _copy(base, place)
    path = draw.choice(sorted((root / draw.choice(["train2017", "val2017"])).iterdir())[:4])
    content = path.read_bytes()
    path.unlink()
    how = draw.randrange(13)
    if how == 0:
        path.write_bytes(content[: draw.randrange(1, len(content) - 2)])
    elif how == 1:
        path.write_bytes(b"")
    elif how == 2:
        path.write_text("<html>404</html>")
    elif how == 3:
        path.write_bytes(bytes(draw.randrange(256) for _ in range(draw.randrange(1, 5000))))
    elif how == 4:
        Image.new("RGB", (draw.randrange(1, 50), draw.randrange(1, 50))).save(path)
    elif how == 5:
        path.mkdir()
    elif how == 6:
        path.symlink_to(draw.choice([path.name, "/nowhere", ".."]))
    elif how == 7:  # a header that claims up to 65535 x 65535
        start = content.index(b"\xff\xc0") + 5
        path.write_bytes(content[:start] + b"\xff\xff\xff\xff" + content[start + 4 :])
    elif how == 8:
        path.write_bytes(content[:2] + bytes(draw.randrange(1, 400)) + content[2:])
    elif how == 9:
        path.write_bytes(draw.choice([b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF"]) + content)
    elif how == 10:
        os.mkfifo(path)
    elif how == 11:
        path.write_bytes(content[:200] + content[-200:])
    return command  # 12: the file is gone


FAULTS: dict[str, list[Any]] = {
    "keypoints": [[2] * 50, [float("nan")] * 51, [9e9, 9, 2] * 17, "text", {}],
    "bbox": [[1, 2, 3], [1, 2, -3, 4], [1, 2, 0, 0], None, [1e300] * 4, "1234"],
    "id": [None, "12", -1, 2**70, 1.5],
    "image_id": [None, 10**9, "1", [], {}],
    "area": [None, -1, 0, float("inf"), "large"],
    "category_id": [None, 2, "person", [1]],
    "segmentation": [7, [[1, 2]], {"size": [1, 1], "counts": "oooo"}, [[1e9] * 6]],
}
RECORD_FAULTS: dict[str, list[Any]] = {
    "file_name": ["../../etc/passwd", "/etc/passwd", "", None, 7, "a\0b"],
    "height": [0, -5, None, "96", 10**9, 3.5],
    "width": [0, float("nan"), [], 10**400],
    "id": [None, "1", 2**70],
}


def _annotations(base: Base, place: Path, draw: Draw) -> Command:
    root, command = _copy(base, place)
    path = root / "annotations" / f"person_keypoints_{draw.choice(['train', 'val'])}2017.json"
    content = json.loads(path.read_text())
    how = draw.randrange(12)
    if how < 6:
        name = draw.choice(sorted(FAULTS))
        crowd = {"iscrowd": 1} if name == "segmentation" else {}
        one = draw.randrange(4)
        content["annotations"][one] |= {name: draw.choice(FAULTS[name]), **crowd}
    elif how < 9:
        name = draw.choice(sorted(RECORD_FAULTS))
        content["images"][draw.randrange(3)][name] = draw.choice(RECORD_FAULTS[name])
    elif how == 9:
        content[draw.choice(["images", "annotations"])] = draw.choice([None, {}, [], 7, [None]])
    text = json.dumps(content)
    if how == 10:
        text = text[: draw.randrange(len(text))]
    elif how == 11:
        text = draw.choice(["", "[" * 99_999, "null", "[]", "\0" * 99, "<html>", '{"images": []}'])
    path.write_text(text)
    return command


def _pack(base: Base, place: Path, draw: Draw) -> Command:
    for folder in (base.root / "cache" / "packs").iterdir():
        if (folder / "about.json").exists() and draw.random() < 0.7:
            path = draw.choice(sorted(folder.iterdir()))
            content = path.read_bytes()
            path.unlink()
            if draw.random() < 0.8:
                path.write_bytes(_damaged(content, draw))
    return [*TRAIN, str(base.config), "--data", str(base.coco), "--out", str(place / "run")]


def _damaged(content: bytes, draw: Draw) -> bytes:
    how = draw.randrange(4) if content else 1
    if how == 0:
        return content[: draw.randrange(len(content))]
    if how == 1:
        return content + bytes(draw.randrange(1, 99))
    if how == 2:
        return b""
    place = draw.randrange(len(content))
    return (
        content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :]
    )


def _checkpoint(base: Base, place: Path, draw: Draw) -> Command:
    run = place / "run"
    shutil.copytree(base.run, run)
    how = draw.randrange(8)
    name = RESUME if how % 2 else BEST
    path = run / name
    state = torch.load(path, weights_only=True)
    if how < 4:
        path.write_bytes(_damaged(path.read_bytes(), draw))
    elif how < 6:  # of another model, another version, another kind
        change = draw.choice([{"weights": {"a": torch.ones(2)}}, {"format": 99}, {"weights": 7}])
        torch.save(state | change, path)
    elif how == 6:
        key = draw.choice(sorted(state))
        torch.save({k: v for k, v in state.items() if k != key}, path)
    else:
        torch.save({**state, "x": _Malicious()}, path)
    if name == RESUME:
        return [*TRAIN, "--out", str(run), "--resume"]
    weights = ["--set", f"model.weights={path}", "--out", str(place / "from")]
    return [*TRAIN, str(base.config), "--data", str(base.coco), *weights]


class _Malicious:
    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return os._exit, (7,)


WORDS = (
    "nan .inf -1 0 1 2 3 4 0.5 1e-3 1e400 null true [] {} '' \"a *b &a ? - 1:30 0x1f "
    "!!python/object:os.system"
)


def _text(text: str, draw: Draw) -> str:
    """Text with a word, a line or a character changed, once or twice."""
    for _ in range(draw.randrange(1, 3)):
        lines = text.splitlines()
        row = draw.randrange(len(lines))
        how = draw.randrange(9)
        if how == 0:
            del lines[row]
        elif how == 1:
            lines.insert(row, lines[draw.randrange(len(lines))])
        elif how == 2:
            at = draw.randrange(len(lines[row]) + 1)
            lines[row] = lines[row][:at] + draw.choice("\t:{}[],#&*!|>'\"%@`\0é") + lines[row][at:]
        elif how == 3:
            at = draw.randrange(len(lines[row]))
            lines[row] = lines[row][:at] + lines[row][at + 1 :]
        else:
            word = draw.choice(list(re.finditer(r"[-\w.]+", lines[row])) or [None])
            if word is not None:
                start, end = word.span()
                lines[row] = lines[row][:start] + draw.choice(WORDS.split(" ")) + lines[row][end:]
        text = "\n".join(lines or [""])
    return text


def _settings(base: Base, place: Path, draw: Draw) -> Command:
    path = place / "config.yaml"
    path.write_text(_text(SETTINGS, draw))
    return [*TRAIN, str(path), "--data", str(base.coco), "--out", str(place / "run")]


def _space(_: Base, place: Path, draw: Draw) -> Command:
    path = place / "space.yaml"
    path.write_text(_text(_space_text(), draw))
    return [*SEARCH, str(path), "--data", "embedded", "--out", str(place / "s"), "--plan"]


def _journal(base: Base, place: Path, draw: Draw) -> Command:
    folder = place / "searched"
    shutil.copytree(base.searched, folder)
    path = folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    how = draw.randrange(8)
    row = draw.randrange(len(lines))
    if how == 0:
        del lines[row]
    elif how == 1:
        lines.insert(row, lines[draw.randrange(len(lines))])
    elif how == 2:
        lines = []
    elif how == 3:
        lines = lines[:-1]
    else:
        lines[row] = _damaged(lines[row], draw)
    path.write_bytes(b"".join(lines))
    return [*SEARCH, "--resume", str(folder)]


KINDS: dict[str, Callable[[Base, Path, Draw], Command]] = {
    "image": _image,
    "annotations": _annotations,
    "pack": _pack,
    "checkpoint": _checkpoint,
    "settings": _settings,
    "space file": _space,
    "journal": _journal,
}

if __name__ == "__main__":
    main()
