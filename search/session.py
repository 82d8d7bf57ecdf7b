"""The Python API of a search, which the command calls, too."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.console.output import Kind, Output
from search.request import Request, read_search
from search.space.space import Space
from search.trainings.loading import trainable_named

if TYPE_CHECKING:
    from search.trials.history import History

# Torch, Optuna and Ray take seconds to import: they are imported after the space file is checked.


@dataclass(frozen=True)
class SearchResult:
    """The result of a search."""

    history: "History"
    is_whole: bool
    """Whether the search is finished; else it was interrupted, and can be resumed."""

    @property
    def best(self) -> Path:
        """The winner's folder; it does not exist if no trial has finished an epoch."""
        return self.history.search.folder / "best"


def run_search(
    space: Space | Path | str | None,
    out: Path | str | None = None,
    *,
    data: str | None = None,
    settings: Mapping[str, Any] | None = None,
    trials: int | None = None,
    hours: float | None = None,
    gpu_hours: float | None = None,
    epochs: int | None = None,
    warm_from: Sequence[Path | str] = (),
    trainable: str | None = None,
    address: str | None = None,
    verify: bool = False,
    output: Kind = "text",
) -> SearchResult:
    """Search the file of a space into a new folder or URL `out` (None: a folder in `runs`).

    A `Space` stands for its file, which is read again. `data`: a folder with COCO, or `embedded`;
    `settings`: fixed for all trials, by dotted path; `trials`, `hours`, `gpu_hours` and `epochs`:
    the budget, each instead of the space's; `warm_from`: folders of earlier searches of the same
    training to learn from; `trainable`: `MODULE:NAME` of an `OwnTraining` to search instead of the
    keypoint training; `address`: of a running Ray cluster; `verify`: whether to read all decoded
    images, to compare their checksums; `output`: what is printed, see `Output`.

    Raises: KptrainError, whose text is the command's error message.
    """
    request = Request(
        space=_path(space),
        out=None if out is None else str(out),
        data=data,
        settings=settings or {},
        trials=trials,
        hours=hours,
        gpu_hours=gpu_hours,
        epochs=epochs,
        warm_from=[Path(folder) for folder in warm_from],
        trainable=trainable,
        address=address,
        verify=verify,
        output=output,
    )
    return _search(request)


def resume_search(
    folder: Path | str,
    *,
    space: Space | Path | str | None = None,
    data: str | None = None,
    trials: int | None = None,
    hours: float | None = None,
    gpu_hours: float | None = None,
    epochs: int | None = None,
    trainable: str | None = None,
    address: str | None = None,
    verify: bool = False,
    output: Kind = "text",
) -> SearchResult:
    """Resume the search in a folder or at a URL, whatever ended it; a larger budget extends it.

    `space`: if given, must be the space that it began with; `data`: the place of the data, if they
    were moved; the others are those of `run_search`.

    Raises: KptrainError, whose text is the command's error message.
    """
    request = Request(
        space=_path(space),
        folder=str(folder),
        data=data,
        trials=trials,
        hours=hours,
        gpu_hours=gpu_hours,
        epochs=epochs,
        trainable=trainable,
        address=address,
        verify=verify,
        output=output,
    )
    return _search(request)


def read_history(folder: Path | str, trainable: str | None = None) -> "History":
    """The history of a search, which may be running, killed or finished.

    Raises: CheckpointError or SettingsError if the folder does not hold a search of that training.
    """
    from search.trials import history

    return history.read_history(Path(folder), trainable_named(trainable))


def _path(space: Space | Path | str | None) -> Path | None:
    given = space.path if isinstance(space, Space) else space
    return None if given is None else Path(given)


def plan_search(request: Request) -> None:
    """Check a search and print its plan, without beginning it. Raises: KptrainError."""
    if request.folder is None:
        read_search(request)
    from search.prepare import plan

    plan(request)


def _search(request: Request) -> SearchResult:
    output = Output(request.output)
    with output.as_progress():
        new = read_search(request) if request.folder is None else None
        from search.prepare import begin, resume

        search = resume(request) if new is None else begin(request, *new)
    from search.runner import run
    from search.trials.history import read_history
    from search.trials.run_folder import removed_if_nothing_ran

    with nullcontext() if new is None else removed_if_nothing_ran(search):
        is_whole = run(search, output, address=request.address, verify=request.verify)
    return SearchResult(read_history(search.folder, search.space.trainable), is_whole)
