"""The README's commands run as they are printed, one after the other."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from PIL import Image

from kptrain import __main__ as kptrain_command
from kptrain.config import BEST
from search import options, watch
from search import run as search_command
from search.machine.signals import SIGNALS
from search.report import __main__ as report

README = Path(__file__).parents[2] / "README.md"
PARSES: dict[str, Callable[[list[str]], Namespace]] = {
    "kptrain": kptrain_command.parse,
    "search.run": lambda given: options.build_parser().parse_args(given),
    "search.report": lambda given: report.build_parser().parse_args(given),
    "search.watch": lambda given: watch.build_parser().parse_args(given),
}
MAINS: dict[str, Callable[[list[str]], int]] = {
    "kptrain": kptrain_command.main,
    "search.run": search_command.main,
    "search.report": report.main,
    "search.watch": watch.main,
}
FEW = (
    *("model.trunk=shufflenet_v2_x0_5", "model.weights=none", "model.deconv_channels=[8,8,8]"),
    *("data.image_size=[64,64]", "heatmap.sigma_px=1", "train.epochs=4", "train.device=cpu"),
)


def blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.S)


def commands() -> list[str]:
    """Every line of a shell block but those that other programs run."""
    lines = [line.partition("   #")[0].strip() for block in blocks() for line in block.splitlines()]
    return [line for line in lines if not line.startswith(("make ", "optuna-dashboard "))]


def module_commands() -> list[str]:
    return [line for line in commands() if re.match(r"(\S*/)?python -m ", line)]


def arguments_of(command: str) -> list[str]:
    """Of a module, without where its output goes."""
    return shlex.split(command.partition(" > ")[0])[3:]


def test_there_are_commands_of_every_kind() -> None:
    assert {shlex.split(command)[2] for command in module_commands()} == set(PARSES)
    ours = [
        PARSES["kptrain"](arguments_of(command))
        for command in module_commands()
        if " -m kptrain" in command
    ]
    assert {parsed.command for parsed in ours} == set(kptrain_command.COMMANDS)


@pytest.mark.parametrize("command", module_commands())
def test_a_command_of_the_readme_is_understood(command: str) -> None:
    PARSES[shlex.split(command)[2]](arguments_of(command))


def test_an_option_that_is_gone_would_be_noticed() -> None:
    with pytest.raises(SystemExit):
        PARSES["search.run"](["spaces/quick.yaml", "--gone"])


@pytest.mark.parametrize(
    ("name", "parser"),
    [("kptrain", kptrain_command.build_parser()), ("search.run", options.build_parser())],
)
def test_the_examples_of_a_help_are_understood(name: str, parser: ArgumentParser) -> None:
    lines = [line.strip() for line in parser.format_help().splitlines()]
    examples = [line for line in lines if line.startswith(f"python -m {name} ") and "|" not in line]
    assert len(examples) >= 3
    for example in examples:
        PARSES[name](arguments_of(example))


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README.read_text("utf-8")))
def test_a_file_that_the_readme_names_is_there(link: str) -> None:
    assert (README.parent / link).exists()


@pytest.fixture(scope="module")
def place(
    whole: Path, small_coco: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Where a reader is, who has made a search, and has a picture; it is the working directory."""
    place = tmp_path_factory.mktemp("reader")
    shutil.copytree(whole, place / "runs" / "lr")
    shutil.copyfile(whole / "best" / BEST, place / BEST)
    shutil.copyfile(whole / "best" / "config.yaml", place / "config.yaml")
    Image.new("RGB", (640, 640), "teal").save(place / "photo.jpg")
    for name in ("spaces", "examples"):
        (place / name).symlink_to(README.parent / name)
    (place / "coco").symlink_to(small_coco)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}  # commands set their own
    with chdir(place):
        yield place
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_a_command_runs(command: str, place: Path) -> None:
    """As printed, with names of the reader's own; trainings are made small, and of a search that is
    begun only the plan is seen, as whole ones are other tests."""
    for printed, own in {
        "/path/to/coco": "coco",
        "runs/…": "runs/lr",
        "runs/<name>": "runs/lr",
        "s3://bucket/runs/lr": (place / "cloud").as_uri(),
        " --address auto": "",
    }.items():
        command = command.replace(printed, own)
    if " >" in command:  # as a shell runs it, at home here
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        home = os.environ | {"HOME": str(place), "PATH": path}
        subprocess.run(["bash", "-c", command], check=True, env=home)
        return
    if not re.match(r"(\S*/)?python -m ", command):
        subprocess.run(shlex.split(command), check=True)
        return
    words = arguments_of(command)
    module = shlex.split(command)[2]
    if module == "search.run" and "--resume" not in words and "--plan" not in words:
        words.append("--plan")
    if "coco" in words and "evaluate" not in words:
        words += [word for setting in FEW for word in ("--set", setting)]
    if "file:" in command and "--resume" in words:
        shutil.copytree("runs/lr", "cloud", dirs_exist_ok=True)  # as if it had been begun there
    assert MAINS[module](words) == 0


@pytest.mark.slow
def test_the_commands_left_what_they_promise(place: Path) -> None:
    names = {path.name for path in place.iterdir()}
    assert names >= {"photo-keypoints.png", "results.json", "model.onnx", "targets.png"}
    assert (place / "runs" / "lr" / "report.html").exists()
    home = {"HOME": str(place), "PATH": os.environ["PATH"]}
    shell = ["bash", "-c", f"source {place}/.bashrc && complete -p kptrain kptrain-watch"]
    found = subprocess.run(shell, check=True, env=home, capture_output=True, text=True).stdout
    assert found.count("complete ") == 2
