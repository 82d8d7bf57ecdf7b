"""The plan of a search: what it will do and can cost, printed before anything is started."""

import math

from kptrain.config import Settings
from kptrain.errors import SettingsError
from kptrain.machine.cores import usable_cores
from search.space.budget import describe_budget
from search.space.conditions import describe_condition
from search.space.space import Space, max_epochs, rungs_of


def concurrent_trials(cpu: int, gpu: float, num_cpus: int, num_gpus: int) -> int:
    """How many trials run at once, each on `cpu` cores and a share `gpu` of one GPU, maybe 0."""
    by_cpu = num_cpus // cpu
    if not gpu:
        return by_cpu
    return min(by_cpu, num_gpus * math.floor(1 / gpu))


def slots(share: float, gpu: float) -> int:
    """By how many a trial with a larger `share` reduces the number of trials with share `gpu` that
    fit on one GPU."""
    return math.floor(1 / gpu) - math.floor((1 - share) / gpu + 1e-9)  # 1 - 0.6 is below 0.4


def gpu_share(space: Space, base: Settings, has_gpu: bool) -> float:
    """A trial's share of a GPU; 0 without a GPU, or if the training uses none.

    Raises: SettingsError if the share is `auto` but was not measured, as this machine has no GPU.
    """
    if not has_gpu or not space.trainable.uses_gpu(base):
        return 0.0
    if space.resources.gpu == "auto":
        raise SettingsError(
            f"{space.path}: resources.gpu must be a share unless this machine has a GPU to measure "
            f"on, but got auto; give a share, such as 0.25"
        )
    return space.resources.gpu


def disk_bound(space: Space, base: Settings, at_once: int) -> int | None:
    """The most bytes that checkpoints take at any time; None if unknown.

    A running trial has its best checkpoint and its state to resume from, and writes new ones before
    it removes them; a paused trial has both; of ended trials the best checkpoints of the best
    `keep` stay, and the winner's is copied. A confirmation keeps one checkpoint per setting in
    addition.
    """
    sizes = space.trainable.most_bytes(space.axes, base, str(space.path))
    if sizes is None:
        return None
    best, resume = sizes
    kept = space.keep + 1 + confirmed_settings(space)
    last = max_epochs(space, base)
    paused = space.asha.reduction * len(rungs_of(space.asha, last).all())
    return (2 * at_once + paused) * (best + resume) + kept * best


def confirmed_settings(space: Space) -> int:
    """The largest number of settings that are confirmed: the best ones and the defaults."""
    if space.confirm is None:
        return 0
    most = space.confirm.top + 1
    return most if space.trials is None else min(most, space.trials)


def confirmed_trainings(space: Space) -> int:
    """The largest number of trainings of a confirmation."""
    return 0 if space.confirm is None else confirmed_settings(space) * space.confirm.seeds


def _describe_confirm(space: Space, epochs: int) -> str:
    if space.confirm is None:
        return ""
    top = min(space.confirm.top, space.trials or space.confirm.top)
    return (
        f"Confirm   top {top} and the defaults, "
        f"{space.confirm.seeds} seeds each: at most {confirmed_trainings(space) * epochs} epochs\n"
    )


def most_at_once(space: Space, at_once: int) -> int:
    """The number of trials or trainings that run at once: at_once, unless there are fewer."""
    trials = at_once if space.trials is None else space.trials
    return min(at_once, max(trials, confirmed_trainings(space)))


def at_once_here(space: Space, base: Settings, num_gpus: int) -> tuple[int, int, float]:
    """How many trials run at once on this machine, how many of them share one GPU (without a GPU,
    all), and the share that each holds."""
    gpu = gpu_share(space, base, num_gpus > 0)
    at_once = concurrent_trials(space.resources.cpu, gpu, usable_cores(), num_gpus)
    running = most_at_once(space, at_once)
    return at_once, min(running, math.floor(1 / gpu)) if gpu else running, gpu


