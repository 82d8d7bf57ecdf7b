"""Where the time of a step goes, kernel by kernel; the whole table lies beside the rows."""

from functools import partial

from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEventAvg
from torch.profiler import ProfilerActivity, profile

from bench.gpu.run import Run
from bench.gpu.steps import stepper
from bench.gpu.timing import synchronize
from kptrain.needs.memory import NUM_PERSONS, random_batch

SIZES = (64, 8)
STEPS = 3
SHOWN = 12
"""Kernels in a row."""
KINDS = {
    "batch norm": ("batch_norm", "batchnorm", "bn_fw", "bn_bw"),
    "convolution": ("conv", "gemm", "xmma", "wgrad", "dgrad", "cutlass", "nvjet"),
    "Adam": ("adam",),
    "copies and casts": ("copy", "memcpy", "memset", "tonhwc", "tonchw", "fill"),
    "other arithmetic": ("",),
}
"""By words in their names; the first that fits counts."""


def measure(run: Run) -> None:
    for size in (8,) if run.is_small else SIZES:
        run.attempt(f"batch {size}", partial(one_size, run, size))


def one_size(run: Run, size: int) -> None:
    config = run.config(size)
    step = partial(stepper(config, run.device, NUM_PERSONS), random_batch(config, run.device))
    for _ in range(STEPS):
        step()
    synchronize()
    activities = [ProfilerActivity.CPU]
    if run.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as found:
        for _ in range(STEPS):
            step()
        synchronize()
    write(run, size, found)


def write(run: Run, size: int, found: profile) -> None:
    """The table, a row of the kinds, and one of the kernels that take longest."""
    is_cuda = run.device.type == "cuda"
    key = "self_device_time_total" if is_cuda else "self_cpu_time_total"
    averages = found.key_averages()
    table = averages.table(sort_by=key, row_limit=-1, max_name_column_width=160)
    (run.out / f"kernels_{size}.txt").write_text(table, encoding="utf-8")
    kernels = [e for e in averages if not is_cuda or _is_kernel(e)]
    micros = {str(kernel.key): float(getattr(kernel, key)) / STEPS for kernel in kernels}
    number = sum(kernel.count for kernel in kernels) // STEPS
    text = f"{number} of them, {sum(micros.values()) / 1e3:.2f} ms"
    run.row(f"batch {size}, kernels of a step", f"{text}; {by_kind(micros)}", micros=micros)
    counts = {str(kernel.key): kernel.count // STEPS for kernel in kernels}
    longest = sorted(micros, key=lambda name: -micros[name])[:SHOWN]
    text = "; ".join(f"{micros[n]:,.0f} us in {counts[n]} of {n[:70]}" for n in longest)
    run.row(f"batch {size}, longest kernels", text, counts=counts)


def _is_kernel(event: FunctionEventAvg) -> bool:
    """A kernel or a copy, not the span of time in which the optimizer has its own."""
    return event.device_type == DeviceType.CUDA and not event.is_user_annotation


def by_kind(micros: dict[str, float]) -> str:
    """The shares of each kind of kernel, by their names."""
    total = sum(micros.values()) or 1.0
    shares = dict.fromkeys(KINDS, 0.0)
    for name, time in micros.items():
        words = name.lower()
        kind = next(kind for kind, known in KINDS.items() if any(k in words for k in known))
        shares[kind] += time / total
    return ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items())
