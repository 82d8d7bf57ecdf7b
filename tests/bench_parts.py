"""Parts of a bench of the GPU that end in each of the ways in which a part can end."""

import os
import signal
import subprocess

from bench.gpu.run import Run


def measures(run: Run) -> None:
    run.row("a thing", "3 things/s", rate=3)


def raises(run: Run) -> None:
    run.attempt("first", lambda: os.kill(os.getpid(), -1))
    measures(run)
    raise ValueError("not\ntoday")


def hangs(run: Run) -> None:
    measures(run)
    with subprocess.Popen(["sleep", "600"]) as child:
        (run.out / "child").write_text(str(child.pid))


def dies(run: Run) -> None:
    measures(run)
    os.kill(os.getpid(), signal.SIGKILL)