def describe_plan(space: Space, base: Settings, num_gpus: int | None) -> str:
    """Trials, rungs, concurrency, and the most epochs and disk that the search can cost; num_gpus:
    of this machine, None on a cluster, which may grow."""
    epochs = max_epochs(space, base)
    rungs = rungs_of(space.asha, epochs)
    stops, early = rungs.stops, rungs.early
    note = (
        f"; after epoch {early} too, once its ranking agrees with that after epoch {stops[0]}"
        if early
        else ""
    )
    asha = (
        f"after epoch {', '.join(map(str, stops))}: one in {space.asha.reduction} is promoted{note}"
        if stops
        else f"stops none: no trial is longer than grace_epochs ({space.asha.grace_epochs})"
    )
    at_once, disk = _on_cluster(space, base), ""
    if num_gpus is not None:
        at_once, disk = _on_this_machine(space, base, num_gpus)
    axes = "\n".join(
        f"          {path}: {axis}{describe_condition(axis.when)}"
        for path, axis in space.axes.items()
    )
    return (
        f"Space     {space.path}\n{axes}\n"
        f"Trials    {space.trials or 'as many as the budget allows'}, judged by "
        f"{space.metric.label}; the first has the defaults\n"
        f"{_describe_budget(space)}"
        f"ASHA      {asha}\n"
        f"{_describe_confirm(space, epochs)}"
        f"At once   {at_once}\n"
        f"At most   {most_epochs(space, epochs)}{disk}"
    )


def _on_this_machine(space: Space, base: Settings, num_gpus: int) -> tuple[str, str]:
    """How many trials run at once, and the disk space of their checkpoints, if known."""
    num_cpus, cpu = usable_cores(), space.resources.cpu
    at_once, _, gpu = at_once_here(space, base, num_gpus)
    without = "no GPU is used" if num_gpus else "no GPU found"
    hold = f"{cpu} CPU and {gpu:g} GPU" if gpu else f"{cpu} CPU ({without})"
    disk = disk_bound(space, base, most_at_once(space, at_once))
    return (
        f"{at_once} on this machine ({num_cpus} CPUs, {num_gpus} GPUs), each on {hold}",
        "" if disk is None else f", and {disk / 1e9:.2g} GB of checkpoints",
    )


def _on_cluster(space: Space, base: Settings) -> str:
    share = space.resources.gpu
    has_share = share != "auto" and share and space.trainable.uses_gpu(base)
    gpu = f", and {share:g} GPU if it has any" if has_share else ""
    return f"as many as fit on the cluster, each on {space.resources.cpu} CPU{gpu}"


def _describe_budget(space: Space) -> str:
    """A line of the plan; empty if the budget has only trials."""
    parts = describe_budget(space)
    if len(parts) == 1 and space.trials is not None:
        return ""
    first = " (the first part that is spent ends the search)" if len(parts) > 1 else ""
    return f"Budget    {', '.join(parts)}{first}\n"


def most_epochs(space: Space, longest: int) -> str:
    """The limit on the epochs of all trials as text; longest: the epochs of the longest trial."""
    bounds: list[tuple[int, str]] = []
    if space.trials is not None:
        bounds.append((space.trials * longest, f"{space.trials} trials of {longest}"))
    if space.epochs is not None:
        bounds.append((space.epochs, "the budget"))
    if not bounds:
        return f"the epochs that fit into {' and '.join(describe_budget(space))}"
    count, why = min(bounds)
    return f"{count} epochs ({why})"


def check_machine(space: Space, base: Settings, num_gpus: int) -> None:
    """Raises: SettingsError if no trial fits on this machine, or the device does not exist."""
    space.trainable.check_device(base)
    check_gpu_hours(space, gpu_share(space, base, num_gpus > 0))
    cpu, num_cpus = space.resources.cpu, usable_cores()
    if cpu > num_cpus:  # a share of a GPU fits wherever there is one
        raise SettingsError(
            f"{space.path}: resources.cpu must be at most the CPUs that may be used here "
            f"({num_cpus}), but got {cpu}; lower it, or name a cluster with --address"
        )


def check_gpu_hours(space: Space, gpu: float) -> None:
    """Raises: SettingsError if a budget of GPU hours would never be spent: trials hold no GPU."""
    if space.gpu_hours is not None and not gpu:
        raise SettingsError(
            f"{space.path}: gpu_hours ({space.gpu_hours:g}) must be given only if trials use a "
            f"GPU, but here none does, so they would never be spent; give hours instead"
        )
