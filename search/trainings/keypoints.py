"""The keypoint training of this package as a `Trainable`."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, get_args

from kptrain.config import BEST, PICTURE, RESUME, WORST, TrainConfig
from kptrain.errors import SettingsError
from kptrain.files.layout import SplitName
from kptrain.keypoints import COCO_NUMBERS, GIVEN_BOXES
from kptrain.resolve import banner, change, complete, size_notes
from search.space.axes import Axes, Choice
from search.space.pace import Pace
from search.space.training import Metric, Report, Reports, Stretch, Trainable

# Torch takes seconds to import: it is imported late, so that mistakes in a space file are reported
# at once.

SPLITS: tuple[SplitName, ...] = get_args(SplitName)


def _values(axes: Axes, path: str, base: Any) -> list[Any]:
    """The values of a choice; else the base's value alone."""
    axis = axes.get(path)
    return list(axis.values) if isinstance(axis, Choice) else [base]


class Keypoints(Trainable[TrainConfig]):
    """The training `kptrain.training.fit` with its data, memory and pictures."""

    settings = TrainConfig
    metrics = MappingProxyType(
        {
            "val_loss": Metric("val_loss", is_loss=True),
            **{name: Metric(name, is_max=True, note=GIVEN_BOXES) for name in COCO_NUMBERS},
            "val_oks": Metric("val_oks", is_max=True),
        }
    )
    epochs, seed, data = "train.epochs", "train.seed", "data.root"
    best, resume = (BEST,), (RESUME,)
    metric_setting = "checkpoint.metric"
    memory = "peak_memory_bytes"
    not_figures = ("is_best",)

    def resolve(self, given: Mapping[str, Any], where: str) -> TrainConfig:
        return complete(given, where)

    def with_cpus(self, config: TrainConfig, cpu: int, where: str) -> TrainConfig:
        """Set as many threads as the trial has cores; they are part of the settings to rerun it."""
        if config.train.threads is not None:
            return config
        return change(config, {"train.threads": cpu}, where)

    def describe(self, config: TrainConfig, axes: Axes) -> str:
        views = _values(axes, "data.view", config.data.view)
        sizes = _values(axes, "data.image_size", config.data.image_size)
        text = banner(config)
        notes = [note for note in size_notes(views, sizes) if note not in text]
        return "\n".join([text, *notes])

    def check_axes(self, axes: Axes, base: TrainConfig, where: str) -> None:
        if "data.view" in axes and base.data.limit_val is not None:
            raise SettingsError(
                f"{where}: data.view must not be varied while data.limit_val is set, but that is "
                f"{base.data.limit_val}: it counts images in one view and persons in the other; "
                f"remove one of the two"
            )
        if base.train.device.startswith("cuda:"):
            raise SettingsError(
                f"{where}: train.device must be auto, cpu or cuda in a search, as Ray gives each "
                f"trial its GPU, but got {base.train.device}; select it with CUDA_VISIBLE_DEVICES"
            )

    def check_files(self, axes: Axes, base: TrainConfig, where: str) -> None:
        from search.trainings.keypoint_resources import check_files

        check_files(axes, base, where)

    def check_device(self, config: TrainConfig) -> None:
        from kptrain.machine.device import find_device

        find_device(config)

    def uses_gpu(self, config: TrainConfig) -> bool:
        return config.train.device != "cpu"

    def fit_gpu(self, axes: Axes, base: TrainConfig, where: str) -> tuple[float, str]:
        from search.trainings.keypoint_resources import fit_gpu

        return fit_gpu(axes, base, where)

    def most_bytes(self, axes: Axes, base: TrainConfig, where: str) -> tuple[int, int]:
        from search.trainings.keypoint_resources import most_bytes

        return most_bytes(axes, base, where)

    def pace(
        self, axes: Axes, base: TrainConfig, where: str, processes: int, *, thorough: bool
    ) -> Pace:
        from search.trainings.keypoint_pace import measure_pace

        return measure_pace(axes, base, where, processes, thorough=thorough)

    def prepare(self, config: TrainConfig, *, verify: bool = False) -> dict[str, str]:
        """Build the packs of both splits, or check existing ones."""
        from kptrain.data.pack import open_pack
        from kptrain.run.wandb_runs import find_mode, outside_of_a_sweep
        from kptrain.training.metrics import check_metric

        with outside_of_a_sweep():
            find_mode(config)  # prints its warning here; a trial's output goes to a log file
        packs = {
            name: open_pack(config.data, name, progress=True, verify=verify) for name in SPLITS
        }
        for pack in packs.values():
            print(pack.summary)
        check_metric(config.checkpoint.metric, packs["val"].table)
        return {name: pack.fingerprint for name, pack in packs.items()}

    def fingerprints(self, config: TrainConfig) -> dict[str, str]:
        from kptrain.data.pack import pack_fingerprint

        return {name: pack_fingerprint(config.data, name) for name in SPLITS}

    def device(self, config: TrainConfig) -> str:
        from kptrain.machine.device import describe_device

        return describe_device(config)

    def stream(self, config: TrainConfig, run_dir: Path, stretch: Stretch) -> Reports:
        from kptrain.run.folder import CONFIG
        from kptrain.run.loggers import log_reports
        from kptrain.training.fit import fit

        resume = (run_dir / CONFIG).exists()
        reports = fit(
            config,
            run_dir,
            resume=resume,
            reported=stretch.reported,
            until=stretch.until,
            wait=stretch.wait,
            saved=stretch.saved,
            progress=True,  # in the actor's log
        )
        names = {"group": stretch.group, "run_id": stretch.run_id}
        with closing(log_reports(reports, config, run_dir, **names)) as logged:
            for report in logged:
                yield dict(vars(report))

    def is_log(self, name: PurePosixPath) -> bool:
        """TensorBoard and Weights & Biases write into folders."""
        return len(name.parts) > 1

    def saved_report(self, run_dir: Path) -> Report:
        from kptrain.model.checkpoint import load_checkpoint

        return dict(load_checkpoint(run_dir / BEST, {"metrics": dict})["metrics"])

    def save_curve(self, curve: Sequence[Report], folder: Path) -> None:
        from kptrain.run.curve import EpochReport, save_curve

        save_curve([EpochReport(**report) for report in curve], folder)

    def draw(self, config: TrainConfig, folder: Path) -> None:
        from kptrain.commands.picture import draw_predictions, draw_worst

        draw_predictions(config, folder / BEST, folder / PICTURE)
        draw_worst(config, folder / BEST, folder / WORST)

    def pictures(self) -> dict[str, str]:
        return {
            PICTURE: "Samples of the validation split: truth, prediction, heatmaps.",
            WORST: "The samples with the worst predictions, worst first.",
        }

    def rerun(self, config: str) -> str:
        return f"-m kptrain {config}"

    def log_artifact(self, config: TrainConfig, folder: Path, *, group: str, run_id: str) -> None:
        from kptrain.run.loggers import log_artifact

        log_artifact(config, folder, group=group, run_id=run_id)


KEYPOINTS = Keypoints()
