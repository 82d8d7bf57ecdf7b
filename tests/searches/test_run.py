"""The search command's answers to a slip, each one line and exit code 2, before Ray starts."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kptrain.errors import DataError
from search import run
from search.journal.journal import JOURNAL
from search.report import __main__ as report
from search.run import main
from search.space.pace import MeasuringError
from search.trainings.keypoints import Keypoints

ROOT = Path(__file__).parents[2]
LR = "space: {optim.lr: {low: 1e-4, high: 1e-2, log: true}}\n"


def measure_nothing(*_: object, **__: object) -> None:
    raise MeasuringError("it is another test's")


def test_with_verify_a_search_reads_the_decoded_images_in_full(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(*_: object, verify: bool) -> None:
        raise DataError(f"verify {verify}")

    monkeypatch.setattr(Keypoints, "prepare", prepare)
    monkeypatch.setattr(Keypoints, "pace", measure_nothing)
    (tmp_path / "space.yaml").write_text(LR + "trials: 3\n")
    for options, expected in ([], "verify False"), (["--verify"], "verify True"):
        out = tmp_path / f"out{len(options)}"
        assert main([str(tmp_path / "space.yaml"), "--out", str(out), *options]) == 2
        assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (LR.replace("optim.lr", "optim.lrr"), [], "did you mean optim.lr?"),
        (LR + "trials: 0\n", [], "trials must be greater than or equal to 1, but got 0"),
        (LR + "trials: 3\ntrials: 4\n", [], "key 'trials' is given twice"),
        (LR + "trials: 3\n", ["--set", "optim.lr=1"], "--set optim.lr: must not be varied"),
        (LR + "trials: 3\n", ["--set", "train.epoch=1"], "did you mean train.epochs?"),
        (LR + "trials: 3\n", ["--set", "nonsense"], "--set: must be path=value"),
        (LR + "trials: 3\n", ["--data", "/no/such/folder"], "must be a folder that holds COCO"),
        (
            LR + "trials: 3\n",
            ["--trials", "0"],
            "--trials: must be greater than or equal to 1, but",
        ),
        (LR + "trials: 3\n", ["--hours", "nan"], "--hours: must be a finite number, but got nan"),
        (LR + "trials: 3\n", ["--gpu-hours", "0"], "--gpu-hours: must be greater than 0, but got"),
        (LR + "trials: 3\n", ["--epochs", "2"], "--epochs: must be at least asha.grace_epochs (4)"),
        (
            LR + "base: {train.device: cpu}\ngpu_hours: 3\n",
            [],
            "gpu_hours (3) must be given only if trials use a GPU",
        ),
        (LR + "trials: 3\nresources: {cpu: 4096}\n", [], "resources.cpu must be at most the CPUs"),
        (LR + "trials: 3\n", ["--set", "train.device=cuda"], "must be a device of this machine"),
        (
            LR + "trials: 3\n",
            ["--address", "127.0.0.1:1", "--set", "train.device=cuda:1"],
            "space.yaml with --set: train.device must be auto, cpu or cuda in a search, as Ray",
        ),
        (LR + "trials: 3\n", ["--address", "nonsense"], "that is no host:port"),
        (LR + "trials: 3\n", ["--address", "127.0.0.1:1"], "Connection refused"),
        (LR + "trials: 3\n", ["--data", "a", "--set", "data.root=b"], "must not come with --set"),
        (LR + "trials: 3\nmetric:\n", [], "or 'val_oks', but"),
        (LR + "trials: 3\n", ["--set", "model.weights=/no/file.pth"], "/no/file.pth is none"),
        (
            "space: {heatmap.sigma_px: {low: 1, high: 3}}\ntrials: 3\n",
            [],
            "changes what a loss value means",
        ),
    ],
)
def test_a_slip_is_one_line_on_stderr_and_exit_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    options: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(text)
    assert main(["space.yaml", *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not Path("runs").exists()


def test_weights_of_every_combination_are_looked_for_before_the_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse_download)
    present = tmp_path / "hub" / "checkpoints" / "shufflenetv2_x0.5-f707e7126e.pth"
    present.parent.mkdir(parents=True)
    present.touch()
    space = tmp_path / "space.yaml"
    trunks = "model.trunk: [shufflenet_v2_x0_5, resnet18]"
    space.write_text(f"space: {{{trunks}, model.weights: [none, imagenet]}}\ntrials: 4\n")
    assert main([str(space), "--plan", "--data", "embedded"]) == 2
    assert "imagenet needs resnet18" in capsys.readouterr().err


def refuse_download(*_: object, **__: object) -> None:
    raise OSError("no network")


def test_an_existing_folder_is_never_written_into(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    space = tmp_path / "space.yaml"
    space.write_text(LR + "trials: 3\n")
    assert main([str(space), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "must be a folder that does not exist yet" in error
    assert "--resume" not in error  # there is no search in it
    (tmp_path / "out" / JOURNAL).touch()
    assert main([str(space), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert f"--resume {tmp_path / 'out'}\n" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "SPACE.yaml: must be given, but is not; name a space file such as"),
        (["--resume", "x", "--set", "optim.lr=1"], "--set: must not come with --resume"),
        (["--resume", "x", "--out", "y"], "--out: must not come with --resume"),
        (["--resume", "x", "--warm-from", "y"], "--warm-from: must not come with --resume"),
        (["--resume", "x"], "x/journal.jsonl: must be the journal of a search, but cannot be read"),
        (
            ["space.yaml", "--out", "s3:/bucket/x"],
            "--out: must be a path, or a URL with ://, but got",
        ),
        (["space.yaml", "--out", "nope://bucket/x"], "nope://bucket/x: must be a URL that pyarrow"),
    ],
)
def test_what_is_neither_a_new_search_nor_one_to_resume_is_one_line_and_exit_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(LR + "trials: 3\n")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}")
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["space.yaml"]


@pytest.mark.slow  # two processes that import torch
def test_the_plan_starts_neither_ray_nor_a_folder(tmp_path: Path) -> None:
    check = (
        "import sys; from search.run import main; "
        f"code = main([{str(ROOT / 'spaces/full.yaml')!r}, '--plan']); "
        "assert 'ray' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "320 epochs (40 trials of 8)" in done.stdout
    assert "EMBEDDED" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["space.yaml"], "must have a budget, one or more of trials, hours, gpu_hours, epochs"),
        (["--resume", "x", "--out", "y"], "--out: must not come with --resume"),
    ],
)
def test_a_slip_is_answered_before_torch_ray_and_optuna_are_imported(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "space.yaml").write_text(LR)
    check = (
        f"import sys; from search.run import main; code = main({arguments}); "
        "assert not {'torch', 'ray', 'optuna'} & sys.modules.keys(); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_of_the_system_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))

    monkeypatch.setattr("search.session.read_search", full)
    monkeypatch.setattr("search.report.write.read_history", full)
    for command, argument in ((run.main, "space.yaml"), (report.main, str(tmp_path))):
        assert command([argument]) == 2
        errors = capsys.readouterr().err
        assert errors.startswith(f"error: {tmp_path}: must be readable and writable, but No space ")
        assert errors.endswith("; make room, or name another\n")
