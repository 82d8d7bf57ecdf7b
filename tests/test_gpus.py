"""Claims on GPUs, between real processes; no GPU is needed for them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kptrain.errors import SettingsError
from search.gpus import claim_gpus

HOLD = """
import sys, time
from pathlib import Path
from search.gpus import claim_gpus
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
