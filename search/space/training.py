"""What is searched: a training that tells of each epoch, and what a search must know of it.

There are two: `search.trainings.keypoints`, which comes with this package, and
`search.trainings.custom`, which is a user's own. Neither Ray nor torch is imported here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Any, Generic, Literal

from kptrain.errors import SettingsError
from kptrain.resolve import SettingInfo, Tree, setting_infos
from search.space.axes import Choice, Range
from search.space.pace import Pace

SEEDS_BELOW = 10**6
"""Fresh seeds are short, as they name folders."""
Axes = Mapping[str, Choice | Range]
"""What a space varies, by the dotted path of its setting."""
Report = dict[str, Any]
"""What an epoch came to: `epoch`, from 1, and figures by their name."""


@dataclass(frozen=True)
class Metric:
    """A figure that trials can be judged by."""

    name: str
    """As reports have it."""
    is_max: bool = False
    """Whether larger is better."""
    is_loss: bool = False
    """Whether it compares only trials that share the settings which change what a loss means."""
    note: str | None = None
    """What its name leaves open, to stand beside it where results are read."""

    def __str__(self) -> str:
        return self.name

    def cost(self, value: float) -> float:
        """The value with the sign that makes smaller better."""
        return -value if self.is_max else value

    def best(self, values: Iterable[float]) -> float | None:
        """The best of some values; None of none."""
        return min(values, key=self.cost, default=None)

    def is_better(self, value: float, other: float) -> bool:
        return self.cost(value) < self.cost(other)

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """As Optuna has it."""
        return "maximize" if self.is_max else "minimize"

    @property
    def label(self) -> str:
        """The name with its note."""
        return self.name if self.note is None else f"{self.name} ({self.note})"


class Trainable(ABC, Generic[Tree]):
    """Its settings, its files, and its epochs as a stream."""

    name: str | None = None
    """By which a command names it; None for the one that comes with this package."""
    metric_setting: str | None = None
    """The path of a setting that a search sets to the metric that it judges by."""
    memory: str | None = None
    """The figure of a report that has the most bytes of a GPU's memory that it used."""
    not_figures: tuple[str, ...] = ()
    """What its reports hold beside figures."""

    def __init__(
        self,
        settings: type[Tree],
        metrics: Sequence[Metric],
        *,
        epochs: str,
        seed: str | None,
        data: str | None,
        best: Sequence[str],
        resume: Sequence[str],
    ) -> None:
        """settings: the tree, each with a default; its paths are the axes of a space.

        metrics: by which trials can be judged, the first unless a space says otherwise; each is in
        every report.

        epochs, seed, data: paths of the settings that say for how long it trains, of which seed,
        and on which data; without a seed nothing can be confirmed.

        best: names of files in the folder of a trial that the best `keep` trials keep, and that
        are promoted; resume: names of those that nobody needs of a trial at its end.
        """
        self.settings = settings
        self.metrics = {metric.name: metric for metric in metrics}
        self.epochs = epochs
        self.seed = seed
        self.data = data
        self.best = tuple(best)
        self.resume = tuple(resume)

    @property
    def option(self) -> str:
        """What a command says to name it, after a space."""
        return "" if self.name is None else f" --trainable {self.name}"

    # Its settings.

    def infos(self) -> Mapping[str, SettingInfo]:
        """Every setting, by its dotted path."""
        return setting_infos(self.settings)

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
        """What `--data` says, as trials are to read it. Raises: SettingsError."""
        return data

    def data_of(self, config: Tree) -> str | None:
        """Where its data lie; None where no setting says so."""
        return None if self.data is None else attrgetter(self.data)(config)

    @abstractmethod
    def resolve(self, said: Mapping[str, Any], where: str) -> Tree:
        """Complete what was said to all settings of a trial. Raises: KptrainError."""

    def with_cpus(self, config: Tree, cpu: int, where: str) -> Tree:
        """The settings of a trial that holds so many cores."""
        return config

    @abstractmethod
    def describe(self, config: Tree, axes: Axes) -> str:
        """What is trained, on what, and which settings, or values of axes, may be a slip."""

    # What is checked and found before a search begins.

    def check_axes(self, axes: Axes, base: Tree, where: str) -> None:
        """What may be searched with this base, on whatever machine. Raises: SettingsError."""

    def check_files(self, axes: Axes, base: Tree, where: str) -> None:
        """All that any trial needs. Raises: KptrainError."""

    def check_device(self, config: Tree) -> None:
        """On this machine. Raises: SettingsError."""

    @abstractmethod
    def uses_gpu(self, config: Tree) -> bool:
        """Where there is one."""

    def fit_gpu(self, axes: Axes, base: Tree, where: str) -> tuple[float, str]:
        """The share of a GPU that each trial needs, and why. Raises: KptrainError."""
        raise SettingsError(
            f"{where}: resources.gpu can be auto only for the training of this package, whose "
            f"memory can be measured; give a share, such as 0.25"
        )

    def most_bytes(self, axes: Axes, base: Tree, where: str) -> tuple[int, int] | None:
        """The most that the best checkpoint of a trial takes, and its state to resume from; None
        where that is not known."""
        return None

    def pace(
        self, axes: Axes, base: Tree, where: str, processes: int, *, thorough: bool
    ) -> Pace | None:
        """Check files, then measure on this machine, with so many processes beside each other; not
        `thorough`, in a few seconds. None where it is known from the first trial on.

        Raises: KptrainError, MeasuringError.
        """
        self.check_files(axes, base, where)
        return None

    # Its data.

    def prepare(self, config: Tree, *, verify: bool = False) -> Mapping[str, str]:
        """Make once what all trials read; returns what `fingerprints` does.

        verify: whether to read whole what was made before, as it may be damaged.
        Raises: KptrainError.
        """
        return self.fingerprints(config)

    def fingerprints(self, config: Tree) -> Mapping[str, str]:
        """Of the data, by split; none where nothing is known of them. Raises: DataError."""
        return {}

    # A trial.

    def device(self, config: Tree) -> str:
        """On which a trial runs here, in words."""
        return ""

    @abstractmethod
    def stream(
        self,
        config: Tree,
        run_dir: Path,
        *,
        known: int,
        until: int,
        wait: float,
        saved: Callable[[], None],
        group: str,
        run_id: str,
    ) -> Generator[Report, None, None]:
        """The reports of a training after `known` epochs until another, from what `run_dir` holds.

        wait: seconds for another process that holds the folder; saved: called when what an epoch
        left is on disk; group, run_id: name the search and the trial for loggers.

        Raises: KptrainError, and whatever a training of one's own does.
        """

    def is_log(self, name: PurePosixPath) -> bool:
        """Whether a file of a trial is a logger's, to be sent to a URL when that has finished."""
        return False

    # The winner.

    def saved_report(self, run_dir: Path) -> Report | None:
        """Of the epoch that the best checkpoint of a trial is from, where that can be known.

        Raises: CheckpointError.
        """
        return None

    @abstractmethod
    def save_curve(self, curve: Sequence[Report], folder: Path) -> None:
        """As a table, or more than one."""

    def draw(self, config: Tree, folder: Path) -> None:
        """What the best checkpoint sees, beside it."""

    def pictures(self) -> Mapping[str, str]:
        """What is drawn so: the captions, by the names of the files."""
        return {}

    def rerun(self, config: str) -> str | None:
        """The arguments of Python that train a settings file alone, if there are any."""
        return None

    def log_artifact(self, config: Tree, folder: Path, *, group: str, run_id: str) -> None:
        """The winner's folder, to where the settings say."""
