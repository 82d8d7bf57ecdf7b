"""Checkpoints: written whole or not at all, read without running anything in them."""

import pickle
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from kptrain.config import BEST
from kptrain.errors import CheckpointError
from kptrain.model.checkpoint import FORMAT, load_checkpoint, load_weights, save_checkpoint

WEIGHTS = {"head.weight": torch.arange(12.0).reshape(3, 4), "head.bias": torch.tensor([1.5])}


class Code:
    """What a malicious file holds: unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "resume.pt"
    path.parent.mkdir()
    save_checkpoint({"weights": WEIGHTS, "curve": [{"epoch": 1, "lr": 0.1}], "data": "ab"}, path)
    return path


def refused(path: Path) -> str:
    """The one line that says why neither reader takes the file."""
    with pytest.raises(CheckpointError) as by_weights:
        load_weights(path)
    with pytest.raises(CheckpointError) as by_checkpoint:
        load_checkpoint(path)
    assert str(by_weights.value) == str(by_checkpoint.value)
    message = str(by_weights.value)
    assert message.startswith(f"{path}: must ")
    assert "\n" not in message
    return message


def test_what_was_saved_is_loaded(saved: Path) -> None:
    content = load_checkpoint(saved)
    assert content["curve"] == [{"epoch": 1, "lr": 0.1}]
    assert content["data"] == "ab"
    for weights in (content["weights"], load_weights(saved)):
        assert weights.keys() == WEIGHTS.keys()
        assert all(torch.equal(weights[key], WEIGHTS[key]) for key in WEIGHTS)


def test_a_plain_state_dict_is_read_as_weights(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "plain.pth")
    assert load_weights(tmp_path / "plain.pth").keys() == WEIGHTS.keys()


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def disk_full(_: object, file: Any) -> None:
        file.write(b"half a check")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save", disk_full)
    with pytest.raises(
        CheckpointError, match="must be writable, but No space left on device; make"
    ):
        save_checkpoint({"weights": {}}, saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_file_that_the_system_refuses_to_grow_is_reported_with_the_systems_reason(
    saved: Path,
) -> None:
    before = saved.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(
            CheckpointError, match=rf"^{saved}: must be writable, but File too large"
        ):
            save_checkpoint({"weights": torch.zeros(1_000_000)}, saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_kill_while_writing_leaves_the_old_file_and_the_next_save_works(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()
    seen: list[Path] = []

    def look(path: Path, _: Path) -> None:
        seen.extend(path.parent.iterdir())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", look)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # a killed process tidies nothing
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint({"weights": {}}, saved)
    (temporary,) = set(seen) - {saved}
    assert temporary.is_file()
    assert temporary.name.startswith(".")
    assert temporary.suffix not in (".pt", ".pth")
    assert saved.read_bytes() == before
    save_checkpoint({"data": "new"}, saved)
    assert load_checkpoint(saved)["data"] == "new"
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    assert "must be a complete checkpoint, but cannot be read" in refused(saved)


@pytest.mark.parametrize("legacy", [True, False], ids=["torch's old format", "torch's format"])
def test_damaged_bytes_never_raise_anything_else(legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pth"
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    num_refused = 0
    for _ in range(150):
        content = bytearray(whole)
        places = torch.randint(len(content), (3,), generator=generator).tolist()
        for place in places:
            content[place] ^= 0x5A
        path.write_bytes(content)
        try:
            load_weights(path)
        except CheckpointError:
            num_refused += 1
    assert num_refused > 50


def test_a_bit_that_flipped_among_the_weights_is_noticed(saved: Path) -> None:
    """Torch would load it: it writes checksums and reads none."""
    content = bytearray(saved.read_bytes())
    weights = load_checkpoint(saved)["weights"]
    stored = next(iter(weights.values())).numpy().tobytes()
    content[content.index(stored) + 1] ^= 1
    saved.write_bytes(content)
    torch.load(saved, weights_only=True)
    with pytest.raises(CheckpointError, match="does not have its checksum"):
        load_checkpoint(saved)


@pytest.mark.parametrize("text", ["hello\n", "epoch,val_loss\n1,0.5\n", '{"weights": 1}', "<html>"])
def test_a_text_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "text.pth"
    path.write_text(text)
    assert "damaged" in (message := refused(path)) or "cannot be read" in message


@pytest.mark.parametrize("with_torch", [True, False], ids=["torch.save", "pickle.dump"])
def test_code_in_a_file_is_refused_and_not_run(with_torch: bool, tmp_path: Path) -> None:
    path, sign = tmp_path / "evil.pth", tmp_path / "the code ran"
    if with_torch:
        torch.save({"format": FORMAT, "weights": Code(sign)}, path)
        torch.load(path, weights_only=False)
    else:
        path.write_bytes(pickle.dumps({"format": FORMAT, "weights": Code(sign)}))
        pickle.loads(path.read_bytes())  # noqa: S301  (to see that the file is as evil as it says)
    assert sign.exists()
    sign.unlink()
    assert "holds code, which is never run" in refused(path)
    assert not sign.exists()


def test_another_format_is_refused_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "later.pth"
    torch.save({"format": FORMAT + 1, "weights": WEIGHTS}, path)
    with pytest.raises(CheckpointError, match=f"format {FORMAT}, but got {FORMAT + 1};"):
        load_checkpoint(path)


def test_a_file_without_a_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.pth"
    torch.save(WEIGHTS, path)
    with pytest.raises(CheckpointError, match=f"format {FORMAT}, but got None;"):
        load_checkpoint(path)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    assert refused(tmp_path / "resume.pt").endswith("there is no such file")


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert refused(tmp_path).endswith(f"is a folder; name the file in it, such as {BEST}")


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "webp", "bmp", "tif"])
def test_a_picture_is_no_checkpoint(ending: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / f"a.{ending}")
    assert "must be a checkpoint, but is a picture" in refused(tmp_path / f"a.{ending}")


def test_a_list_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "list.pth"
    torch.save([1, 2], path)
    assert "but holds a list" in refused(path)


@pytest.mark.parametrize(
    "content",
    [
        {"weights": 3},
        {"weights": torch.zeros(3)},
        {"weights": {1: torch.zeros(3)}},
        {"weights": {"a": 1.0}},
        {"state_dict": WEIGHTS, 5: 6},
    ],
)
def test_what_is_not_weights_by_name_is_refused(content: dict[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="must hold weights by name, but holds") as caught:
        load_weights(path)
    assert repr(next(iter(content))) in str(caught.value)
