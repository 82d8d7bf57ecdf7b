"""The command `python -m kptrain`: what it prints, what it writes, how it says what is wrong."""

import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from search_commands import finds_own_trainings
from small_trainings import read_metrics
from tiny_network import PUT

from kptrain import __main__ as command
from kptrain.commands import train
from kptrain.config import BEST, PICTURE, RESUME
from kptrain.model.checkpoint import load_checkpoint
from kptrain.resolve import EMBEDDED_SETTINGS
from kptrain.synthetic.data_set import EMBEDDED_VERSION, write_embedded

pytestmark = pytest.mark.slow  # many small trainings and drawings, seconds together

ROOT = Path(__file__).parents[2]
FEW = [
    "data.image_size=[64, 64]",
    "data.limit_train=6",
    "data.limit_val=4",
    "heatmap.sigma_px=1",
    "model.trunk=shufflenet_v2_x0_5",
    "model.deconv_channels=[16, 16, 16]",
    "model.weights=none",
    "train.batch_size=3",
    "train.epochs=2",
    "train.threads=1",
    "train.device=cpu",
    "checkpoint.metric=val_ap",
]


def arguments_of(root: Path, out: Path, *others: str) -> list[str]:
    settings = [part for setting in FEW for part in ("--set", setting)]
    return ["--data", str(root), "--out", str(out), *settings, *others]


