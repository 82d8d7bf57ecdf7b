"""The command `python -m search.completion SHELL`: what completes our commands there."""

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from search.hidden import end_if_hidden

end_if_hidden(__name__)  # before all that the working folder may hide

import shtab

from kptrain import __main__ as training
from kptrain import evaluate_command, export, predict, show
from kptrain.resolve import setting_infos
from search import arguments, report, watch

SHELLS = ("bash", "zsh")
FOLDERS = ("folder", "resume", "data", "warm_from")
SETTINGS, CONFIG = "_kptrain_settings", "_kptrain_config"
"""Functions of the shell: complete the value of --set, and a file or a command of kptrain."""


def completion(shell: str) -> str:
    """A script that completes commands, options, files, folders and the names of settings."""
    return "\n".join(
        shtab.complete(parser, shell, preamble=_preamble(shell)) for parser in _parsers()
    )


def _parsers() -> Iterator[argparse.ArgumentParser]:
    """Of each installed command, by its name."""
    one = training.build_parser()
    commands = one.add_subparsers()
    for name, module in zip(
        training.COMMANDS, (evaluate_command, predict, show, export), strict=True
    ):
        parser = module.build_parser()
        commands.add_parser(name, parents=[parser], add_help=False, help=parser.description)
        _describe(commands.choices[name])
    others = {"kptrain-search": arguments, "kptrain-report": report, "kptrain-watch": watch}
    named = {name: module.build_parser() for name, module in others.items()}
    for name, parser in ({"kptrain": one} | named).items():
        parser.prog = name
        _describe(parser)
        yield parser


def _describe(parser: argparse.ArgumentParser) -> None:
    """Tell what each argument takes."""
    for action in parser._actions:
        complete: Any = None
        if action.dest == "set":
            complete = dict.fromkeys(SHELLS, SETTINGS)
        elif action.dest == "config" and parser.prog == "kptrain":
            complete = dict.fromkeys(SHELLS, CONFIG)
        elif action.dest in FOLDERS:
            complete = shtab.DIRECTORY
        elif action.type is Path or action.dest == "out":
            complete = shtab.FILE
        if complete is not None:
            action.complete = complete  # type: ignore[attr-defined]  # as shtab wants it


def _preamble(shell: str) -> str:
    names = " ".join(f"{name}=" for name in setting_infos())
    commands = " ".join(training.COMMANDS)
    if shell == "bash":
        return (
            f'{SETTINGS}() {{ compgen -W {shlex.quote(names)} -- "$1"; }}\n'
            f'{CONFIG}() {{ compgen -W {shlex.quote(commands)} -- "$1"; compgen -f -- "$1"; }}'
        )
    return (
        f"{SETTINGS}() {{ compadd -S '' -- {names}; }}\n"
        f"{CONFIG}() {{ compadd -- {commands}; _files; }}"
    )


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m search.completion",
        description="Print a script that completes kptrain, kptrain-search, kptrain-report and "
        "kptrain-watch: write it into a file that your shell reads when it starts.",
    )
    parser.add_argument("shell", choices=SHELLS)
    return parser


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    print(completion(build_parser().parse_args(arguments).shell))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
