"""The README's commands are commands of this package, with the options that it shows."""

import re
import shlex
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import pytest

from kptrain import __main__ as kptrain_command
from kptrain import evaluate_command, export, predict, show
from search import report, watch
from search import run as search_command

README = Path(__file__).parents[1] / "README.md"
PARSERS: dict[str, Callable[[], ArgumentParser]] = {
    "kptrain": kptrain_command.build_parser,
    "kptrain predict": predict.build_parser,
    "kptrain evaluate": evaluate_command.build_parser,
    "kptrain show": show.build_parser,
    "kptrain export": export.build_parser,
    "search.run": search_command.build_parser,
    "search.report": report.build_parser,
    "search.watch": watch.build_parser,
}


def commands() -> list[str]:
    """Every line of a shell block that calls one of our modules."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    lines = [line.partition("   #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if re.match(r"(\S*/)?python -m ", line)]


def test_there_are_commands_of_every_kind() -> None:
    named = {name_of(command) for command in commands()}
    assert named == set(PARSERS)


def name_of(command: str) -> str:
    _, _, module, *rest = shlex.split(command)
    both = f"{module} {rest[0]}" if rest else module
    return both if both in PARSERS else module


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_is_understood(command: str) -> None:
    name = name_of(command)
    words = shlex.split(command)[2 + len(name.split()) :]
    PARSERS[name]().parse_args(words)


def test_an_option_that_is_gone_would_be_noticed() -> None:
    with pytest.raises(SystemExit):
        PARSERS["search.run"]().parse_args(["spaces/quick.yaml", "--gone"])


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README.read_text("utf-8")))
def test_a_file_that_the_readme_names_is_there(link: str) -> None:
    assert (README.parent / link).exists()