def start(arguments: list[str], cache: Path, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kptrain", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "KPTRAIN_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr with which the command refuses."""
    assert command.main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert message.endswith("\n")
    return message


@pytest.fixture(autouse=True)
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The working folder is empty, and the number of threads is set back."""
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(small_coco: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run folder and the output of one training in a process of its own."""
    folder = tmp_path_factory.mktemp("trained")
    process = start(arguments_of(small_coco, folder / "run"), folder / "cache", folder)
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    return folder / "run", output


def test_a_training_prints_its_data_its_device_its_counts_and_its_epochs(
    trained: tuple[Path, str], small_coco: Path
) -> None:
    out, output = trained
    lines = output.splitlines()
    assert lines[:2] == [f"Data: {small_coco}", "Device: cpu, 1 threads, float32"]
    assert lines[2].startswith("Preparing the data")
    assert re.match(r"train: 6 images with \d+ labelled persons", lines[3])
    assert lines[3].endswith("18 samples beyond data.limit_train")
    assert re.match(r"val: 4 images with \d+ labelled persons", lines[4])
    losses = r"train_loss 0\.\d{6}  val_loss 0\.\d{6}"
    numbers = rf"{losses}  val_oks 0\.\d{{4}}  val_ap \d\.\d{{4}} \(ground-truth boxes\)  lr 0.001"
    epochs = [line for line in lines if line.startswith("Epoch")]
    assert len(epochs) == 2
    for number, line in enumerate(epochs, start=1):
        assert re.fullmatch(rf"Epoch {number}/2  {numbers}  \d+\.\d s  \d+ images/s", line)
    assert lines[6] == f"  new best val_ap (ground-truth boxes), saved in {out / BEST}"
    assert lines[-1] == f"Curve in {out / 'metrics.csv'}, picture in {out / PICTURE}"


def test_the_epochs_printed_are_those_of_the_curve(trained: tuple[Path, str]) -> None:
    out, output = trained
    printed = re.findall(r"val_loss (0\.\d{6})", output)
    assert printed == [f"{row['val_loss']:.6f}" for row in read_metrics(out / "metrics.csv")]


def test_piped_output_has_no_control_characters_no_bars_and_no_empty_lines(
    trained: tuple[Path, str],
) -> None:
    _, output = trained
    assert output.replace("\n", "").isprintable()
    assert output.isascii()
    assert all(line.strip() for line in output.splitlines())


def tiny_arguments(root: Path, out: Path, setting: str) -> list[str]:
    arguments = arguments_of(root, out, "--set", setting)
    arguments[arguments.index("model.trunk=shufflenet_v2_x0_5")] = "model.trunk=resnet18"
    return arguments


def start_tiny(*runs: list[str], cache: Path, folder: Path) -> subprocess.Popen[str]:
    """Trainings of the smallest network, one after the other, in a process in which nothing checks
    types; its exit code is the largest of theirs."""
    code = f"""{PUT}
import sys, torch
from kptrain.__main__ import main
sys.exit(max([main(run) for run in {list(runs)!r}]))
"""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env=finds_own_trainings() | {"KPTRAIN_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile with")
def test_a_compiled_training_gives_the_curve_up_to_rounding_and_weights_of_the_same_names(
    small_coco: Path, trained: tuple[Path, str], tmp_path: Path
) -> None:
    runs = [
        tiny_arguments(small_coco, tmp_path / name, f"train.compile={name}")
        for name in ("false", "true")
    ]
    process = start_tiny(*runs, cache=trained[0].parent / "cache", folder=tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    plain, compiled = (read_metrics(tmp_path / n / "metrics.csv") for n in ("false", "true"))
    for one, other in zip(plain, compiled, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-3)
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-3)
    names = [load_checkpoint(tmp_path / n / BEST)["weights"].keys() for n in ("false", "true")]
    assert names[0] == names[1]


def test_a_machine_that_cannot_compile_is_reported_in_one_line(
    small_coco: Path, trained: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    arguments = tiny_arguments(small_coco, tmp_path / "run", "train.compile=true")
    process = start_tiny(arguments, cache=trained[0].parent / "cache", folder=tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "error: train.compile: the network must be compilable here, but is not" in errors
    assert "install a C++ compiler, or set train.compile to false" in errors
    assert "Traceback" not in errors


def test_a_training_writes_a_picture(trained: tuple[Path, str]) -> None:
    out, _ = trained
    with Image.open(out / PICTURE) as picture:
        picture.verify()
    names = {path.name for path in out.iterdir()}
    assert names == {"config.yaml", "metrics.csv", "timing.csv", ".lock", BEST, RESUME, PICTURE}


def test_run_again_from_its_saved_config_it_writes_the_same_curve(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    out, _ = trained
    assert command.main([str(out / "config.yaml"), "--out", str(tmp_path / "again")]) == 0
    again = tmp_path / "again"
    assert (again / "metrics.csv").read_bytes() == (out / "metrics.csv").read_bytes()
    assert (again / "config.yaml").read_bytes() == (out / "config.yaml").read_bytes()


def test_a_run_is_resumed_with_the_settings_in_its_folder(
    trained: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], small_coco: Path
) -> None:
    out, _ = trained
    half = arguments_of(small_coco, tmp_path / "half")
    half[half.index("train.epochs=2")] = "train.epochs=1"
    assert command.main(half) == 0
    capsys.readouterr()
    more = ["--out", str(tmp_path / "half"), "--resume", "--set", "train.epochs=2"]
    assert command.main(more) == 0
    printed = capsys.readouterr().out
    assert "Epoch 2/2" in printed
    assert "Epoch 1/2" not in printed
    assert read_metrics(tmp_path / "half" / "metrics.csv") == read_metrics(out / "metrics.csv")


def test_a_setting_on_the_command_line_goes_before_the_files(
    trained: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = trained
    file = str(out / "config.yaml")
    once = ["--set", "train.epochs=1", "--set", "optim.lr=0.25"]
    assert command.main([file, "--out", str(tmp_path / "other"), *once]) == 0
    assert re.search(r"Epoch 1/1 .* lr 0.25 ", capsys.readouterr().out)


def test_without_out_a_new_folder_below_runs_is_created(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    out, _ = trained
    assert command.main([str(out / "config.yaml"), "--set", "train.epochs=1"]) == 0
    (made,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"kptrain-\d{8}-\d{6}", made.name)
    assert len(read_metrics(made / "metrics.csv")) == 1


def test_without_data_the_synthetic_set_is_used_and_the_banner_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Fewer images than the synthetic set has, in its place in the cache.
    write_embedded(tmp_path / f"embedded-v{EMBEDDED_VERSION}", num_train=8, num_val=4)
    monkeypatch.setenv("KPTRAIN_CACHE", str(tmp_path))
    once = ["--set", "train.epochs=1", "--set", "train.threads=1"]
    assert command.main(["--out", "run", *once]) == 0
    first, second, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("Data: EMBEDDED")
    assert "--data" in first
    for setting in EMBEDDED_SETTINGS:
        assert (f"{setting}=" in second) == (setting != "train.epochs")  # that is the user's own
    assert last == "Curve in run/metrics.csv, picture in run/predictions.png"


@pytest.mark.slow
def test_an_interrupted_training_says_how_to_resume_and_that_works(
    small_coco: Path, tmp_path: Path
) -> None:
    arguments = arguments_of(small_coco, Path("my run"))
    arguments[arguments.index("train.epochs=2")] = "train.epochs=1000"
    with start(arguments, tmp_path / "cache", tmp_path) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("Epoch 1/1000"):
                process.send_signal(signal.SIGINT)
                break
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.startswith("interrupted: ")
    before = len(read_metrics(tmp_path / "my run" / "metrics.csv"))
    again = shlex.split(errors.partition("python -m kptrain ")[2])
    assert command.main([*again, "--set", f"train.epochs={before + 1}"]) == 0
    assert len(read_metrics(tmp_path / "my run" / "metrics.csv")) == before + 1


def test_an_interruption_before_the_training_asks_for_the_same_command(
    tmp_path: Path,
    small_coco: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kptrain.commands.train.open_pack", interrupt)
    assert command.main(arguments_of(small_coco, tmp_path / "run")) == 130
    assert re.fullmatch("interrupted: nothing was trained yet; .*\n", capsys.readouterr().err)


@pytest.mark.slow
def test_an_error_leaves_the_process_with_two_and_without_a_traceback(tmp_path: Path) -> None:
    process = start(["--set", "optm.lr=1"], tmp_path, tmp_path)
    output, errors = process.communicate()
    assert process.returncode == 2
    assert errors == "error: --set: optm.lr is not a setting; did you mean optim.lr?\n"
    assert output == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "optim.rl=1"], "--set: optim.rl is not a setting; did you mean optim.lr?"),
        (["--set", "optim.lr"], "--set: must be path=value, but got 'optim.lr'"),
        (["--set", "optim.lr=-1"], "--set: optim.lr must be greater than 0, but got -1"),
        (["--data", "nowhere"], "data.root: must be a folder that holds COCO, but 'nowhere'"),
        (["missing.yaml"], "missing.yaml: must be a readable text file, but"),
        (["--resume"], "--resume: must come with --out DIR"),
        (["--resume", "--out", "nowhere"], "nowhere/config.yaml: must be a readable text file"),
        (["--set", "model.weights=nowhere.pth"], "model.weights: must be imagenet, none or a file"),
        (["--data", "a", "--set", "data.root=b"], "--data: must not come with --set data.root"),
        (["--out", "file"], "--out: must be a folder that can be written, but file is a file; n"),
        (["--out", "/proc/x"], "--out: must be a folder that can be written, but /proc cannot be"),
        (["--set", "train.device=cuda:99"], "train.device: must be a device of this machine, but"),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    assert error_of(arguments, capsys).startswith(f"error: {told}")


def test_a_faulty_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("optim:\n  lr: fast\n")
    message = error_of([str(file)], capsys)
    assert message == f"error: {file}: optim.lr must be a valid number, but got 'fast'\n"


def test_a_fault_that_may_be_the_files_or_the_command_lines_names_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("heatmap:\n  sigma_px: 2.0\n")
    message = error_of([str(file), "--set", "optim.lr=-1"], capsys)
    assert message.startswith(f"error: {file} or --set: optim.lr must be greater than 0, but got")


def test_a_folder_with_a_run_is_refused_before_the_data_are_packed(
    trained: tuple[Path, str],
    small_coco: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, _ = trained
    monkeypatch.setattr("kptrain.commands.train.open_pack", None)
    before = (out / "metrics.csv").read_bytes()
    message = error_of(arguments_of(small_coco, out), capsys)
    assert message.startswith(f"error: {out}: must not hold a run yet, but does; ")
    assert "--resume" in message
    assert (out / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize(("step", "named"), [("fit", "run"), ("open_pack", "a file or a pipe")])
def test_a_full_disk_is_reported_with_what_to_do(
    small_coco: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    named: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(train, step, fail)
    message = error_of(arguments_of(small_coco, Path("run")), capsys)
    assert message.startswith(f"error: {named}: must be ")
    assert "No space left on device; make" in message


def test_resuming_with_another_setting_is_refused_by_its_name_before_the_data_are_packed(
    trained: tuple[Path, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, _ = trained
    monkeypatch.setattr("kptrain.commands.train.open_pack", None)
    message = error_of(["--out", str(out), "--resume", "--set", "optim.lr=0.5"], capsys)
    assert "optim.lr must be 0.001 as in the run that is resumed, but got 0.5;" in message


def test_a_training_that_breaks_says_where(
    small_coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = arguments_of(small_coco, tmp_path / "run", "--set", "optim.lr=1e37")
    assert error_of(arguments, capsys).startswith("error: epoch 1, step 2: the loss must be finite")


def test_all_that_may_take_long_says_where_it_is_in_a_log_file(
    small_coco: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("kptrain.machine.progress.EVERY", 0.0)
    monkeypatch.setenv("KPTRAIN_CACHE", str(tmp_path / "cache"))  # so that there is all to be done
    assert command.main(arguments_of(small_coco, tmp_path / "run")) == 0
    said = capsys.readouterr().out
    assert "Packing train: 50% (3 of 6), " in said
    for title in ("Masks of val", "Epoch 1/2", "Validation"):
        assert re.search(rf"^{title}: \d+% \(\d+ of \d+\), .* left$", said, re.M), title
