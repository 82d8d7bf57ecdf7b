"""The processes of trials as Tune keeps them, less what ends its whole run without need."""

from collections.abc import Iterator
from contextlib import contextmanager

from ray.air.execution._internal import RayActorManager, TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.tune.execution import tune_controller

from search.backend.failures import as_actor_error


class _Actors(RayActorManager):
    """A process that Ray's memory monitor ended is to Tune no error of an actor's nor of a task's:
    it says None of one that was starting, and gives up on all of one that was training."""

    def _actor_start_failed(self, tracked_actor: TrackedActor, exception: Exception) -> None:
        super()._actor_start_failed(tracked_actor, as_actor_error(exception))

    def _actor_task_failed(
        self, tracked_actor_task: TrackedActorTask, exception: Exception
    ) -> None:
        super()._actor_task_failed(tracked_actor_task, as_actor_error(exception))


@contextmanager
def our_actors() -> Iterator[None]:
    """What Tune starts within, it keeps so; and nothing of it runs when the block has ended, also
    by Ctrl-C, after which Tune leaves all to Python's memory."""
    kept: list[_Actors] = []

    def keep(**options: object) -> _Actors:
        kept.append(_Actors(**options))
        return kept[-1]

    before, tune_controller.RayActorManager = tune_controller.RayActorManager, keep
    try:
        yield
    finally:
        tune_controller.RayActorManager = before
        for actors in kept:
            actors.cleanup()
