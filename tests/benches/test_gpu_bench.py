"""The GPU's bench: parts that fail or hang cost only themselves, rows are kept, switches change no
losses. All of it runs on a CPU."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from bench_parts import dies, hangs, measures, raises
from tiny_network import in_place_of_resnet18
from torch import nn
from torch.autograd import grad

from bench.command import Said
from bench.gpu import kernels, marked, passes, searches, steps
from bench.gpu.__main__ import LEAST, MINUTES, chosen
from bench.gpu.deconvolution import subpixel, transposed
from bench.gpu.parts import PARTS
from bench.gpu.run import ROWS, SMALL, Run
from bench.gpu.running import Part, run_parts
from bench.gpu.switches import SWITCHES
from kptrain.config import TrainConfig
from kptrain.needs.memory import random_batch
from kptrain.resolve import resolve
from kptrain.training.batches import batches
from kptrain.training.state import predict, sample_losses, start_training, take_step
from search.journal.journal import JOURNAL, Journal

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def here(tmp_path: Path) -> Run:
    return Run("a part", True, False, tmp_path, "a card", time.time(), seconds=0.01)


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / ROWS).read_text().splitlines()]


def test_all_parts_together_take_at_most_ten_minutes() -> None:
    assert sum(part.seconds for part in PARTS) <= 60 * MINUTES == 600
    assert len({part.name for part in PARTS}) == len(PARTS)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_part_is_documented_with_its_time(part: Part) -> None:
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    assert f"| `{part.name}` | {part.seconds:g} s |" in page


def test_a_part_that_is_named_has_time_though_no_other_leaves_it_any() -> None:
    assert chosen([]) == list(PARTS)
    tests, deconv = chosen(["deconv", "tests"])
    assert (tests.name, tests.seconds) == ("tests", 100)
    assert (deconv.name, deconv.seconds) == ("deconv", LEAST)


@pytest.mark.slow
def test_a_part_that_fails_hangs_or_dies_says_so_and_the_next_one_runs(
    here: Run, tmp_path: Path
) -> None:
    parts = [
        Part(measure.__name__, seconds, measure, "")
        for measure, seconds in ((hangs, 16), (raises, 60), (dies, 60), (measures, 60))
    ]
    run_parts(parts, here)
    told: dict[str, list[str]] = {part.name: [] for part in parts}
    for row in rows(tmp_path):
        told[row["part"]].append(row["told"])
    assert told["raises"][:3] == [
        "FAILED: OSError: [Errno 22] Invalid argument",
        "3 things/s",
        "FAILED: ValueError: not today",
    ]
    assert told["dies"][:2] == ["3 things/s", "FAILED: ended by SIGKILL"]
    assert told["hangs"][0] == "3 things/s"
    assert told["hangs"][1].startswith("ended when its ")
    assert told["measures"][0] == "3 things/s"
    assert all(found[-1].startswith("took ") for found in told.values())
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "child").read_text()), 0)


@pytest.mark.slow
def test_rows_are_in_the_folder_and_where_asked_in_the_results(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in ("bench", "kptrain", "search"):
        shutil.copytree(ROOT / name, copy / name)
    before = (copy / "bench" / "RESULTS.md").read_text()
    command = [sys.executable, "-m", "bench.gpu", "ceilings", "deconv", "--small"]
    subprocess.run(
        [*command, "--record", "--out", "out"],
        cwd=copy,
        check=True,
        env=os.environ | {"PYTHONPATH": str(copy)},
    )
    found = rows(copy / "out")
    assert {row["part"] for row in found} == {"ceilings", "deconv"}
    assert not any(row.get("failed") for row in found)
    added = (copy / "bench" / "RESULTS.md").read_text().removeprefix(before).splitlines()
    measured = [row for row in found if row["what"] != "whole part"]
    assert len(added) == len(measured) > 4
    for line, row in zip(added, measured, strict=True):
        told = f"`python -m bench.gpu {row['part']} --small` | {row['what']}: {row['told']} |"
        assert line.endswith(f" | {row['device']} | {told}")


@pytest.mark.slow
def test_without_a_gpu_the_bench_is_skipped_with_the_reason(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.gpu", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("skipped: no CUDA device")
    assert not (tmp_path / "out").exists()


def test_a_measured_rate_stands_beside_what_was_predicted(tmp_path: Path) -> None:
    full = Run("steps", False, False, tmp_path, "a card", time.time(), seconds=0.001)
    for size in (8, 16):
        steps.write(full, size, "eager", lambda: None)
    at_8, at_16 = (row["told"] for row in rows(tmp_path))
    assert "; predicted 400 to 550; bound 2,440, 2,920 fused;" in at_8
    assert "predicted" not in at_16
    assert "bound" not in at_16


def test_a_search_of_the_bench_can_be_run_again(here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = here.out / "auto" / "journal.jsonl"
    before.parent.mkdir()
    before.write_text("of the run before")

    def run_command(command: list[str], _: Path) -> Said:
        assert not before.parent.exists()
        assert command[-1] == "--quiet"
        return Said([], 0.0)

    monkeypatch.setattr(searches, "run_command", run_command)
    searches.search(here, "auto", {}, "--quiet")


@pytest.mark.slow
@pytest.mark.parametrize("measure", [steps.measure, passes.measure])
def test_a_graph_is_recorded_after_all_that_is_eager(
    here: Run, monkeypatch: pytest.MonkeyPatch, measure: Callable[[Run], None]
) -> None:
    measured: list[tuple[int, str]] = []
    for module in (steps, passes):
        monkeypatch.setattr(module, "ways_here", lambda _, ways: ways)
        monkeypatch.setattr(
            module, "one_way", lambda _, size, way, *__: measured.append((size, way))
        )
    measure(replace(here, is_small=False))
    num_eager = len(measured) // 2
    assert num_eager > 1
    assert [way for _, way in measured] == ["eager"] * num_eager + ["graph"] * num_eager


def test_batches_of_64_and_then_of_8_are_compiled_first(
    here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    monkeypatch.setattr(steps, "one_way", lambda _, size, __: measured.append(size))
    steps.measure_compiled(replace(here, is_small=False))
    assert measured == [64, 8, 32, 128, 16]


def test_the_textbook_alternates_with_the_first_variant_and_is_reported_beside_each(
    here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def textbook(config: TrainConfig, *_: object) -> Callable[[], None]:
        made.append(config.train.batch_size)
        return lambda: None

    monkeypatch.setattr(passes, "textbook", textbook)
    for name in ("synthetic", "pipeline"):
        monkeypatch.setattr(passes, name, lambda *_: lambda: None)
    monkeypatch.setattr(passes, "ways_here", lambda _, ways: ways)
    passes.measure(replace(here, is_small=False))
    assert made == [8, 64]
    told = [row["what"] for row in rows(here.out) if "the textbook's images/s" in row["told"]]
    ways = ("eager", "graph")
    assert told == [f"batch {size}, {way}, pipeline" for way in ways for size in (8, 64)]


def test_the_textbook_and_the_pipeline_train_on_equally_many_images(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    seen: dict[str, int] = {"ours": 0, "textbook": 0}

    def counted(name: str, real: Callable[..., Any], images: Callable[[Any], int]) -> None:
        def counting(*arguments: Any) -> Iterator[Any]:
            for batch in real(*arguments):
                seen[name] += images(batch)
                yield batch

        monkeypatch.setattr(passes, real.__name__, counting)

    def one_pass(_model: object, loader: Any, *_: object) -> None:
        seen["textbook"] += sum(len(batch[0]) for batch in loader)

    counted("ours", batches, lambda batch: len(batch.samples))
    monkeypatch.setattr(passes, "one_pass", one_pass)
    passes.pipeline(config, CPU, 48)()
    passes.textbook(config, CPU, 48)()
    assert seen == {"ours": 48, "textbook": 48}


def losses(name: str, trunk: str) -> list[float]:
    """Of the first steps of a small network in bfloat16, and of the same batch when it is looked
    at after them, with the statistics that were learnt."""
    torch.set_num_threads(1)
    said = {"train.batch_size": 4, "train.precision": "bfloat16", "optim.lr": 1e-4}
    config = resolve(SMALL | said | {"model.trunk": trunk}, "test")
    training = start_training(config, CPU, afresh=False)
    for change in SWITCHES[name]:
        change(training)
    training.model.train()
    torch.manual_seed(0)
    batch = random_batch(config, CPU)
    found = [float(take_step(training, batch, config)) for _ in range(3)]
    with torch.inference_mode():
        heatmaps = predict(training.model.eval(), batch, config)
        return [*found, float(sample_losses(heatmaps, batch, config).sum())]


@pytest.mark.parametrize("name", ["no counts", "cast at once", "no counts, cast at once"])
def test_a_switch_leaves_the_losses_as_they_are_to_the_last_bit(name: str) -> None:
    plain = losses("as it is", "shufflenet_v2_x0_5")
    assert plain[2] < plain[0]
    assert losses(name, "shufflenet_v2_x0_5") == plain


@pytest.mark.slow  # imports torch's compiler
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own compiler looks
def test_compiled_blocks_leave_the_losses_as_they_are_up_to_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of torch's compiler but the C++ that it writes, which the training's own test has."""
    compiled = []

    def compile_block(block: nn.Module, **options: Any) -> None:
        compiled.append(block)
        real(block, backend="aot_eager", **options)

    real = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", compile_block)
    with in_place_of_resnet18():
        plain = losses("as it is", "resnet18")
        assert losses("all three", "resnet18") == pytest.approx(plain, rel=1e-3)
    assert len(compiled) == 2


