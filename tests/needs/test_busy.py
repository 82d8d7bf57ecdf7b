"""How busy steps keep a GPU: on one whose clock is simulated, and on a real one."""

import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from bench.gpu.timing import host_seconds
from kptrain.needs.busy import busy_share

CLOCK = 1.98e9
QUEUE = 1024
"""Launches that CUDA holds; the next one waits for room."""


class Gpu:
    """Kernels that run one after the other, and a host that launches them; both in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._ended = 0.0
        self._queue: deque[float] = deque()

    def launch(self, launching: float, running: float) -> None:
        if len(self._queue) == QUEUE:
            self.now = max(self.now, self._queue.popleft())
        self.now += launching
        self._ended = max(self.now, self._ended) + running
        self._queue.append(self._ended)
        while self._queue and self._queue[0] <= self.now:
            self._queue.popleft()

    def wait(self, *_: object) -> None:
        self.now = max(self.now, self._ended)

    def event(self, *, enable_timing: bool) -> "Event":
        assert enable_timing
        return Event(self)

    def end(self) -> float:
        """Of all that is launched."""
        return max(self.now, self._ended)


class Event:
    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self.at = 0.0

    def record(self) -> None:
        self.at = self._gpu.end()

    def synchronize(self) -> None:
        self._gpu.wait()

    def elapsed_time(self, other: "Event") -> float:
        return 1000 * (other.at - self.at)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()
    monkeypatch.setattr("kptrain.needs.busy.perf_counter", lambda: gpu.now)
    monkeypatch.setattr("torch.cuda.synchronize", gpu.wait)
    monkeypatch.setattr("torch.cuda.Event", gpu.event)
    monkeypatch.setattr("torch.cuda._sleep", lambda cycles: gpu.launch(1e-5, cycles / CLOCK))
    return gpu


def step_of(gpu: Gpu, launches: int, launching: float, running: float) -> Callable[[], None]:
    def step() -> None:
        for _ in range(launches):
            gpu.launch(launching * 1e-6, running * 1e-6)

    return step


@pytest.mark.parametrize(
    ("launches", "launching", "running"),
    [(670, 20, 1), (670, 20, 5), (670, 20, 10), (670, 20, 19), (1, 20, 8000), (1, 20, 10)],
)
def test_a_gpu_is_busy_for_the_kernels_share_of_a_step(
    gpu: Gpu, launches: int, launching: float, running: float
) -> None:
    share = busy_share(step_of(gpu, launches, launching, running), torch.device("cuda"))
    assert share == pytest.approx(min(running / launching, 1), rel=0.02)


@pytest.mark.parametrize("launches", [670, 1400, 5000])
def test_a_gpu_that_the_host_waits_for_is_always_busy(gpu: Gpu, launches: int) -> None:
    assert busy_share(step_of(gpu, launches, 20, 40), torch.device("cuda")) > 0.99


def test_of_more_launches_than_cuda_queues_the_share_is_at_most_that_of_the_last_ones_too_large(
    gpu: Gpu,
) -> None:
    shares = []
    for running in (1, 2, 5, 10, 15):
        share = busy_share(step_of(gpu, 1400, 20, running), torch.device("cuda"))
        beyond = (1400 - QUEUE) / 1400
        assert 0.98 * running / 20 <= share <= max(running / 20, beyond) * 1.02
        shares.append(share)
    assert all(one <= other for one, other in pairwise(shares))


@pytest.mark.parametrize("running", [1, 60])
def test_launching_a_step_takes_what_the_host_does_however_long_the_gpu_works(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, running: float
) -> None:
    monkeypatch.setattr("bench.gpu.timing.synchronize", gpu.wait)
    monkeypatch.setattr("time.perf_counter", lambda: gpu.now)
    assert host_seconds(step_of(gpu, 672, 20, running)) == pytest.approx(672 * 20e-6)


@pytest.mark.gpu
def test_a_gpu_that_mostly_sleeps_is_busy_and_one_that_waits_for_the_host_is_not() -> None:
    device = torch.device("cuda")
    one = torch.ones(1, device=device)

    def waits() -> None:
        time.sleep(0.01)
        one.add_(1)

    def works() -> None:
        torch.cuda._sleep(10**8)  # type: ignore[no-untyped-call]
        one.add_(1)

    assert busy_share(works, device) > 0.95
    assert busy_share(waits, device) < 0.1
