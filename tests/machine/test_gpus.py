"""Claims on GPUs, between real processes, and shares of one; no GPU is needed for them."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kptrain.errors import OutOfMemoryError, SettingsError
from search.machine.gpus import CONTEXT, claim_gpus, usable_bytes, visible_gpus

HOLD = """
import sys, time
from pathlib import Path
from search.machine.gpus import claim_gpus
with claim_gpus(["GPU-1", "GPU-2"], Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_gpu_is_claimed_once_and_free_again_when_its_holder_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with claim_gpus(["GPU-3"], tmp_path):
            pass
        with (
            pytest.raises(SettingsError, match=f"GPU-2: must be free .* process {holder.pid} on "),
            claim_gpus(["GPU-3", "GPU-2"], tmp_path),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with claim_gpus(["GPU-1", "GPU-2", "GPU-3"], tmp_path):
        pass


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("before", [None, 0o777, 0o700])
def test_the_claims_lie_where_all_users_write_and_none_removes_another_s(
    tmp_path: Path, before: int | None
) -> None:
    claims = tmp_path / "claims"
    if before is not None:
        claims.mkdir()
        claims.chmod(before)
    mask = os.umask(0o077)
    try:
        with claim_gpus(["GPU-1"], claims):
            assert mode(claims) == 0o1777
            assert mode(claims / "GPU-1.lock") == 0o644
    finally:
        os.umask(mask)


def test_a_link_in_the_place_of_the_claims_is_refused_and_opens_nothing(tmp_path: Path) -> None:
    private, link = tmp_path / "private", tmp_path / "claims"
    private.mkdir(mode=0o700)
    link.symlink_to(private)
    with (
        pytest.raises(SettingsError, match="claims: must be a folder"),
        claim_gpus(["GPU-1"], link),
    ):
        pass
    assert mode(private) == 0o700
    assert list(private.iterdir()) == []


def test_links_among_the_claims_lead_to_no_change_of_a_file(tmp_path: Path) -> None:
    mine, claims = tmp_path / "mine", tmp_path / "claims"
    mine.write_text("kept")
    mine.chmod(0o600)
    claims.mkdir()
    (claims / f"GPU-1.lock.{os.geteuid()}").symlink_to(mine)
    (claims / "GPU-2.lock").symlink_to(mine)
    with claim_gpus(["GPU-1"], claims):
        pass
    with pytest.raises(OSError, match="GPU-2"), claim_gpus(["GPU-2"], claims):
        pass
    assert (mine.read_text(), mode(mine)) == ("kept", 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")
def test_a_gpu_is_claimed_after_other_users_and_the_one_who_holds_it_is_named(
    tmp_path: Path,
) -> None:
    claims = tmp_path / "claims"
    with claim_gpus(["GPU-1"], claims):
        pass
    os.chown(claims, 4001, -1)
    os.chown(claims / "GPU-1.lock", 4002, -1)
    killed = claims / "GPU-1.lock.4002"
    killed.write_text('{"pid": 1, "host": "there", "since": "then"}')
    os.utime(killed, (1, 1))
    with claim_gpus(["GPU-1"], claims):
        with (
            pytest.raises(SettingsError, match=f"GPU-1: .* but process {os.getpid()} on "),
            claim_gpus(["GPU-1"], claims),
        ):
            pass
        assert killed.exists()


def test_a_gpu_whose_driver_is_too_old_for_torch_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)  # of the driver's own library
    assert visible_gpus() == []


@pytest.mark.parametrize(
    ("share", "total", "usable"),
    [(0.25, 80 * 10**9, 19_500_000_000), (0.5, 2 * 10**9, 500_000_000), (0.51, 10**9, 10**7)],
)
def test_of_a_share_the_tensors_have_what_cuda_itself_does_not_take(
    share: float, total: int, usable: int
) -> None:
    assert usable_bytes(share, total) == usable
    assert round(1 / share) * (usable + CONTEXT) <= 1.1 * total


@pytest.mark.parametrize(("share", "told"), [(0.05, "0.40 GB"), (0.0625, "0.50 GB")])
def test_a_share_that_cuda_itself_fills_is_out_of_memory_with_the_figures(
    share: float, told: str
) -> None:
    with pytest.raises(OutOfMemoryError, match=rf"the 0\.5 GB .* {share} of .* 8\.0 GB is {told};"):
        usable_bytes(share, 8 * 10**9)
