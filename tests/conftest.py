"""What several test files need: small data, and a cache of their own."""

import gc
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from coco_files import CocoWriter
from search_commands import ONE_AT_A_TIME, run, write_space
from small_trainings import FEW
from small_trainings import run as train

from kptrain.config import TrainConfig
from kptrain.resolve import resolve
from kptrain.synthetic.data_set import write_embedded

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
        train(resolve(FEW | {"data.root": str(small_coco)}, "test"), run_dir)
    return run_dir


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of one trial at a time that nothing stopped."""
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


@pytest.fixture
def writer(tmp_path: Path) -> CocoWriter:
    return CocoWriter(tmp_path / "coco")
