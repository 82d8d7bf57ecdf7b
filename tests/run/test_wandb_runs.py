"""Runs at Weights & Biases where its server cannot be used, and below its own agents."""

import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = (
    pytest.mark.slow
)  # each starts W&B in a process of its own, as it is set up once in one

ROOT = Path(__file__).parents[2]
KEY = "0" * 40
NOBODY = "http://127.0.0.1:9"
START = """
import json, sys
from pathlib import Path
from kptrain.config import TrainConfig
from kptrain.resolve import change
from kptrain.run.wandb_runs import start_wandb_run
config = change(TrainConfig(), {"wandb.mode": "auto", "wandb.project": "mine"}, "test")
for number, run_id in enumerate(json.loads(sys.argv[1])):
    run = start_wandb_run(config, Path(str(number)), "name", "group", run_id)
    print(json.dumps([run.id, run.sweep_id, run.project, run.offline]))
    run.finish()
"""


class Nothing(BaseHTTPRequestHandler):
    """A server that is not W&B's."""

    def do_GET(self) -> None:
        self.send_error(404)

    do_POST = do_GET  # noqa: N815  (so named by its base)

    def log_message(self, *_: Any) -> None:
        pass


class NoHttp(socketserver.BaseRequestHandler):
    """A server that speaks another protocol."""

    def handle(self) -> None:
        self.request.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")


@pytest.fixture
def no_http() -> Iterator[str]:
    with socketserver.TCPServer(("127.0.0.1", 0), NoHttp) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def other_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Nothing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def started(
    folder: Path, run_ids: list[str | None], **environment: str
) -> tuple[list[str], list[list[Any]], str]:
    """What was said, each run as [id, sweep, project, offline], and the errors."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", START, json.dumps(run_ids)],
        cwd=folder,
        env=clean | {"PYTHONPATH": str(ROOT), "HOME": str(folder)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    runs = [json.loads(line) for line in lines if line.startswith("[")]
    return [line for line in lines if not line.startswith("[")], runs, done.stderr


def test_auto_with_a_key_is_offline_if_no_server_answers_which_is_reported_once(
    tmp_path: Path,
) -> None:
    said, runs, errors = started(tmp_path, ["aa", "bb"], WANDB_BASE_URL=NOBODY, WANDB_API_KEY=KEY)
    assert [run[0] for run in runs] == ["aa", "bb"]
    assert all(run[3] for run in runs)
    (line,) = said
    assert line.startswith(f"wandb.mode: auto is offline here, because {NOBODY} ")
    assert errors == ""


def test_auto_is_offline_where_another_server_answers_and_where_the_key_is_none(
    tmp_path: Path, other_server: str
) -> None:
    for key in (KEY, "short"):
        said, runs, _ = started(tmp_path, ["aa"], WANDB_BASE_URL=other_server, WANDB_API_KEY=key)
        assert [run[3] for run in runs] == [True]
        assert [f"because {other_server} " in line for line in said] == [True]


def test_auto_is_offline_where_what_answers_speaks_no_http_which_is_the_reason(
    tmp_path: Path, no_http: str
) -> None:
    said, runs, errors = started(tmp_path, ["aa"], WANDB_BASE_URL=no_http, WANDB_API_KEY=KEY)
    assert [run[3] for run in runs] == [True]
    (line,) = said
    assert f"because {no_http} " in line
    assert "(no HTTP: BadStatusLine SSH-2.0" in line
    assert errors == ""


def test_auto_is_offline_without_variables_that_cannot_be_read_which_are_named(
    tmp_path: Path,
) -> None:
    faulty = {"WANDB_BASE_URL": "localhost:8080", "WANDB_API_KEY": f" {KEY}"}
    said, runs, errors = started(tmp_path, ["aa", "bb"], **faulty, WANDB_HTTP_TIMEOUT="soon")
    assert [run[3] for run in runs] == [True, True]
    (line,) = said
    assert all(name in line for name in (*faulty, "WANDB_HTTP_TIMEOUT"))
    assert KEY not in line
    assert errors == ""


def test_runs_of_trials_are_their_own_inside_a_sweep_and_a_training_alone_is_the_sweep_s(
    tmp_path: Path,
) -> None:
    agent = {"WANDB_SWEEP_ID": "sweep", "WANDB_RUN_ID": "agents"}
    agent |= {"WANDB_BASE_URL": NOBODY, "WANDB_API_KEY": KEY}
    _, runs, _ = started(tmp_path, ["aa", "bb"], **agent)
    assert runs == [["aa", None, "mine", True], ["bb", None, "mine", True]]
    _, runs, _ = started(tmp_path, [None], **agent)
    assert [run[:2] for run in runs] == [["agents", "sweep"]]
