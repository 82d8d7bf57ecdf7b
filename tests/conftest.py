"""What several test files need: small data, and a cache of their own."""

import gc
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from coco_files import CocoWriter
from filelock import FileLock
from search_commands import ONE_AT_A_TIME, ONE_RAY, cluster_of, write_space
from small_trainings import FEW
from small_trainings import run as train
from tiers import has_gpu_for_itself
from without_ray import search_alone

from kptrain.config import TrainConfig
from kptrain.resolve import resolve
from kptrain.synthetic.data_set import write_embedded

SAMPLE = Path(__file__).parents[2] / "shared" / "coco-sample"

WITH_RAY = ("searches", "backend")
"""Folders whose slow tests start a Ray each."""

HOW_ON_A_GPU = "needs a GPU for itself: python -m pytest -m gpu"


def pytest_collection_finish() -> None:
    """What is imported by now stays: a training that is released collects garbage, which otherwise
    takes longer than the small trainings of the tests."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # libraries look for what is left of them


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """All other tests see no GPU, nor does what they start: what they say is of a CPU. This comes
    before anything asks CUDA, which reads the variable once. Torch's threads wait without using a
    core, of which the workers of xdist and the trials that they start have too few: two processes
    with two threads each otherwise take many times as long on two cores."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when a process imports torch
    if not has_gpu_for_itself(config):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of two workers neither is to wait long for the other at the end: files with slow tests come
    first, those that start a Ray before the others, and the many tests that take no time last."""
    num_slow = Counter(item.path for item in items if "slow" in item.keywords)

    def how_late(item: pytest.Item) -> tuple[bool, bool, int]:
        has_slow = num_slow[item.path] > 0
        return not has_slow, item.path.parent.name not in WITH_RAY, -num_slow[item.path]

    items.sort(key=how_late)
    if not has_gpu_for_itself(config):
        reason = HOW_ON_A_GPU
    elif torch.cuda.is_available():
        return
    else:
        reason = "no CUDA device on this machine"
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=reason))


def once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A folder that the first process of this run of the tests which needs it has built, for all:
    processes of xdist have folders of their own beside each other."""
    own = factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    path, built = root / name, root / f"{name}.built"
    with FileLock(root / f"{name}.lock"):
        if not built.exists():
            shutil.rmtree(path, ignore_errors=True)  # where it failed
            path.mkdir()
            build(path)
            built.touch()
    return path


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole run, with the package's own locks: packs are keyed by their
    content."""
    return once(tmp_path_factory, "cache", lambda _: None)


@pytest.fixture(scope="session", autouse=True)
def environment(shared_cache: Path) -> Iterator[None]:
    """No user's cache, data or Ray reaches a test, nor a process that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPTRAIN_CACHE", str(shared_cache))
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(shared_cache / "inductor"))
        patch.setenv("RAY_worker_niceness", "0")  # a test waits for what it would hold up
        for name in ("KPTRAIN_DATA", "RAY_ADDRESS", "WANDB_MODE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """Of the one Ray of this process, which is joined with `--address`."""
    with cluster_of(ONE_RAY) as address:
        yield address


@pytest.fixture(scope="session")
def small_coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 drawn images to train on and 12 to validate on, in COCO's layout."""
    return once(
        tmp_path_factory, "small-coco", lambda root: write_embedded(root, num_train=24, num_val=12)
    )


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
def uninterrupted(small_coco: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three epochs that nothing stopped."""
    settings = FEW | {"data.root": str(small_coco)}
    return once(
        tmp_path_factory, "uninterrupted", lambda folder: train(resolve(settings, "test"), folder)
    )


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of one trial at a time that nothing stopped."""

    def search(folder: Path) -> None:
        space = write_space(folder, **ONE_AT_A_TIME)
        done = search_alone(space, "--data", "embedded", "--out", "out", cwd=folder)
        assert done.returncode == 0, done.stderr

    return once(tmp_path_factory, "whole", search) / "out"


@pytest.fixture(scope="session")
def other_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other drawn images than those of `small_coco`."""

    def draw(root: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kptrain.synthetic.data_set.SEED", 1)
            write_embedded(root, num_train=12, num_val=8)

    return once(tmp_path_factory, "other-data", draw)


@pytest.fixture
def writer(tmp_path: Path) -> CocoWriter:
    return CocoWriter(tmp_path / "coco")
