"""The Ray that a search starts, finds or is given: folders, addresses, and what is in its way."""

import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
import ray
from in_process import run_here
from ray._private import services
from search_commands import command

from kptrain.errors import SettingsError
from kptrain.machine.locks import held
from search.backend.ray_address import check_address
from search.backend.ray_folder import keep_token
from search.backend.ray_session import RAY_SETTINGS, RayOnDemand, _settings
from search.run import main

pytestmark = pytest.mark.slow  # imports Ray

RIDGE = ["search.run", "examples/ridge.yaml", "--trainable", "examples.ridge:RIDGE"]
ROOT = Path(__file__).parents[2]
LONG = "long" * 25


def test_folders_of_killed_searches_are_removed_and_those_of_running_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    own = tmp_path / f"kptrain-{os.getuid()}"
    for name in ("1-dead", "2-runs"):
        (own / name).mkdir(parents=True)
        (own / name / "log").touch()
    (own / "1-dead.lock").touch()
    (own / "1-dead.lock.holder").write_text("{}")
    other = tmp_path / "ray" / "session_of_another"
    other.mkdir(parents=True)
    with held(own / "2-runs.lock"), RayOnDemand(None, uses_gpus=False):
        pass  # as a search that was at its end: Ray was never started
    assert sorted(path.name for path in own.iterdir()) == ["2-runs", "2-runs.lock"]
    assert (own / "2-runs" / "log").exists()
    assert other.exists()


@contextmanager
def listening(greeting: bytes) -> Iterator[str]:
    """A port that accepts, says its greeting, and nothing more."""
    kept = []
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return
                kept[-1].sendall(greeting)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in kept:
        connection.close()


@pytest.mark.parametrize(
    ("greeting", "told"),
    [
        (b"", "within 5 s"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "is not the GCS of a cluster"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not the GCS of a cluster"),
    ],
)
def test_a_port_of_something_else_than_a_cluster_is_reported_in_seconds(
    greeting: bytes, told: str
) -> None:
    began = time.monotonic()
    with listening(greeting) as address, pytest.raises(SettingsError) as error:
        check_address(address)
    assert time.monotonic() - began < 20
    assert re.search(rf"host:port .* 6379.* got '{address}': .*{told}", str(error.value))


def test_a_clients_address_and_one_in_the_environment_are_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SettingsError, match=r"'ray://head:10001': that is a client's address"):
        check_address("ray://head:10001")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(SettingsError, match=r"got '127.0.0.1:1': .*Connection refused"):
        check_address("auto")


@contextmanager
def ray_in(folder: Path, address: str) -> Iterator[None]:
    """What looks like a node of a Ray in the list of processes."""
    wait = ["-c", "import time; time.sleep(600)"]
    with subprocess.Popen(
        ["raylet", *wait, f"--gcs-address={address}", f"--temp_dir={folder}"],
        executable=sys.executable,
    ) as node:
        try:
            yield
        finally:
            node.kill()


def only_of(folder: Path) -> Callable[[str], set[str]]:
    """Ray's look at the processes, without the Rays of other tests."""
    look = services._find_address_from_flag
    ours = (*(f"127.0.0.1:{port}" for port in range(1, 5)), str(folder))

    def found(flag: str) -> set[str]:
        return {each for each in look(flag) if each in ours or each.startswith(str(folder))}

    return found


def test_auto_is_the_cluster_of_ray_start_and_never_the_ray_that_a_program_has_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(services, "_find_address_from_flag", only_of(tmp_path))
    own, one, usual = tmp_path / f"kptrain-{os.getuid()}/1-a", tmp_path / "one", tmp_path / "ray"
    for folder in (own, one, usual):
        folder.mkdir(parents=True)
    (one / "ray_current_cluster").write_text("127.0.0.1:2")
    with ray_in(own, "127.0.0.1:1"):
        with pytest.raises(SettingsError, match=r"no cluster of .*programs.*127\.0\.0\.1:1"):
            check_address("auto")
        with ray_in(one, "127.0.0.1:2"):
            with pytest.raises(SettingsError, match=r"got '127.0.0.1:2': .*Connection refused"):
                check_address("auto")
            (usual / "ray_current_cluster").write_text("127.0.0.1:3")  # its cluster has ended
            with pytest.raises(SettingsError, match=r"got '127.0.0.1:2'"):
                check_address("auto")
            with ray_in(usual, "127.0.0.1:3"), pytest.raises(SettingsError, match=r"0.1:3': .*Con"):
                check_address("auto")
            with ray_in(usual, "127.0.0.1:4"):
                (own / "ray_current_cluster").write_text("127.0.0.1:1")
                with pytest.raises(SettingsError, match=r"several run .*0.1:1, 127.0.0.1:2"):
                    check_address("auto")


