"""A replacement of Tune's actor manager: errors that would end Tune's whole run end one trial."""

from collections.abc import Iterator
from contextlib import contextmanager

from ray.air.execution._internal import RayActorManager, TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.tune.execution import tune_controller

from search.backend.failures import as_actor_error


class _ActorManager(RayActorManager):
    """Tune does not treat the end of a process by Ray's memory monitor as an error of the actor or
    the task: while starting it reports None as the error, while training it ends the whole run."""

    def _actor_start_failed(self, tracked_actor: TrackedActor, exception: Exception) -> None:
        super()._actor_start_failed(tracked_actor, as_actor_error(exception))

    def _actor_task_failed(
        self, tracked_actor_task: TrackedActorTask, exception: Exception
    ) -> None:
        super()._actor_task_failed(tracked_actor_task, as_actor_error(exception))


@contextmanager
def our_actors() -> Iterator[None]:
    """Let Tune use this manager in the block, and end its actors with the block, also after Ctrl-C,
    when Tune itself only waits for garbage collection."""
    managers: list[_ActorManager] = []

    def create(**options: object) -> _ActorManager:
        managers.append(_ActorManager(**options))
        return managers[-1]

    before, tune_controller.RayActorManager = tune_controller.RayActorManager, create
    try:
        yield
    finally:
        tune_controller.RayActorManager = before
        for manager in managers:
            manager.cleanup()