def test_a_batch_norm_without_its_count_gives_the_same_and_learns_the_same_statistics() -> None:
    torch.manual_seed(0)
    with_count, without = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    without.num_batches_tracked = None
    for _ in range(3):
        x = torch.randn(2, 3, 4, 5)
        assert torch.equal(with_count(x), without(x))
    found = dict(without.named_buffers())
    assert len(found) == 2
    assert all(torch.equal(with_count.get_buffer(name), found[name]) for name in found)


def test_the_subpixel_variant_is_a_transposed_convolution() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 5, 6, requires_grad=True)
    weight = torch.randn(8, 4, 4, 4, requires_grad=True)
    found, wanted = subpixel(x, weight), transposed(x, weight)
    assert torch.allclose(found, wanted, atol=1e-4)
    upstream = torch.randn_like(wanted)
    for ours, theirs in zip(
        grad(found, (x, weight), upstream), grad(wanted, (x, weight), upstream), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-3)


def test_tests_that_are_cut_off_are_reported_with_those_that_passed(
    here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object, stdout: IO[str], **__: object) -> None:
        stdout.write("tests/a.py::b PASSED [ 50%]\ntests/a.py::c ")
        stdout.flush()
        sys.exit(1)

    monkeypatch.setattr("subprocess.run", cut)
    with pytest.raises(SystemExit):
        marked.measure(here)
    (row,) = rows(here.out)
    assert row["told"] == "no end; the last line was: tests/a.py::c ; 1 passed"


