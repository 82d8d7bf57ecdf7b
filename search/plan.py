"""What a search will do and can cost, said before anything is started."""

import math

from kptrain.config import Settings
from kptrain.errors import SettingsError
from kptrain.machine.cores import usable_cores
from search.space.budget import describe_budget
from search.space.space import Space, max_epochs, rungs_of


def concurrent_trials(cpu: int, gpu: float, num_cpus: int, num_gpus: int) -> int:
    """How many trials run at once, each on `cpu` cores and a share `gpu` of one GPU or of none."""
    by_cpu = num_cpus // cpu
    if not gpu:
        return by_cpu
    return min(by_cpu, num_gpus * math.floor(1 / gpu))


def slots(share: float, gpu: float) -> int:
    """How many of the trials that hold `gpu` each, of those that one GPU has room for, find none
    beside one that holds more, `share`."""
    return math.floor(1 / gpu) - math.floor((1 - share) / gpu + 1e-9)  # 1 - 0.6 is below 0.4


def gpu_share(space: Space, base: Settings, has_gpu: bool) -> float:
    """What a trial holds of a GPU: without any, or told to, the same file runs on CPUs.

    Raises: SettingsError if the share is to be found, but was not: this machine has no GPU.
    """
    if not has_gpu or not space.trainable.uses_gpu(base):
        return 0.0
    if space.resources.gpu == "auto":
        raise SettingsError(
            f"{space.path}: resources.gpu can be auto only where this machine has a GPU to measure "
            f"on, but it has none; give a share, such as 0.25"
        )
    return space.resources.gpu


def disk_bound(space: Space, base: Settings, at_once: int) -> int | None:
    """The most bytes that checkpoints take at any time; None where that is not known.

    A running trial has its best checkpoint and its state to resume from, and writes the next beside
    them; one that waits at a rung has both; of those that ended the best `keep` stay, and the
    winner's is copied. A confirmation keeps one of each of its settings beside these.
    """
    sizes = space.trainable.most_bytes(space.axes, base, str(space.path))
    if sizes is None:
        return None
    best, resume = sizes
    kept = space.keep + 1 + confirmed_settings(space)
    last = max_epochs(space, base)
    waiting = space.asha.reduction * len(rungs_of(space.asha, last).all())
    return (2 * at_once + waiting) * (best + resume) + kept * best


def confirmed_settings(space: Space) -> int:
    """The most settings that are confirmed: the best few and the defaults, if there are as many."""
    if space.confirm is None:
        return 0
    most = space.confirm.top + 1
    return most if space.trials is None else min(most, space.trials)


def _describe_confirm(space: Space, epochs: int) -> str:
    if space.confirm is None:
        return ""
    trainings = confirmed_settings(space) * space.confirm.seeds
    top = min(space.confirm.top, space.trials or space.confirm.top)
    return (
        f"Confirm   top {top} and the defaults, "
        f"{space.confirm.seeds} seeds each: at most {trainings * epochs} epochs\n"
    )


def most_at_once(space: Space, at_once: int) -> int:
    """Trials or trainings that run at once, as far as there are so many."""
    seeds = 0 if space.confirm is None else space.confirm.seeds
    trials = at_once if space.trials is None else space.trials
    return min(at_once, max(trials, confirmed_settings(space) * seeds))


def at_once_here(space: Space, base: Settings, num_gpus: int) -> tuple[int, int, float]:
    """Trials that run at once on this machine, those of them that share a GPU (without one, all),
    and the share that each holds."""
    gpu = gpu_share(space, base, num_gpus > 0)
    at_once = concurrent_trials(space.resources.cpu, gpu, usable_cores(), num_gpus)
    running = most_at_once(space, at_once)
    return at_once, min(running, math.floor(1 / gpu)) if gpu else running, gpu


def describe_plan(space: Space, base: Settings, num_gpus: int | None) -> str:
    """Trials, rungs, concurrency, and the most epochs and disk that the search can cost; num_gpus
    of this machine, None where a cluster has the trials, which may grow."""
    epochs = max_epochs(space, base)
    rungs = rungs_of(space.asha, epochs)
    stops, early = rungs.stops, rungs.early
    sooner = f"; after epoch {early} too, once that is shown to tell as much" if early else ""
    asha = (
        f"after epoch {', '.join(map(str, stops))}: one in {space.asha.reduction} goes on{sooner}"
        if stops
        else f"stops none: no trial is longer than grace_epochs ({space.asha.grace_epochs})"
    )
    at_once, told = _on_cluster(space, base), ""
    if num_gpus is not None:
        at_once, told = _on_this_machine(space, base, num_gpus)
    axes = "\n".join(f"          {path}: {axis}" for path, axis in space.axes.items())
    return (
        f"Space     {space.path}\n{axes}\n"
        f"Trials    {space.trials or 'as many as the budget has room for'}, judged by "
        f"{space.metric.label}; the first has the defaults\n"
        f"{_describe_budget(space)}"
        f"ASHA      {asha}\n"
        f"{_describe_confirm(space, epochs)}"
        f"At once   {at_once}\n"
        f"At most   {most_epochs(space, epochs)}{told}"
    )


def _on_this_machine(space: Space, base: Settings, num_gpus: int) -> tuple[str, str]:
    """How many trials run at once, and what checkpoints take then, as far as that is known."""
    num_cpus, cpu = usable_cores(), space.resources.cpu
    gpu = gpu_share(space, base, num_gpus > 0)
    at_once = concurrent_trials(cpu, gpu, num_cpus, num_gpus)
    without = "none of them used" if num_gpus else "no GPU found"
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
    return f"as many as the cluster has room for, each on {space.resources.cpu} CPU{gpu}"


def _describe_budget(space: Space) -> str:
    """A line, unless trials are all that is given."""
    parts = describe_budget(space)
    if len(parts) == 1 and space.trials is not None:
        return ""
    first = " (what is spent first ends the search)" if len(parts) > 1 else ""
    return f"Budget    {', '.join(parts)}{first}\n"


def most_epochs(space: Space, longest: int) -> str:
    """The least bound on the epochs of all trials, in words; `longest` is that of one trial."""
    bounds: list[tuple[int, str]] = []
    if space.trials is not None:
        bounds.append((space.trials * longest, f"{space.trials} trials of {longest}"))
    if space.epochs is not None:
        bounds.append((space.epochs, "the budget"))
    if not bounds:
        return f"the epochs that {' and '.join(describe_budget(space))} have room for"
    count, why = min(bounds)
    return f"{count} epochs ({why})"


def check_machine(space: Space, base: Settings, num_gpus: int) -> None:
    """Raises: SettingsError if no trial fits on this machine, or its device is not there."""
    space.trainable.check_device(base)
    check_gpu_hours(space, gpu_share(space, base, num_gpus > 0))
    cpu, num_cpus = space.resources.cpu, usable_cores()
    if cpu > num_cpus:  # a share of a GPU fits wherever there is one
        raise SettingsError(
            f"{space.path}: resources.cpu must be at most the CPUs that may be used here "
            f"({num_cpus}), but got {cpu}; lower it, or name a cluster with --address"
        )


def check_gpu_hours(space: Space, gpu: float) -> None:
    """Raises: SettingsError if a budget of GPU hours would last for ever: trials hold no GPU."""
    if space.gpu_hours is not None and not gpu:
        raise SettingsError(
            f"{space.path}: gpu_hours ({space.gpu_hours:g}) must be given only where trials use a "
            f"GPU, but none does here, so that nothing would be spent; give hours instead"
        )
