"""What the shell completes, in a real bash."""

import subprocess
from pathlib import Path

import pytest

from search.completion import completion

ROOT = Path(__file__).parents[1]
ASK = """
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
$(complete -p "$1" | sed -E 's/.*-F ([^ ]+).*/\\1/')
echo "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "kptrain.bash"
    path.write_text(completion("bash"))
    return path


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["kptrain-search", "spaces/l"], "spaces/lr_sched.yaml"),
        (["kptrain-search", "--re"], "--resume"),
        (["kptrain-search", "spaces/quick.yaml", "--set", "data.im"], "data.image_size="),
        (["kptrain", "--set", "optim."], "optim.lr= optim.weight_decay="),
        (["kptrain", "eva"], "evaluate"),
        (["kptrain", "pyp"], "pyproject.toml"),
        (["kptrain", "evaluate", "--fl"], "--flip"),
        (["kptrain", "evaluate", "--split", ""], "val train"),
        (["kptrain-watch", "spa"], "spaces"),
    ],
    ids=" ".join,
)
def test_a_word_is_completed(script: Path, words: list[str], offered: str) -> None:
    done = subprocess.run(
        ["bash", "-c", ASK, "bash", str(script), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == offered


def test_zsh_is_told_of_every_command_too() -> None:
    told = completion("zsh")
    for name in ("kptrain", "kptrain-search", "kptrain-report", "kptrain-watch"):
        assert f"#compdef {name}\n" in told
    assert "compadd -S '' -- " in told
