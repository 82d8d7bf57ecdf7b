"""Reads an annotation file's JSON, and names what the file is instead if it is not JSON."""

import codecs
import json
from pathlib import Path
from typing import Any

from kptrain.errors import DataError, unreadable
from kptrain.files.values import shown

LISTS = ("images", "annotations")
"""The keys that COCO's annotations must have at the top."""
_STARTS = {
    b"\x1f\x8b": "is compressed (gzip); unpack it",
    b"PK\x03\x04": "is compressed (zip); unpack it",
    b"BZh": "is compressed (bzip2); unpack it",
    b"\xfd7zXZ\x00": "is compressed (xz); unpack it",
    b"7z\xbc\xaf\x27\x1c": "is compressed (7z); unpack it",
    b"\x28\xb5\x2f\xfd": "is compressed (zstd); unpack it",
    b"version https://git-lfs": "is a pointer of Git LFS; download the file with git lfs pull",
    b"<?xml": "is XML; export it as COCO keypoints",
    b"<": "is a web page (HTML); download the file itself",
    b"": "is empty; download it again",
}
"""By the first bytes: what the file is, and what to do."""


def read_json(path: Path) -> dict[str, Any]:
    """The content of a file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises: DataError if it is not COCO's JSON.
    """
    try:
        content = json.loads(_read(path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: must be JSON in UTF-8, but {error}; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: must be readable JSON, but {_syntax_error(error)}") from None
    except RecursionError:
        fault = "is nested too deeply to be COCO's; check that it is the right file"
        raise DataError(f"{path}: must be readable JSON, but {fault}") from None
    except ValueError:  # Python raises it only for very long numbers here
        fault = "has a number of more digits than any id or coordinate; correct it"
        raise DataError(f"{path}: must be readable JSON, but {fault}") from None
    return _checked(content, path)


def _read(path: Path) -> bytes:
    """Raises: DataError if the file cannot be read, or its first bytes are of another format."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error, "grant the right to read it") from None
    start = content.removeprefix(codecs.BOM_UTF8).lstrip(b"\0 \t\r\n")
    for first_bytes, fault in _STARTS.items():
        if start.startswith(first_bytes) if first_bytes else not start:
            raise DataError(f"{path}: must be readable JSON, but {fault}")
    return content


def _syntax_error(error: json.JSONDecodeError) -> str:
    """What is wrong where, and what to do: a file cut short, or a syntax error."""
    text = error.doc.rstrip()
    if error.pos >= len(text) or not text.endswith(("}", "]")):
        return f"is cut short ({error}); download it again"
    near = shown(error.doc[max(error.pos - 20, 0) : error.pos + 20])
    where = f"line {error.lineno} column {error.colno}"
    return f"{where}: {error.msg} (near {near}); correct it there"


def _checked(content: Any, path: Path) -> dict[str, Any]:
    """Raises: DataError if it does not have COCO's lists."""
    missing = _missing(content)
    if not missing:
        sound: dict[str, Any] = content
        return sound
    inner = content if isinstance(content, dict) else {}
    within = next((key for key in inner if not _missing(inner[key])), None)
    advice = (
        "convert it to COCO's format"
        if within is None
        else f"keep only the content of {shown(within)!r}"
    )
    raise DataError(
        f"{path}: must be COCO annotations, with the lists {' and '.join(LISTS)}, but has no list "
        f"{missing[0]!r}: it is {_described(content)}; {advice}"
    )


def _missing(content: Any) -> list[str]:
    """COCO's lists that are missing."""
    inner = content if isinstance(content, dict) else {}
    return [key for key in LISTS if not isinstance(inner.get(key), list)]


def _described(content: Any) -> str:
    """The type, and the keys if there are any."""
    if isinstance(content, dict):
        keys = ", ".join(f"{key} ({_kind(inner)})" for key, inner in list(content.items())[:10])
        return shown(f"a mapping with {keys}" if keys else "an empty mapping")
    if isinstance(content, list) and content:
        return f"a list, of which the first is {_described(content[0])}"
    return _kind(content)


def _kind(content: Any) -> str:
    if content is None:
        return "null"
    kinds = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false"}
    return kinds.get(type(content), "a number")
