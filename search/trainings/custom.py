"""A user's own training: a function that yields one report per epoch, and its tree of settings."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from kptrain.config import Settings
from kptrain.errors import CheckpointError, SettingsError, TrainingError
from kptrain.machine.disk import write_csv
from kptrain.machine.locks import HeldError, held
from kptrain.resolve import change, settings_of
from search.space.axes import Axes
from search.space.training import SEEDS_BELOW, Metric, Report, Reports, Stretch, Trainable

LOCK = ".lock"
RESERVED = ("trial", "state", "error")
"""Columns of `trials.csv` besides settings and figures."""

Fit = Callable[[Any, Path], Iterable[Mapping[str, Any]]]


class OwnTraining(Trainable[Settings]):
    """A training of your own; the command line names it with `--trainable MODULE:NAME`."""

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
        """fit: called with the settings and the trial's folder, yields one report per epoch, in
        order: a mapping with `epoch`, from 1, every metric, and any other figures. It may be closed
        after any epoch and called again with the same arguments: then it begins again, or resumes
        from what it has saved in the folder. If it resumes, it must yield the report of the last
        saved epoch again, as that report may have been lost. Reports already recorded are skipped.

        uses_gpu: whether a trial holds the space's share of a GPU, if there is one.

        The other arguments are the attributes of `Trainable`. Raises: SettingsError for invalid
        arguments.
        """
        self._where = getattr(settings, "__name__", "OwnTraining")
        if not (isinstance(settings, type) and issubclass(settings, Settings)):
            raise self._wrong("settings must be a subclass of search.Settings", settings)
        for what, given in (("best", best), ("resume", resume)):
            if isinstance(given, str) or not all(Path(name).name == name for name in given):
                raise self._wrong(
                    f"{what} must be a list of names of files in the folder of a trial", given
                )
        names = [metric.name for metric in metrics if isinstance(metric, Metric)]
        if not names or len(set(names)) < len(metrics):
            raise self._wrong("metrics must be one Metric or more, of different names", metrics)
        self.settings = settings
        self.metrics = {metric.name: metric for metric in metrics}
        self.epochs, self.seed, self.data = epochs, seed, data
        self.best, self.resume = tuple(best), tuple(resume)
        self._fit = fit
        self._uses_gpu = uses_gpu
        self._check_settings()
        self._check_paths()

    def _wrong(self, rule: str, given: object) -> SettingsError:
        return SettingsError(f"{self._where}: {rule}, but got {given!r}")

    def _check_settings(self) -> None:
        """Raises: SettingsError."""
        try:
            defaults = self.settings()
        except ValueError as error:
            reason = " ".join(str(error).split())[:200]
            raise SettingsError(
                f"{self._where}: must have a valid default for each setting, but {reason}; add it"
            ) from None
        try:
            change(defaults, settings_of(defaults), self._where)
        except SettingsError as error:
            raise SettingsError(
                f"{error}; a setting must accept a value that yaml can hold, such as a list for a "
                f"tuple, by Field(strict=False)"
            ) from None
        for name, condition in self.conditions().items():
            for choice in condition.keys() - self.infos().keys():
                raise self._wrong(f"only_under of {name} must name settings", choice)
        for name in (*RESERVED, "epoch"):
            if name in self.infos():
                raise self._wrong(f"no setting must be called {', '.join(RESERVED)} or epoch", name)
        for name in self.metrics:
            if name in RESERVED or name in self.infos():
                raise self._wrong("a metric must not have the name of a setting or column", name)

    def _check_paths(self) -> None:
        """Raises: SettingsError."""
        known = f"one of {', '.join(self.infos())}"
        for what, path in (("epochs", self.epochs), ("seed", self.seed)):
            if path is not None and (not self._is(path, int) or self._takes(path, None)):
                raise self._wrong(f"{what} must name a setting that is an integer, {known}", path)
        if self.seed is not None and not self._takes(self.seed, SEEDS_BELOW - 1):
            raise self._wrong(f"seed must take any integer below {SEEDS_BELOW}", self.seed)
        if self.data is not None and not self._is(self.data, str):
            raise self._wrong(f"data must name a setting that is a text, {known}", self.data)

    def _is(self, path: str, kind: type) -> bool:
        return path in self.infos() and self.infos()[path].type is kind

    def _takes(self, path: str, value: Any) -> bool:
        try:
            change(self.settings(), {path: value}, "")
        except SettingsError:
            return False
        return True

    def resolve(self, given: Mapping[str, Any], where: str) -> Settings:
        config = change(self.settings(), given, where)
        self._check_epochs(self.epochs_of(config), where)
        return config

    def check_axes(self, axes: Axes, base: Settings, where: str) -> None:
        if (axis := axes.get(self.epochs)) is not None:
            least = min(axis.marks())
            self._check_epochs(least, f"{where}: space")

    def _check_epochs(self, epochs: float, where: str) -> None:
        if epochs < 1:
            raise SettingsError(f"{where}: {self.epochs} must be 1 or more, but got {epochs}")

    def data_given(self, data: str) -> str:
        """An absolute path, as trials run in other folders. Raises: SettingsError."""
        if "://" in data:
            return data
        path = Path(data).expanduser().absolute()
        if not path.exists():
            raise SettingsError(f"--data: must be a file, a folder or a URL, but got {data!r}")
        return str(path)

    def describe(self, config: Settings, axes: Axes) -> str:
        return f"Trains    {self.name}"

    def uses_gpu(self, config: Settings) -> bool:
        return self._uses_gpu

    def stream(self, config: Settings, run_dir: Path, stretch: Stretch) -> Reports:
        """The last report is yielded when `fit` has ended.

        Raises: TrainingError for an invalid report; CheckpointError if another process holds the
        folder.
        """
        run_dir.mkdir(parents=True, exist_ok=True)
        whole = self.epochs_of(config)
        try:
            with held(run_dir / LOCK, stretch.wait), self._called(config, run_dir) as reports:
                last = 0
                for given in reports:
                    report = self._checked(given)
                    last = self._next(report["epoch"], last, stretch.reported)
                    if last == whole and next(reports, None) is not None:
                        raise self._wrong_reports(f"{whole} epochs, as {self.epochs} says", "more")
                    if last > stretch.reported:
                        self._check_best(run_dir)
                        stretch.saved()
                        yield report
                    if last == stretch.until:
                        return
        except HeldError as error:
            raise CheckpointError(f"{run_dir}: must not be in use, but {error} uses it") from None
        raise self._wrong_reports(
            f"{whole} epochs, as {self.epochs} says", f"none after {last or 'it resumed'}"
        )

    @contextmanager
    def _called(self, config: Settings, run_dir: Path) -> Iterator[Iterator[Any]]:
        """The reports of `fit`; its generator is closed at the end."""
        reports = self._fit(config, run_dir)
        if not isinstance(reports, Iterable):
            raise self._wrong_reports("by yield, or return something to iterate", repr(reports))
        try:
            yield iter(reports)
        finally:
            if (close := getattr(reports, "close", None)) is not None:
                close()

    def _next(self, epoch: int, last: int, reported: int) -> int:
        """Check the order of an epoch, and return it. Raises: TrainingError."""
        if epoch == last + 1 or (last == 0 and 1 <= epoch <= reported + 1):
            return epoch
        first = "" if last else ", and again that of the state from which it resumes"
        raise self._wrong_reports(
            f"every epoch in order{first}", f"{epoch} after {last or reported}"
        )

    def _checked(self, given: Any) -> Report:
        """A valid report. Raises: TrainingError."""
        if not isinstance(given, Mapping):
            raise self._wrong_reports("mappings", repr(given))
        report = {str(name): self._number(name, value) for name, value in given.items()}
        for name in ("epoch", *self.metrics):
            if name not in report:
                raise self._wrong_reports(name, ", ".join(report) or "nothing")
        if not isinstance(report["epoch"], int):
            raise self._wrong_reports("a whole number as epoch", repr(report["epoch"]))
        for name in report:
            if name in RESERVED or name in self.infos():
                kind = "column of each table" if name in RESERVED else "setting"
                raise self._wrong_reports("unused names", f"{name}, which is a {kind}")
        return report

    def _number(self, name: str, value: Any) -> int | float:
        """A number as plain Python, for the journal."""
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real) and math.isfinite(value):
            return float(value)
        raise self._wrong_reports(
            "finite numbers of Python or numpy (of a tensor, by item())", f"{name} {value!r}"
        )

    def _wrong_reports(self, rule: str, given: str) -> TrainingError:
        return TrainingError(f"{self.name or self._where}: must report {rule}, but reports {given}")

    def _check_best(self, run_dir: Path) -> None:
        """Raises: TrainingError if a file to promote is missing."""
        for name in self.best:
            if not (run_dir / name).is_file():
                raise TrainingError(
                    f"{self.name or self._where}: must write {name} before its first report, as "
                    f"best says, but {run_dir} has none"
                )

    def save_curve(self, curve: Sequence[Report], folder: Path) -> None:
        columns = list(dict.fromkeys(name for report in curve for name in report))
        rows = ([report.get(name) for name in columns] for report in curve)
        write_csv(folder / "metrics.csv", columns, rows)
