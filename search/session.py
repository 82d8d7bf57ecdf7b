"""The Python API of a search, which the command calls, too."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from search.console.output import Kind, Output
from search.request import Request, read_search
from search.space.space import Space
from search.trainings.loading import trainable_named

if TYPE_CHECKING:
    from search.trials.history import History
    from search.trials.run_folder import Search

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


class Options(TypedDict, total=False):
    """What a new and a resumed search may be given; all that is left out is as in the space."""

    data: str | None
    """A folder with COCO, or `embedded`; of a resumed search: its new place, if it was moved."""
    trials: int | None
    """This and the next three: the budget, each part instead of the space's. A larger budget
    extends a search that is resumed."""
    hours: float | None
    gpu_hours: float | None
    epochs: int | None
    trainable: str | None
    """`MODULE:NAME` of an `OwnTraining` to search instead of the keypoint training."""
    address: str | None
    """Of a running Ray cluster."""
    verify: bool
    """Whether to read all decoded images, to compare their checksums."""
    output: Kind
    """What is printed, see `Output`; default: `text`."""


def run_search(
    space: Space | Path | str | None,
    out: Path | str | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    warm_from: Sequence[Path | str] = (),
    **options: Unpack[Options],
) -> SearchResult:
    """Search the file of a space into a new folder or URL `out` (None: a folder in `runs`).

    A `Space` stands for its file, which is read again. `settings`: fixed for all trials, by dotted
    path; `warm_from`: folders of earlier searches of the same training to learn from; `options`:
    see `Options`.

    Raises: KptrainError, whose text is the command's error message.
    """
    request = Request(
        space=_path(space),
        out=None if out is None else str(out),
        settings=settings or {},
        warm_from=[Path(folder) for folder in warm_from],
        **options,
    )
    return _search(request)


def resume_search(
    folder: Path | str, *, space: Space | Path | str | None = None, **options: Unpack[Options]
) -> SearchResult:
    """Resume the search in a folder or at a URL, whatever ended it; a larger budget extends it.

    `space`: if given, must be the space that it began with; `options`: see `Options`.

    Raises: KptrainError, whose text is the command's error message.
    """
    return _search(Request(space=_path(space), folder=str(folder), **options))


def read_history(folder: Path | str, trainable: str | None = None) -> "History":
    """The history of a search, which may be running, killed or finished.

    Raises: CheckpointError or SettingsError if the folder does not hold a search of that training.
    """
    from search.trials import history

    return history.read_history(Path(folder), trainable_named(trainable))


def _path(space: Space | Path | str | None) -> Path | None:
    given = space.path if isinstance(space, Space) else space
    return None if given is None else Path(given)


def plan_search(request: Request) -> Callable[[], "Search"]:
    """Check a search and print its plan; returns a function that begins or resumes it. Raises:
    KptrainError."""
    new = read_search(request) if request.folder is None else None
    from search.prepare import check, resume

    if new is not None:
        return check(request, *new)
    search = resume(request)
    return lambda: search


def _search(request: Request) -> SearchResult:
    output = Output(request.output)
    with output.as_progress():
        search = plan_search(request)()
    from search.runner import run
    from search.trials.history import read_history
    from search.trials.run_folder import removed_if_nothing_ran

    with removed_if_nothing_ran(search) if request.folder is None else nullcontext():
        is_whole = run(search, output, address=request.address, verify=request.verify)
    return SearchResult(read_history(search.folder, search.space.trainable), is_whole)
