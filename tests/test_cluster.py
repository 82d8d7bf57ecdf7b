"""Folders of Ray that killed searches leave behind."""

import os
from pathlib import Path

import pytest

from kptrain.locks import held
from search.cluster import RayOnDemand

pytestmark = pytest.mark.slow  # imports Ray


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