@pytest.mark.parametrize(
    ("name", "folder", "told"),
    [
        ("TMPDIR", LONG, r"sockets .*{folder} must have at most 75; .* with TMPDIR"),
        ("RAY_TMPDIR", LONG, r"sockets .*{folder}/kptrain-.* with RAY_TMPDIR"),
        ("RAY_TMPDIR", "a-file", r"{folder}/kptrain-\d+: Not a directory"),
    ],
)
def test_why_ray_does_not_start_is_one_line_and_the_same_command_may_be_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str, told: str
) -> None:
    out = tmp_path / "out"
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        place = Path(short) / folder
        place.touch() if folder == "a-file" else place.mkdir()
        monkeypatch.setenv(name, str(place))
        monkeypatch.setattr(tempfile, "tempdir", None)  # as Python knows it from before
        done = run_here(main, *RIDGE[1:], "--out", out, cwd=ROOT)
    assert_does_not_start(done, told.format(folder=re.escape(str(place))))
    assert not out.exists()


def no_more_addresses() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (6 * 10**9, 6 * 10**9))


def test_too_few_addresses_for_ray_are_reported_with_the_limit(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        command(*RIDGE, "--out", out), cwd=ROOT,
        preexec_fn=no_more_addresses, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert_does_not_start(done, r"`ulimit -v` .* 8000000, but is 5859375")
    assert not out.exists()


def assert_does_not_start(done: subprocess.CompletedProcess[str], told: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    [line] = done.stderr.splitlines()
    assert re.match(rf"error: Ray must start on this machine, but does not: .*{told}", line)
    assert "Space " not in done.stdout  # before any data are read


def test_a_disk_without_room_for_rays_logs_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("search.backend.ray_folder.LEAST_FREE", 10**18)
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # a short name
        monkeypatch.setenv("RAY_TMPDIR", place)
        told = rf"{place}/kptrain-\d+ must have 1000000000000 MB free, but has \d+; make room"
        search = RayOnDemand(None, uses_gpus=False)
        with search, pytest.raises(SettingsError, match=told):
            search.start()


WITH_GPUS = """
import sys
from pathlib import Path
import ray
from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager
from search.backend import ray_session as cluster
from search.machine import gpus
NvidiaGPUAcceleratorManager.get_current_node_num_accelerators = staticmethod(lambda: 5)
cluster.visible_gpus = lambda: ["GPU-1", "GPU-2"]
cluster.claim_gpus = lambda names: gpus.claim_gpus(names, Path("claims"))
with cluster.RayOnDemand(None, uses_gpus=sys.argv[1] == "uses") as search:
    search.start()
    print(int(ray.cluster_resources().get("GPU", 0)), cluster.has_gpu())
"""
"""Where Ray itself would count five."""


def test_our_own_ray_has_the_gpus_that_the_search_has_claimed_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    said = subprocess.check_output(  # in a process of its own, as Ray leaves variables behind
        [sys.executable, "-c", WITH_GPUS, "uses"],
        cwd=tmp_path,
        env=shown | {"PYTHONPATH": str(ROOT)},
        text=True,
    )
    assert said.splitlines()[-1] == "2 True"
    given: list[int] = []

    def session(_: object, num_gpus: int, __: str) -> ExitStack:
        given.append(num_gpus)
        raise SettingsError("it is not needed")

    monkeypatch.setattr("search.backend.ray_session.visible_gpus", lambda: ["GPU-1", "GPU-2"])
    monkeypatch.setattr("search.backend.ray_session.ray_session", session)
    with RayOnDemand(None, uses_gpus=False) as search, suppress(SettingsError):
        search.start()
    assert given == [0]


def test_a_token_of_the_user_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/none")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the user")
    assert keep_token() == ""
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


def test_under_uv_run_ray_sends_no_folder_while_a_search_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = "ray._private.runtime_env.uv_runtime_env_hook"
    monkeypatch.setattr(f"{hook}._get_uv_run_cmdline", lambda: ["uv", "run", "python"])
    monkeypatch.setattr(f"{hook}.hook", lambda _: {"working_dir": "."})
    modify = ray._private.worker._maybe_modify_runtime_env
    before = dict(os.environ)
    assert modify({}, False) == {"working_dir": "."}
    with _settings():
        assert modify({}, False) == {}
        assert all(os.environ[name] == value for name, value in RAY_SETTINGS.items())
        os.environ["RAY_AUTH_MODE"] = "token"  # as Ray does when it starts
    assert modify({}, False) == {"working_dir": "."}
    assert dict(os.environ) == before
