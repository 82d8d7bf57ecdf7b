"""A cache in which there is nothing, and no decoding."""

from pathlib import Path

import pytest

from kptrain.data import pack_filling as packing


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which there is nothing yet."""
    monkeypatch.setenv("KPTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on only packs that are there can be opened."""

    def refuse(path: Path, *_: object) -> None:
        raise AssertionError(f"decoded {path}")

    monkeypatch.setattr(packing, "decode_image", refuse)
