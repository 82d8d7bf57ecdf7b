"""A training of one's own: a function that yields a report an epoch, and its tree of settings."""

import csv
import importlib
import math
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from kptrain.config import Settings
from kptrain.errors import CheckpointError, KptrainError, SettingsError, TrainingError
from kptrain.locks import HeldError, held
from kptrain.resolve import change
from search.trainable import Metric, Report, Trainable

LOCK = ".lock"
TAKEN = ("trial", "state", "error")
"""Columns of `trials.csv` beside settings and figures."""

Fit = Callable[[Any, Path], Iterable[Mapping[str, Any]]]


class OwnTraining(Trainable[Settings]):
    """To be named on the command line: `--trainable MODULE:NAME`."""

    def __init__(
        self,
        settings: type[Settings],
        fit: Fit,
        metrics: Sequence[Metric],
        *,
        epochs: str = "epochs",
        seed: str | None = None,
        data: str | None = None,
        uses_gpu: bool = True,
        best: Sequence[str] = (),
        resume: Sequence[str] = (),
    ) -> None:
        """fit: called with a tree and the folder of the trial, yields a report an epoch, in order:
        a mapping with `epoch`, from 1, every metric, and other figures as it likes. It may be ended
        after any epoch, and called again with the same: it goes on from what it finds in the
        folder, or begins anew. What it tells again is passed over.

        uses_gpu: whether a trial holds the space's share of a GPU, where there is one.

        The others as `Trainable` has them. Raises: SettingsError for what cannot be searched.
        """
        super().__init__(
            settings, metrics, epochs=epochs, seed=seed, data=data, best=best, resume=resume
        )
        self._fit = fit
        self._uses_gpu = uses_gpu
        self._check()

    def _check(self) -> None:
        """Raises: SettingsError."""
        where = self.settings.__name__
        try:
            self.settings()
        except ValueError as error:
            reason = " ".join(str(error).split())[:200]
            raise SettingsError(
                f"{where}: must have a default for each setting: {reason}"
            ) from None
        infos = self.infos()
        for what, path in (("epochs", self.epochs), ("seed", self.seed), ("data", self.data)):
            kind = str if what == "data" else int
            if path is not None and (path not in infos or infos[path].type is not kind):
                raise SettingsError(
                    f"{where}: {what} must name one of its settings, of type {kind.__name__}, but "
                    f"got {path!r}; they are {', '.join(infos)}"
                )
        if not self.metrics:
            raise SettingsError(f"{where}: metrics must name one or more, but is empty")
        for name in self.metrics:
            if name in TAKEN or name in infos:
                raise SettingsError(
                    f"{where}: a metric must have a name of its own, but {name} is a "
                    f"{'column of each table' if name in TAKEN else 'setting'}"
                )
        for name in (*self.best, *self.resume):
            if Path(name).name != name:
                raise SettingsError(
                    f"{where}: best and resume must be names of files in the folder of a trial, "
                    f"but got {name!r}"
                )

    def resolve(self, said: Mapping[str, Any], where: str) -> Settings:
        return change(self.settings(), said, where)

    def describe(self, config: Settings) -> str:
        return f"Trains    {self.name}"

    def uses_gpu(self, config: Settings) -> bool:
        return self._uses_gpu

    def stream(
        self,
        config: Settings,
        run_dir: Path,
        *,
        known: int,
        until: int,
        wait: float,
        saved: Callable[[], None],
        **_: str,
    ) -> Generator[Report, None, None]:
        """Raises: TrainingError for what no search can use; CheckpointError if another holds the
        folder."""
        run_dir.mkdir(parents=True, exist_ok=True)
        last = 0
        try:
            with (
                held(run_dir / LOCK, wait),
                closing(_closable(self._fit(config, run_dir))) as reports,
            ):
                for given in reports:
                    report = self._checked(given)
                    last = self._next(report["epoch"], last, known)
                    if last > known:
                        saved()
                        yield report
                    if last == until:
                        return
        except HeldError as error:
            raise CheckpointError(f"{run_dir}: must not be in use, but {error} uses it") from None
        raise TrainingError(
            f"{self.name}: must report {self.epochs_of(config)} epochs, as {self.epochs} says, but "
            f"ended after {last}"
        )

    def _next(self, epoch: int, last: int, known: int) -> int:
        """The epoch of a report. Raises: TrainingError if it does not come now."""
        if epoch == last + 1 or (last == 0 and 1 <= epoch <= known + 1):
            return epoch
        raise TrainingError(
            f"{self.name}: must report every epoch in order, but reports {epoch} after "
            f"{last or known}"
        )

    def _checked(self, given: Any) -> Report:
        """Raises: TrainingError for a report that no search can use."""
        if not isinstance(given, Mapping):
            raise TrainingError(f"{self.name}: must yield mappings, but yields {given!r}")
        report = {str(name): self._number(name, value) for name, value in given.items()}
        for name in ("epoch", *self.metrics):
            if name not in report:
                told = ", ".join(report) or "nothing"
                raise TrainingError(f"{self.name}: must report {name}, but reports {told}")
        for name in report:
            if name in TAKEN or name in self.infos():
                raise TrainingError(
                    f"{self.name}: must report figures by names of their own, but reports {name}, "
                    f"which is a {'column of each table' if name in TAKEN else 'setting'}"
                )
        return report

    def _number(self, name: str, value: Any) -> int | float:
        """As the journal has it, be it numpy's."""
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real) and math.isfinite(value):
            return float(value)
        raise TrainingError(f"{self.name}: must report finite numbers, but {name} is {value!r}")

    def save_curve(self, curve: Sequence[Report], folder: Path) -> None:
        columns = list(dict.fromkeys(name for report in curve for name in report))
        with (folder / "metrics.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(curve)


def _closable(reports: Iterable[Mapping[str, Any]]) -> Generator[Mapping[str, Any], None, None]:
    """Closing it closes what is iterated, if that can be closed."""
    return reports if isinstance(reports, Generator) else (report for report in reports)


def load_own_training(name: str) -> OwnTraining:
    """What `MODULE:NAME` names; modules of the working folder are found, too.

    Raises: SettingsError if there is none, or it is something else; what its constructor raises.
    """
    module, colon, attribute = name.partition(":")
    where = f"--trainable {name}"
    if not (module and colon and attribute):
        raise SettingsError(f"{where}: must be MODULE:NAME, such as examples.ridge:RIDGE")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except KptrainError:
        raise
    except Exception as error:  # it may do whatever it likes
        raise SettingsError(
            f"{where}: {module} must be importable from {here}, but is not "
            f"({type(error).__name__}: {error}); correct the name, or install the module"
        ) from None
    if not isinstance(found, OwnTraining):
        raise SettingsError(
            f"{where}: must be an OwnTraining of the search package, but {attribute} in {module} "
            f"is {'not there' if found is None else type(found).__name__}"
        )
    found.name = name
    return found
