"""Metrics to Weights & Biases and TensorBoard: passed on unchanged, written, closed with the
stream."""

import struct
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from records import report_of

from kptrain.config import TrainConfig
from kptrain.errors import SettingsError, TrainingError
from kptrain.resolve import change
from kptrain.run.curve import EpochReport
from kptrain.run.loggers import log_artifact, log_reports


class Stream:
    """Three reports, and whether their generator was closed."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.breaks_at = breaks_at
        self.is_closed = False

    def reports(self) -> Generator[EpochReport, None, None]:
        try:
            for epoch in (1, 2, 3):
                if epoch == self.breaks_at:
                    raise TrainingError(f"epoch {epoch}: the loss must be finite")
                yield report_of(epoch, train_loss=0.5, val_loss=0.25 / epoch)
        finally:
            self.is_closed = True


def config_of(mode: str) -> TrainConfig:
    return change(TrainConfig(), {"wandb.mode": mode, "wandb.project": "a-project"}, "test")


@pytest.fixture
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, and new folders."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    for kind in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{kind}_DIR", str(tmp_path / "home"))


def records(run_dir: Path) -> list[Any]:
    """What Weights & Biases would send: the records of the only offline run in the folder."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # generated

    (file,) = run_dir.glob("wandb/offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:  # a process of W&B's own still writes after `finish`
        found = [Record.FromString(content) for content in chunks(file.read_bytes())]
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{file} does not end with the end of its run")


def chunks(log: bytes) -> Iterator[bytes]:
    """The whole records of a log in LevelDB's format, after the seven bytes of W&B's header."""
    block, header, last_kinds = 32768, 7, (1, 4)
    offset, content = header, b""
    while offset + header <= len(log):
        left = block - offset % block
        if left < header:
            offset += left
            continue
        _, length, kind = struct.unpack("<IHB", log[offset : offset + header])
        if offset + header + length > len(log):
            return
        content += log[offset + header : offset + header + length]
        offset += header + length
        if kind in last_kinds:
            yield content
            content = b""


def logged(run_dir: Path, name: str) -> list[str]:
    """The values of one metric, as JSON."""
    return [
        item.value_json
        for record in records(run_dir)
        for item in record.history.item
        if name in (item.key, *item.nested_key)
    ]


def exit_codes(run_dir: Path) -> list[int]:
    found = records(run_dir)
    return [record.exit.exit_code for record in found if record.WhichOneof("record_type") == "exit"]


def test_disabled_passes_the_reports_on_and_does_not_import_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import would raise
    reports = log_reports(Stream().reports(), config_of("disabled"), tmp_path / "run")
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert not (tmp_path / "run").exists()


def test_disabled_closing_closes_the_stream(tmp_path: Path) -> None:
    stream = Stream()
    with closing(log_reports(stream.reports(), config_of("disabled"), tmp_path)) as reports:
        next(reports)
        assert not stream.is_closed
    assert stream.is_closed


@pytest.mark.slow
@pytest.mark.usefixtures("no_account")
def test_offline_writes_the_metrics_below_the_run_folder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reports = log_reports(Stream().reports(), config_of("offline"), tmp_path / "r7", group="lr")
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert logged(tmp_path / "r7", "val_loss") == ["0.25", "0.125", str(0.25 / 3)]
    assert logged(tmp_path / "r7", "epoch") == ["1", "2", "3"]
    assert exit_codes(tmp_path / "r7") == [0]
    (run,) = (r.run for r in records(tmp_path / "r7") if r.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name, run.run_group) == ("a-project", "r7", "lr")
    assert {item.key for item in run.config.update} >= {"optim.lr", "data.view", "train.seed"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.usefixtures("no_account")
def test_offline_a_reader_that_stops_early_closes_the_stream_and_the_run_without_a_failure(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = Stream()
    with closing(log_reports(stream.reports(), config_of("offline"), tmp_path)) as reports:
        next(reports)
    assert stream.is_closed
    assert logged(tmp_path, "epoch") == ["1"]
    assert exit_codes(tmp_path) == [0]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.usefixtures("no_account")
def test_offline_a_training_that_breaks_is_a_failed_run_without_a_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reports = log_reports(Stream(breaks_at=2).reports(), config_of("offline"), tmp_path)
    with pytest.raises(TrainingError):
        list(reports)
    assert logged(tmp_path, "epoch") == ["1"]
    assert exit_codes(tmp_path) == [1]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.usefixtures("no_account")
def test_online_without_a_key_is_refused_in_one_line(tmp_path: Path) -> None:
    stream = Stream()
    with pytest.raises(SettingsError, match=r"^wandb.mode: .* online cannot: .*; or use") as caught:
        list(log_reports(stream.reports(), config_of("online"), tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.usefixtures("no_account")
def test_auto_without_a_key_is_offline(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert len(list(log_reports(Stream().reports(), config_of("auto"), tmp_path))) == 3
    assert logged(tmp_path, "epoch") == ["1", "2", "3"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.usefixtures("no_account")
def test_a_folder_is_logged_as_a_model_of_the_group(tmp_path: Path) -> None:
    best = tmp_path / "best"
    best.mkdir()
    (best / "weights").write_text("12")
    log_artifact(config_of("disabled"), best, group="lr", run_id="abc")
    assert not (tmp_path / "wandb").exists()
    log_artifact(config_of("offline"), best, group="lr", run_id="abc")
    found = records(tmp_path)
    (run,) = (r.run for r in found if r.WhichOneof("record_type") == "run")
    assert (run.run_id, run.display_name, run.run_group) == ("abc", "lr best", "lr")
    (artifact,) = (
        r.request.log_artifact.artifact if r.HasField("request") else r.artifact
        for r in found
        if r.WhichOneof("record_type") == "artifact"
        or r.request.WhichOneof("request_type") == "log_artifact"
    )
    assert (artifact.type, artifact.name) == ("model", "a-project-best")
    assert [entry.path for entry in artifact.manifest.contents] == ["weights"]


def scalars(run_dir: Path) -> list[tuple[str, int, float]]:
    """What TensorBoard would show."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[tuple[str, int], float] = {}
    for file in sorted((run_dir / "tensorboard").iterdir()):
        content = file.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            if event.session_log.status:
                found = {key: value for key, value in found.items() if key[1] < event.step}
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
    return [(tag, step, value) for (tag, step), value in sorted(found.items())]


def test_tensorboard_has_each_epoch_once_also_of_a_run_that_repeats_some(tmp_path: Path) -> None:
    config = change(TrainConfig(), {"tensorboard.enabled": True}, "test")
    with closing(log_reports(Stream().reports(), config, tmp_path)) as reports:
        next(reports)
        next(reports)
    time.sleep(1.1)  # its files are named by the second
    again = Stream().reports()
    next(again)
    assert len(list(log_reports(again, config, tmp_path))) == 2
    losses = [(step, value) for tag, step, value in scalars(tmp_path) if tag == "val_loss"]
    assert losses == [(1, 0.25), (2, 0.125), (3, pytest.approx(0.25 / 3))]
