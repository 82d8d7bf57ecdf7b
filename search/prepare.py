"""Turns a request into a search, or prints its plan only: all checks before Ray starts."""

import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kptrain.config import Settings
from kptrain.data.pack import cache_dir
from kptrain.errors import SettingsError
from search.backend.ray_folder import check_start
from search.estimate import Estimate, estimate
from search.journal.journal import JOURNAL
from search.journal.remote import Storage, is_url, url_name
from search.machine.gpus import visible_gpus
from search.machine.shadowed import check_not_hidden
from search.plan import at_once_here, check_machine, describe_plan
from search.request import Request
from search.space.pace import MeasuringError
from search.space.space import Space
from search.trainings.loading import trainable_named
from search.trials.run_folder import Search, begin_search, fetch_search, folder_exists, open_search
from search.trials.warm_start import read_earlier_searches


def check(request: Request, space: Space, base: Settings) -> Callable[[], Search]:
    """Check a new search and print its plan; returns a function that begins it."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    out, url = _where(request.out or f"runs/{space.path.stem}-{stamp}")
    is_named = request.out is not None
    if is_named and out.exists():
        raise folder_exists(out, space.trainable)
    space, estimated = _planned(space, base, request)
    past = read_earlier_searches(request.warm_from, space, base)
    for search in past:
        print(f"Warm      {search}")
    return lambda: replace(
        begin_search(out, space, base, past, url, numbered=not is_named), estimate=estimated
    )


def _where(out: str) -> tuple[Path, str | None]:
    """The local folder of --out, and its URL if it is one.

    Raises: SettingsError if the URL is not writable, or holds a search already.
    """
    if not is_url(out):
        if ":/" in out:  # a URL that was converted to a `Path`
            raise SettingsError(
                f"--out: must be a path, or a URL with ://, but got {out}; give a URL as text"
            )
        return Path(out), None
    storage = Storage(out)
    storage.check()
    if storage.read(JOURNAL) is not None:
        raise SettingsError(
            f"--out: must be a folder that does not exist yet, but {out} holds a search; choose "
            f"another, or resume that search with --resume {shlex.quote(out)}"
        )
    return Path("runs") / url_name(out), out


def resume(request: Request) -> Search:
    """The search in a folder or at a URL, checked."""
    check_not_hidden(Path.cwd())

    assert request.folder is not None  # the caller has checked it
    url = request.folder if is_url(request.folder) else None
    folder = Path(request.folder) if url is None else fetch_search(url)
    trainable = trainable_named(request.trainable)
    data = request.data
    if data is not None:
        data = trainable.data_given(data)
    search = open_search(folder, trainable, request.space, request.budget(), data, url)
    space, _ = _planned(search.space, search.base, request)
    return replace(search, space=space)


def _planned(space: Space, base: Settings, request: Request) -> tuple[Space, Estimate | None]:
    """Print the plan, and check all that can be checked before the search begins.

    Returns the space with the measured share of a GPU, and the estimated duration if measured.
    """
    trainable, where = space.trainable, str(space.path)
    if request.address is not None:
        from search.backend.ray_address import check_address  # noqa: PLC0415  (imports Ray)

        check_address(request.address)
    elif not request.folder:  # a resumed search may have nothing left to run
        check_start()
    print(trainable.describe(base, space.axes))
    num_gpus = len(visible_gpus())
    if space.resources.gpu == "auto" and num_gpus and trainable.uses_gpu(base):
        share, explanation = trainable.fit_gpu(space.axes, base, where)
        resources = space.resources.model_copy(update={"gpu": share})
        space = space.model_copy(update={"resources": resources})
        print(explanation)
    here = request.address is None
    print(describe_plan(space, base, num_gpus if here else None), flush=True)
    if here:
        check_machine(space, base, num_gpus)
    why_not = _why_not_measured(request)
    if not why_not:
        return space, _estimated(space, base, num_gpus, thorough=request.only_plan)
    trainable.check_files(space.axes, base, where)
    print(f"Takes     not measured: {why_not}", flush=True)
    return space, None


def _why_not_measured(request: Request) -> str:
    """Why the duration of the search is not measured; empty if it is."""
    if request.address is not None:
        return "trials run on a cluster; the search shows the time left after its first epoch"
    if request.folder:
        return "the search has begun, and shows the time left while it runs"
    is_hidden = request.output == "quiet" and not request.only_plan
    return "--quiet would hide it" if is_hidden else ""


def _estimated(space: Space, base: Settings, num_gpus: int, *, thorough: bool) -> Estimate | None:
    """Check files, and measure and print the duration of the search on this machine, if
    possible."""
    at_once, beside, gpu = at_once_here(space, base, num_gpus)
    try:
        where = str(space.path)
        pace = space.trainable.pace(space.axes, base, where, beside, thorough=thorough)
    except MeasuringError as error:
        print(f"Takes     not measured: {error}")
        return None
    if pace is None:
        print("Takes     not measured: a training of your own has no pace before its first trial")
        return None
    estimated = estimate(space, base, pace, at_once, gpu)
    print(estimated.describe(str(cache_dir())), flush=True)
    return estimated
