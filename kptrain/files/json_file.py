"""An annotation file's JSON, and what lies in its place where it is none."""

import codecs
import json
from pathlib import Path
from typing import Any

from kptrain.errors import DataError
from kptrain.files.values import shown

LISTS = ("images", "annotations")
"""What COCO's annotations have at the top."""
_STARTS = {
    b"\x1f\x8b": "is compressed (gzip); unpack it",
    b"PK\x03\x04": "is compressed (zip); unpack it",
    b"BZh": "is compressed (bzip2); unpack it",
    b"\xfd7zXZ\x00": "is compressed (xz); unpack it",
    b"7z\xbc\xaf\x27\x1c": "is compressed (7z); unpack it",
    b"\x28\xb5\x2f\xfd": "is compressed (zstd); unpack it",
    b"version https://git-lfs": "is a pointer of Git LFS; fetch the file itself with git lfs pull",
    b"<?xml": "is XML; export it as COCO keypoints",
    b"<": "is a web page (HTML); fetch the file itself",
    b"": "is empty; fetch it again",
}
"""What lies there by how it starts, and what to do."""


def read_json(path: Path) -> dict[str, Any]:
    """The content of a file in UTF-8, UTF-16 or UTF-32, with a byte order mark or without.

    Raises: DataError if it is not COCO's.
    """
    try:
        content = json.loads(_read(path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: must be JSON in UTF-8, but {error}; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: must be readable JSON, but {_slip(error)}") from None
    except RecursionError:
        found = "is nested too deeply to be COCO's; check that it is the file that you meant"
        raise DataError(f"{path}: must be readable JSON, but {found}") from None
    except ValueError:  # of the others Python raises it for this alone
        found = "has a number of more digits than any id or coordinate; correct it"
        raise DataError(f"{path}: must be readable JSON, but {found}") from None
    return _checked(content, path)


def _read(path: Path) -> bytes:
    """Raises: DataError if it cannot be read, or starts as no JSON does."""
    try:
        content = path.read_bytes()
    except OSError as error:
        said = error.strerror or error
        raise DataError(f"{path}: must be readable, but {said}; grant the right") from None
    start = content.removeprefix(codecs.BOM_UTF8).lstrip(b"\0 \t\r\n")
    for known, found in _STARTS.items():
        if start.startswith(known) if known else not start:
            raise DataError(f"{path}: must be readable JSON, but {found}")
    return content


def _slip(error: json.JSONDecodeError) -> str:
    """What is wrong where, and what to do: half a file is no slip of who wrote it."""
    text = error.doc.rstrip()
    if error.pos >= len(text) or not text.endswith(("}", "]")):
        return f"ends before it is whole ({error}); fetch it again"
    near = shown(error.doc[max(error.pos - 20, 0) : error.pos + 20])
    where = f"line {error.lineno} column {error.colno}"
    return f"{where}: {error.msg} (near {near}); correct it there"


def _checked(content: Any, path: Path) -> dict[str, Any]:
    """Raises: DataError if it has not COCO's lists."""
    missing = _missing(content)
    if not missing:
        sound: dict[str, Any] = content
        return sound
    inner = content if isinstance(content, dict) else {}
    within = next((key for key in inner if not _missing(inner[key])), None)
    advice = (
        "convert it to COCO's format"
        if within is None
        else f"keep what {shown(within)!r} holds alone"
    )
    raise DataError(
        f"{path}: must be COCO annotations, with the lists {' and '.join(LISTS)}, but has no list "
        f"{missing[0]!r}: it is {_found(content)}; {advice}"
    )


def _missing(content: Any) -> list[str]:
    """Those of COCO's lists that are not there."""
    inner = content if isinstance(content, dict) else {}
    return [key for key in LISTS if not isinstance(inner.get(key), list)]


def _found(content: Any) -> str:
    """A type, and the keys where it has some."""
    if isinstance(content, dict):
        keys = ", ".join(f"{key} ({_kind(inner)})" for key, inner in list(content.items())[:10])
        return shown(f"a mapping with {keys}" if keys else "an empty mapping")
    if isinstance(content, list) and content:
        return f"a list, of which the first is {_found(content[0])}"
    return _kind(content)


def _kind(content: Any) -> str:
    if content is None:
        return "null"
    kinds = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false"}
    return kinds.get(type(content), "a number")
