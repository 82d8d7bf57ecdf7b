"""A search from Python."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search import history
from search.arguments import begin, build_parser
from search.history import History
from search.named import trainable_named
from search.run import run
from search.space import Space
from search.way import Way


def run_search(
    space: Space | Path | str,
    out: Path | str,
    *,
    data: str | None = None,
    settings: Mapping[str, Any] | None = None,
    trials: int | None = None,
    trainable: str | None = None,
    address: str | None = None,
    quiet: bool = False,
) -> History:
    """Search the file of a space into a new folder or URL `out`; returns what it came to.

    A `Space` stands for its file, which is read again. `data`: a folder with COCO, or `embedded`;
    `settings`: fixed for all trials, by their dotted path; `trials`: instead of the space's;
    `trainable`: `MODULE:NAME` of an `OwnTraining` to search instead of the keypoints';
    `address`: of a running Ray cluster. Its `best` holds the winner.

    Raises: KptrainError, as the command's errors.
    """
    path = space.path if isinstance(space, Space) else space
    arguments = [str(path), "--out", str(out)]
    given = {
        "--data": data,
        "--trials": trials,
        "--trainable": trainable,
        "--address": address,
    }
    for name, value in given.items():
        arguments += [] if value is None else [name, str(value)]
    for name, value in (settings or {}).items():
        arguments += ["--set", f"{name}={json.dumps(value)}"]
    arguments += ["--quiet"] if quiet else []
    way = Way("quiet" if quiet else "auto")
    with way.by_the_way():
        search = begin(build_parser().parse_args(arguments))
    assert search is not None  # as no plan was asked for
    run(search, address, way, is_new=True)
    return history.read_history(search.folder, search.space.trainable)


def read_history(folder: Path | str, trainable: str | None = None) -> History:
    """What a search came to so far, be it running, killed or at its end.

    Raises: CheckpointError or SettingsError if the folder does not hold a search of that training.
    """
    return history.read_history(Path(folder), trainable_named(trainable))
