"""From a request to a search, or to its plan alone: all that is checked before Ray starts."""

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
from search.request import Request, read_search
from search.space.pace import MeasuringError
from search.space.space import Space, with_share
from search.trainings.loading import trainable_named
from search.trials.run_folder import Search, begin_search, fetch_search, folder_exists, open_search
from search.trials.warm_start import read_past_searches


def plan(request: Request) -> None:
    """Check and print what a search would do, new or resumed, and begin nothing."""
    if request.folder is None:
        _checked(request, *read_search(request))
    else:
        resume(request)


def begin(request: Request, space: Space, base: Settings) -> Search:
    """A new search, checked, in a folder of its own."""
    return _checked(request, space, base)()


def _checked(request: Request, space: Space, base: Settings) -> Callable[[], Search]:
    """Check and print what a new search does; what is returned begins it."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    out, url = _where(request.out or f"runs/{space.path.stem}-{stamp}")
    is_named = request.out is not None
    if is_named and out.exists():
        raise folder_exists(out, space.trainable)
    space, told = _planned(space, base, request)
    past = read_past_searches(request.warm_from, space, base)
    for search in past:
        print(f"Warm      {search}")
    return lambda: replace(
        begin_search(out, space, base, past, url, numbered=not is_named), estimate=told
    )


def _where(out: str) -> tuple[Path, str | None]:
    """The folder to work in, and its URL if it has one.

    Raises: SettingsError if nothing can be written there, or there is a search already.
    """
    if not is_url(out):
        if ":/" in out:  # what a path makes of a URL
            raise SettingsError(
                f"--out: must be a path, or a URL with ://, but got {out}; give a URL as text"
            )
        return Path(out), None
    storage = Storage(out)
    storage.check()
    if storage.read(JOURNAL) is not None:
        raise SettingsError(
            f"--out: must be a folder that does not exist yet, but at {out} is a search; choose "
            f"another, or go on with it by --resume {shlex.quote(out)}"
        )
    return Path("runs") / url_name(out), out


def resume(request: Request) -> Search:
    """The search in a folder or at a URL, checked."""
    check_not_hidden(Path.cwd())

    assert request.folder is not None  # as it is to be resumed
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
    """Say what the search will do, and check all that can be checked before.

    Returns the space with the share of a GPU that fits, and how long it takes if that was measured.
    """
    trainable, where = space.trainable, str(space.path)
    if request.address is not None:
        from search.backend.ray_address import check_address  # noqa: PLC0415  (imports Ray)

        check_address(request.address)
    elif not request.folder:  # nothing may be left to do for a Ray
        check_start()
    print(trainable.describe(base, space.axes))
    num_gpus = len(visible_gpus())
    if space.resources.gpu == "auto" and num_gpus and trainable.uses_gpu(base):
        share, told = trainable.fit_gpu(space.axes, base, where)
        space = with_share(space, share)
        print(told)
    here = request.address is None
    print(describe_plan(space, base, num_gpus if here else None), flush=True)
    if here:
        check_machine(space, base, num_gpus)
    unmeasured = _why_not_measured(request)
    if not unmeasured:
        return space, _estimated(space, base, num_gpus, thorough=request.only_plan)
    trainable.check_files(space.axes, base, where)
    print(f"Takes     not measured: {unmeasured}", flush=True)
    return space, None


def _why_not_measured(request: Request) -> str:
    """Why it is not measured how long the search takes; nothing if it is."""
    if request.address is not None:
        return "trials run on a cluster, whose pace the search says from the first epoch on"
    if request.folder:
        return "the search has begun, and says how much is left as it goes on"
    return (
        "nobody reads it with --quiet"
        if request.output == "quiet" and not request.only_plan
        else ""
    )


def _estimated(space: Space, base: Settings, num_gpus: int, *, thorough: bool) -> Estimate | None:
    """Check files, and say how long the search takes on this machine, if that can be measured."""
    at_once, beside, gpu = at_once_here(space, base, num_gpus)
    try:
        where = str(space.path)
        pace = space.trainable.pace(space.axes, base, where, beside, thorough=thorough)
    except MeasuringError as error:
        print(f"Takes     hours that cannot be measured here: {error}")
        return None
    if pace is None:
        print(
            "Takes     hours that are known from the first trial on: it is a training of your own"
        )
        return None
    found = estimate(space, base, pace, at_once, gpu)
    print(found.describe(str(cache_dir())), flush=True)
    return found
