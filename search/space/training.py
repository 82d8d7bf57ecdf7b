"""The interface of a training that can be searched.

There are two implementations: `search.trainings.keypoints`, the training of this package, and
`search.trainings.custom`, a user's own. Neither Ray nor torch is imported here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Any, Generic, Literal

from kptrain.errors import SettingsError
from kptrain.resolve import SettingInfo, Tree, setting_infos
from kptrain.tree import Condition, conditions
from search.space.axes import Axes
from search.space.pace import Pace

SEEDS_BELOW = 10**6
"""Fresh seeds are below this: they are part of folder names, so they are short."""
Report = dict[str, Any]
"""The results of an epoch: `epoch`, from 1, and figures by name."""
Reports = Generator[Report, None, None]
"""The reports of a training, each after its epoch; closing it ends the training."""


@dataclass(frozen=True)
class Metric:
    """A figure by which trials can be compared."""

    name: str
    """The name of the figure in reports."""
    is_max: bool = False
    """Whether larger is better."""
    is_loss: bool = False
    """Whether it is a loss: it compares only trials with equal settings that change its meaning."""
    note: str | None = None
    """A qualification that is shown with the name in results."""

    def __str__(self) -> str:
        return self.name

    def cost(self, value: float) -> float:
        """The value with the sign that makes smaller better."""
        return -value if self.is_max else value

    def best(self, values: Iterable[float]) -> float | None:
        """The best of some values; None if there are none."""
        return min(values, key=self.cost, default=None)

    def is_better(self, value: float, other: float) -> bool:
        return self.cost(value) < self.cost(other)

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """The direction in Optuna's terms."""
        return "maximize" if self.is_max else "minimize"

    @property
    def label(self) -> str:
        """The name with its note."""
        return self.name if self.note is None else f"{self.name} ({self.note})"


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The part of a trial that one process trains without a pause."""

    reported: int
    """The last epoch whose report is recorded already."""
    until: int
    """The last epoch to train."""
    wait: float
    """Seconds to wait for another process that holds the trial's folder."""
    saved: Callable[[], None]
    """Called when the files of an epoch are on disk."""
    group: str
    """The name of the search, for loggers."""
    run_id: str
    """The id of the trial, for loggers."""


