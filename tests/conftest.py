"""What several test files need: small data, and a cache of their own."""

import csv
import gc
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kptrain.config import BEST, RESUME, TrainConfig
from kptrain.keypoints import JOINTS
from kptrain.model.checkpoint import load_checkpoint
from kptrain.resolve import change, resolve
from kptrain.run.curve import METRICS, EpochReport
from kptrain.synthetic.data_set import write_embedded
from kptrain.training.fit import fit
from search.space.space import Space, resolve_space

FEW: dict[str, Any] = {
    "data.image_size": [64, 64],
    "data.limit_train": 6,
    "data.limit_val": 4,
    "heatmap.sigma_px": 1.0,
    "model.trunk": "shufflenet_v2_x0_5",
    "model.deconv_channels": [16, 16, 16],
    "model.weights": "none",
    "schedule.step_epochs": 1,
    "train.batch_size": 3,
    "train.epochs": 3,
    "train.threads": 1,
    "train.device": "cpu",
    "checkpoint.resume_epochs": 1,
}
"""Settings of a training of a second."""

SAMPLE = Path(__file__).parents[2] / "shared" / "coco-sample"


HOW_ON_A_GPU = "needs a GPU for itself: python -m pytest -m gpu"


def has_gpu_for_itself(config: pytest.Config) -> bool:
    """Whether these are the tests marked `gpu` alone, in one process: two would share its memory,
    and a search claims it."""
    is_one = not hasattr(config, "workerinput") and not config.getoption("numprocesses", None)
    return is_one and config.getoption("markexpr") == "gpu"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """All other tests see no GPU, nor does what they start: what they say is of a CPU. This comes
    before anything asks CUDA, which reads the variable once."""
    if not has_gpu_for_itself(config):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with the most slow tests come first: of two workers neither is to wait long for the
    other at the end."""
    num_slow = Counter(item.path for item in items if "slow" in item.keywords)
    items.sort(key=lambda item: -num_slow[item.path])
    if not has_gpu_for_itself(config):
        reason = HOW_ON_A_GPU
    elif torch.cuda.is_available():
        return
    else:
        reason = "no CUDA device on this machine"
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole session: packs are keyed by their content."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session", autouse=True)
def environment(shared_cache: Path) -> Iterator[None]:
    """No user's cache, data or Ray reaches a test, nor a process that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPTRAIN_CACHE", str(shared_cache))
        for name in ("KPTRAIN_DATA", "RAY_ADDRESS", "WANDB_MODE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def small_coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 drawn images to train on and 12 to validate on, in COCO's layout."""
    root = tmp_path_factory.mktemp("small-coco")
    write_embedded(root, num_train=24, num_val=12)
    return root


@pytest.fixture
def coco_sample() -> Path:
    """Real photographs and annotations, where they are."""
    if not SAMPLE.is_dir():
        pytest.skip(f"no COCO sample at {SAMPLE}")
    return SAMPLE


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """`fit` sets the number of threads of the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def gpu_as_found(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test on a GPU leaves it as it found it: what the next one measures is its own."""
    yield
    is_used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch
    if is_used and request.node.get_closest_marker("gpu"):
        torch.cuda.set_per_process_memory_fraction(1.0)
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


@pytest.fixture
def config(small_coco: Path) -> TrainConfig:
    return resolve(FEW | {"data.root": str(small_coco)}, "test")


@pytest.fixture(scope="session")
def uninterrupted(
    small_coco: Path, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run of three epochs that nothing stopped."""
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPTRAIN_CACHE", str(shared_cache))
        run(resolve(FEW | {"data.root": str(small_coco)}, "test"), run_dir)
    return run_dir


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of one trial at a time that nothing stopped."""
    from test_search import ONE_AT_A_TIME, run, write_space

    folder = tmp_path_factory.mktemp("whole")
    space = write_space(folder, **ONE_AT_A_TIME)
    done = run("search.run", space, "--data", "embedded", "--out", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.fixture(scope="session")
def other_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other drawn images than those of `small_coco`."""
    root = tmp_path_factory.mktemp("other-data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kptrain.synthetic.data_set.SEED", 1)
        write_embedded(root, num_train=12, num_val=8)
    return root


def run(config: TrainConfig, run_dir: Path, **options: Any) -> list[EpochReport]:
    with closing(fit(config, run_dir, **options)) as reports:
        return list(reports)


def report_of(epoch: int, **values: Any) -> EpochReport:
    """An epoch that came to the given values; all others are 0."""
    others = {field.name: 0.0 for field in fields(EpochReport)}
    told = {"epoch": epoch, "peak_memory_bytes": 0, "is_best": True}
    return EpochReport(**(others | told | values))


def changed(config: TrainConfig, path: str, value: object) -> TrainConfig:
    return change(config, {path: value}, "test")


def resume_state(run_dir: Path) -> dict[str, Any]:
    """All that is kept to go on, less the times, which no two runs share."""
    state = load_checkpoint(run_dir / RESUME)
    return state | {"curve": [{name: row[name] for name in METRICS} for row in state["curve"]]}


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two nests of dicts, lists and tensors differ by as little as a bit."""
    if isinstance(one, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [path]
    if isinstance(one, list | tuple):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if not isinstance(one, dict):
        return [] if type(one) is type(other) and one == other else [path]
    if one.keys() != other.keys():
        return [path]
    return [found for key in one for found in differences(one[key], other[key], f"{path}/{key}")]


def assert_equal_runs(one: Path, other: Path) -> None:
    assert differences(resume_state(one), resume_state(other)) == []
    assert differences(load_checkpoint(one / BEST), load_checkpoint(other / BEST)) == []
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a `metrics.csv`."""
    return [{name: float(value) for name, value in row.items()} for row in rows(path)]


class CocoWriter:
    """A data set in COCO's layout, written image by image by a test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._content: dict[str, dict[str, list[dict[str, object]]]] = {}

    def image(
        self,
        split: str,
        number: int,
        pixels: np.ndarray | None = None,
        size: tuple[int, int] = (96, 128),
    ) -> Path:
        """Add an image of (height, width); `pixels` None writes noise."""
        if pixels is None:
            noise = np.random.default_rng(number)
            pixels = noise.integers(0, 256, (*size, 3), dtype=np.uint8)
        folder = self.root / f"{split}2017"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number:012d}.jpg"
        Image.fromarray(pixels).save(path, quality=95)
        record = {"id": number, "file_name": path.name, "height": size[0], "width": size[1]}
        self._split(split)["images"].append(record)
        return path

    def person(self, split: str, image: int, number: int, **changes: object) -> None:
        """Add a person whose 17 joints lie on a grid in its box, unless changed."""
        x, y = np.meshgrid(np.linspace(20, 60, 5).round(), np.linspace(20, 70, 4).round())
        joints = np.stack((x.flatten(), y.flatten(), np.full(20, 2.0)), axis=1)[:17]
        annotation: dict[str, object] = {
            "id": number,
            "image_id": image,
            "category_id": 1,
            "iscrowd": 0,
            "bbox": [15.0, 15.0, 50.0, 60.0],
            "area": 1500.0,
            "keypoints": joints.flatten().tolist(),
            "num_keypoints": 17,
            "segmentation": [],
        }
        self._split(split)["annotations"].append(annotation | changes)

    def write(self) -> Path:
        folder = self.root / "annotations"
        folder.mkdir(parents=True, exist_ok=True)
        for split, content in self._content.items():
            (folder / f"person_keypoints_{split}2017.json").write_text(json.dumps(content))
        return self.root

    def _split(self, split: str) -> dict[str, list[dict[str, object]]]:
        return self._content.setdefault(
            split,
            {
                "images": [],
                "annotations": [],
                "categories": [{"id": 1, "name": "person", "keypoints": list(JOINTS)}],
            },
        )


@pytest.fixture
def writer(tmp_path: Path) -> CocoWriter:
    return CocoWriter(tmp_path / "coco")


def resolved(space: Space, said: Mapping[str, Any]) -> TrainConfig:
    """The settings of trial 0 of a search of keypoints."""
    config = resolve_space(space, said)
    assert isinstance(config, TrainConfig)
    return config


def unread(command: list[str]) -> tuple[int, str]:
    """The exit code and standard error of a command whose standard output nobody reads."""
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, told = process.communicate("go\n")
    assert "Error" not in told
    return process.returncode, told