def test_kernels_are_of_the_kind_that_their_names_tell() -> None:
    micros = {
        "void cudnn::bn_fw_tr_1C11_kernel_NHWC<__nv_bfloat16>": 40.0,
        "sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc": 30.0,
        "multi_tensor_apply_kernel<FusedAdamMathFunctor<float>>": 15.0,
        "multi_tensor_apply_kernel<Copy<c10::BFloat16, float>>": 10.0,
        "vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>": 5.0,
    }
    assert kernels.by_kind(micros) == (
        "batch norm 40%, convolution 30%, Adam 15%, copies and casts 10%, other arithmetic 5%"
    )


@pytest.mark.parametrize(
    ("failures", "state", "told"),
    [
        ([], "completed", "never out of memory, completed"),
        (
            [{"cause": "memory", "gpu": 0.1, "goes_on": True}],
            "completed",
            "memory with 0.1 of a GPU, goes on; then completed",
        ),
        (
            [
                {"cause": "memory", "gpu": 0.1, "goes_on": True},
                {"cause": "memory", "gpu": 0.2, "goes_on": False},
            ],
            "failed",
            "memory with 0.1 of a GPU, goes on; memory with 0.2 of a GPU, for good; then failed",
        ),
    ],
)
def test_what_became_of_a_trial_that_was_out_of_memory_is_read_from_its_journal(
    failures: list[dict[str, Any]], state: str, told: str, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / JOURNAL)
    journal.write({"event": "start", "trial": 0})
    for failure in failures:
        journal.write({"event": "fail", "trial": 0, **failure})
    (tmp_path / "trials.csv").write_text(f"trial,state\n0,{state}\n")
    assert searches.outcome(tmp_path) == told


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (["== 7 passed, 900 deselected in 31.20s (0:00:31) =="], "7 passed, 900 deselected in"),
        (
            ["FAILED tests/a.py::b - E", "== 1 failed, 6 passed in 9.1s =="],
            "1 failed, 6 passed in 9.1s; FAILED tests/a.py::b - E",
        ),
        (["Segmentation fault"], "no end; the last line was: Segmentation fault"),
        ([], "no end; the last line was: none"),
        (
            ["tests/a.py::b[x y] PASSED [ 10%]", "tests/a.py::c FAILED [ 20%]", "tests/a.py::d "],
            "no end; the last line was: tests/a.py::d ; 1 passed; tests/a.py::c FAILED [ 20%]",
        ),
    ],
)
def test_the_outcome_of_pytest_is_reported_with_each_failure(end: list[str], told: str) -> None:
    assert marked.summary(["...F [100%]", *end] if end else []).startswith(told)