class Trainable(ABC, Generic[Tree]):
    """A training that can be searched: its settings, its files, and its epochs as a stream."""

    settings: type[Tree]
    """The tree of settings, all with defaults; a space varies them by path."""
    metrics: Mapping[str, Metric]
    """By name: metrics by which trials can be compared, the default one first; every report must
    have all of them."""
    epochs: str
    """The path of the setting with the number of epochs."""
    seed: str | None
    """The path of the setting with the seed; a search can confirm its result only if there is
    one."""
    data: str | None
    """The path of the setting with the data."""
    best: Sequence[str]
    """Names of files in a trial's folder that the best `keep` trials keep, and that are
    promoted."""
    resume: Sequence[str]
    """Names of files that are needed only to resume a trial."""
    name: str | None = None
    """The value of --trainable that names it; None for the training of this package."""
    metric_setting: str | None = None
    """The path of a setting that a search sets to its metric's name."""
    memory: str | None = None
    """The name of the figure in reports with the peak GPU memory in bytes."""
    not_figures: tuple[str, ...] = ()
    """Names in its reports that are not figures."""

    @property
    def option(self) -> str:
        """The option of a command that names it, after a blank; may be empty."""
        return "" if self.name is None else f" --trainable {self.name}"

    # Its settings.

    def infos(self) -> Mapping[str, SettingInfo]:
        """Every setting, by its dotted path."""
        return setting_infos(self.settings)

    def conditions(self) -> Mapping[str, Condition]:
        """The condition under which a setting has an effect, for each that has one."""
        return conditions(self.settings)

    def epochs_of(self, config: Tree) -> int:
        return int(attrgetter(self.epochs)(config))

    def seed_of(self, config: Tree) -> int | None:
        return None if self.seed is None else int(attrgetter(self.seed)(config))

    def data_setting(self) -> str:
        """The path of the setting that `--data` gives. Raises: SettingsError if there is none."""
        if self.data is None:
            raise SettingsError(
                f"--data: must come with a training that has a setting for it, but {self.name} has "
                f"none; leave it out"
            )
        return self.data

    def data_given(self, data: str) -> str:
        """The value of `--data` in the form that trials use. Raises: SettingsError."""
        return data

    def data_of(self, config: Tree) -> str | None:
        """The place of its data; None if it has no setting for it."""
        return None if self.data is None else attrgetter(self.data)(config)

    @abstractmethod
    def resolve(self, given: Mapping[str, Any], where: str) -> Tree:
        """Complete given settings to all settings of a trial. Raises: KptrainError."""

    def with_cpus(self, config: Tree, cpu: int, where: str) -> Tree:
        """The settings of a trial that runs on `cpu` cores."""
        return config

    @abstractmethod
    def describe(self, config: Tree, axes: Axes) -> str:
        """What is trained and on which data, with notes on settings that may be mistakes."""

    # Checks and measurements before a search begins.

    def check_axes(self, axes: Axes, base: Tree, where: str) -> None:
        """Check which axes are allowed with this base. Raises: SettingsError."""

    def check_files(self, axes: Axes, base: Tree, where: str) -> None:
        """Check all files that trials need. Raises: KptrainError."""

    def check_device(self, config: Tree) -> None:
        """Check that the device exists on this machine. Raises: SettingsError."""

    @abstractmethod
    def uses_gpu(self, config: Tree) -> bool:
        """Whether it uses a GPU if there is one."""

    def fit_gpu(self, axes: Axes, base: Tree, where: str) -> tuple[float, str]:
        """The share of a GPU that each trial needs, and the reason. Raises: KptrainError."""
        raise SettingsError(
            f"{where}: resources.gpu can be auto only for the training of this package, whose "
            f"memory can be measured; give a share, such as 0.25"
        )

    def most_bytes(self, axes: Axes, base: Tree, where: str) -> tuple[int, int] | None:
        """The largest sizes in bytes of a trial's best checkpoint and of its state to resume from;
        None if unknown."""
        return None

    def pace(
        self, axes: Axes, base: Tree, where: str, processes: int, *, thorough: bool
    ) -> Pace | None:
        """Check files, then measure the pace on this machine with `processes` in parallel; without
        `thorough`, in a few seconds. None if it cannot be known before the first trial.

        Raises: KptrainError, MeasuringError.
        """
        self.check_files(axes, base, where)
        return None

    # Its data.

    def prepare(self, config: Tree, *, verify: bool = False) -> Mapping[str, str]:
        """Prepare the data that all trials read, once; returns their fingerprints.

        verify: whether to check data that were prepared before by reading them in full.
        Raises: KptrainError.
        """
        return self.fingerprints(config)

    def fingerprints(self, config: Tree) -> Mapping[str, str]:
        """The fingerprints of the data, by split; empty if there are none. Raises: DataError."""
        return {}

    # A trial.

    def device(self, config: Tree) -> str:
        """The description of the device on which a trial runs here."""
        return ""

    @abstractmethod
    def stream(self, config: Tree, run_dir: Path, stretch: Stretch) -> Reports:
        """Train, resuming from `run_dir`, and yield the reports of a stretch.

        Raises: KptrainError, and whatever a user's own training raises.
        """

    def is_log(self, name: PurePosixPath) -> bool:
        """Whether a file of a trial is a logger's, sent to a URL only when the logger has ended."""
        return False

    # The winner.

    def saved_report(self, run_dir: Path) -> Report | None:
        """The report of the epoch of a trial's best checkpoint; None if unknown.

        Raises: CheckpointError.
        """
        return None

    @abstractmethod
    def save_curve(self, curve: Sequence[Report], folder: Path) -> None:
        """Write the curve as one or more tables."""

    def draw(self, config: Tree, folder: Path) -> None:
        """Draw pictures of the best checkpoint's predictions into its folder."""

    def pictures(self) -> Mapping[str, str]:
        """The captions of these pictures, by file name."""
        return {}

    def rerun(self, config: str) -> str | None:
        """The arguments of Python that run one training from a settings file; None if none do."""
        return None

    def log_artifact(self, config: Tree, folder: Path, *, group: str, run_id: str) -> None:
        """Log the winner's folder with the loggers of the settings."""
