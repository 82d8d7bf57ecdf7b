"""The commands of the README and of the pages of docs/ run as they are printed."""

import importlib
import importlib.util
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
PAGES = (README, *sorted((README.parent / "docs").glob("*.md")))
RUN = ("README", "commands", "clusters", "own_training", "recovery", "reports")
"""Pages whose commands are run in a test: those that a reader runs as they stand."""
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


MODULE = re.compile(r"(\S*/)?python3? -m ")
OTHERS = {"cmp", "echo", "make", "optuna-dashboard", "pip", "shtab"}
"""Programs that are not ours, or not a module."""
SCRIPTS = str(Path(sys.executable).parent)
NOT_RUN = ("make ", "optuna-dashboard ", "pip ")
"""They install, serve without end, or are the tests themselves."""


def commands(pages: tuple[Path, ...] = PAGES) -> list[str]:
    """Every line of the shell blocks, once each, in the order of the pages."""
    blocks = [block for page in pages for block in shell_blocks(page)]
    lines = [line.partition("   #")[0].strip() for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(lines))


def shell_blocks(page: Path) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def module_of(command: str) -> str:
    """The module that Python runs, as in `A=B python -m MODULE`."""
    words = shlex.split(command)
    return words[words.index("-m") + 1]


def own_commands() -> list[str]:
    """Those of kptrain and search."""
    found = [command for command in commands() if MODULE.match(command)]
    return [command for command in found if module_of(command).split(".")[0] in OWN]


OWN = ("kptrain", "search")


def arguments_of(command: str) -> list[str]:
    """Of a module, without where its output goes."""
    return shlex.split(command.partition(" > ")[0])[3:]


def test_there_are_commands_of_every_kind() -> None:
    assert {module_of(command) for command in own_commands()} == set(PARSES)
    ours = [command for command in own_commands() if module_of(command) == "kptrain"]
    parsed = [PARSES["kptrain"](arguments_of(command)).command for command in ours]
    assert set(parsed) == set(kptrain_command.COMMANDS)


def test_the_readme_is_read_in_three_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").split()) < 1350


@pytest.mark.parametrize("command", own_commands())
def test_a_command_of_a_page_is_understood(command: str) -> None:
    PARSES[module_of(command)](arguments_of(command))


@pytest.mark.parametrize("command", [c for c in commands() if c not in own_commands()])
def test_a_command_of_another_program_names_what_is_there(command: str) -> None:
    if " -m " in command:
        assert importlib.util.find_spec(module_of(command)) is not None
        return
    words = shlex.split(command)
    assert words[0] in OTHERS
    if words[0] == "shtab":
        module, _, function = next(w for w in words if w.endswith("parser")).rpartition(".")
        assert callable(getattr(importlib.import_module(module), function))


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


def commands_to_run() -> list[str]:
    """What a reader runs as it stands; whether a longer budget parses is seen, not run."""
    pages = tuple(page for page in PAGES if page.stem in RUN)
    return [command for command in commands(pages) if not command.startswith(NOT_RUN)]


@pytest.mark.slow
@pytest.mark.parametrize("command", commands_to_run())
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
    if command.startswith("shtab") and shutil.which("shtab", path=SCRIPTS) is None:
        pytest.skip("shtab is not installed")
    if " >" in command:  # as a shell runs it, at home here
        path = f"{SCRIPTS}:{os.environ['PATH']}"
        home = os.environ | {"HOME": str(place), "PATH": path}
        subprocess.run(["bash", "-c", command], check=True, env=home)
        return
    if not MODULE.match(command):
        subprocess.run(shlex.split(command), check=True)
        return
    words = arguments_of(command)
    module = shlex.split(command)[2]
    is_more = "--resume" not in words or "--trials" in words
    if module == "search.run" and is_more and "--plan" not in words:
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
    if shutil.which("shtab", path=SCRIPTS) is None:
        return
    home = {"HOME": str(place), "PATH": os.environ["PATH"]}
    assert completions("kptrain --v", home) == ["--version"]
    assert completions("kptrain-search --r", home) == ["--resume"]
    assert completions("kptrain-watch --t", home) == ["--trainable"]


def completions(typed: str, home: dict[str, str]) -> list[str]:
    """What bash offers after what was typed, by the reader's .bashrc."""
    name, word = typed.split()
    script = (
        f"source ~/.bashrc; COMP_WORDS=({typed}); COMP_CWORD=1; "
        f"spec=$(complete -p {name}); function=${{spec##*-F }}; "
        f"${{function%% *}} {name} {word} {name}; echo ${{COMPREPLY[@]}}"
    )
    done = subprocess.run(
        ["bash", "-c", script], check=True, env=home, capture_output=True, text=True
    )
    return done.stdout.split()
