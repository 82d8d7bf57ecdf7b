"""The settings of a training: one frozen tree, the original recipe as defaults.

The dotted path of a setting (`optim.lr`) is its key in yaml, on the command line, in a search
space and in the results. `changes` states which metrics cannot be compared between trainings that
differ in a setting; a search reads it.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from kptrain.keypoints import NUM_JOINTS
from kptrain.optim_settings import OptimSettings, ScheduleSettings, check_optimizer
from kptrain.strict_yaml import dump_yaml
from kptrain.tree import Changes as Changes
from kptrain.tree import Settings as Settings
from kptrain.tree import setting as setting
from kptrain.tree import without_effect

Metric = Literal[
    "val_loss",
    "val_ap",
    "val_ap50",
    "val_ap75",
    "val_ap_m",
    "val_ap_l",
    "val_ar",
    "val_ar50",
    "val_ar75",
    "val_ar_m",
    "val_ar_l",
    "val_oks",
]
Precision = Literal["auto", "float32", "bfloat16", "float16"]

BEST = "best_keypoint_model.pth"
RESUME = "resume.pt"
"""The files in a run's folder: the best epoch's weights, and the state to resume from."""
PICTURE = "predictions.png"
WORST = "worst.png"
"""Pictures of the best model's predictions; named here so that finding them needs no torch."""

OUTPUT_STRIDE = 4
"""Input pixels per heatmap pixel: the backbone divides by 32, the deconvolutions multiply by 8."""


PositiveInt = Annotated[int, Field(ge=1)]
# YAML knows lists, not tuples.
ImageSize = Annotated[
    tuple[
        Annotated[int, Field(ge=64, le=1024, multiple_of=32)],
        Annotated[int, Field(ge=64, le=1024, multiple_of=32)],
    ],
    Field(strict=False),
]
DeconvChannels = Annotated[tuple[PositiveInt, PositiveInt, PositiveInt], Field(strict=False)]
JointWeights = Annotated[
    tuple[Annotated[float, Field(ge=0)], ...],
    Field(strict=False, min_length=NUM_JOINTS, max_length=NUM_JOINTS),
]


class DataSettings(Settings):
    root: str | None = setting(None, changes="data", min_length=1)
    """Folder with COCO (FiftyOne's layout or COCO's own), or `embedded` for the synthetic data set.
    None: `KPTRAIN_DATA`, else `data/coco-2017` if it exists, else `embedded`."""
    view: Literal["image", "person"] = setting("image", changes="loss")
    """`image`: the whole image, stretched. `person`: a crop of one person per sample."""
    image_size: ImageSize = setting((256, 256), changes="loss")
    """(height, width) of the network's input in pixels, multiples of 32."""
    limit_train: PositiveInt | None = setting(None)
    """Most samples to train on, the first by image id. None: all."""
    limit_val: PositiveInt | None = setting(None, changes="data")
    """Most samples to validate on, the first by image id. None: all."""
    strict: bool = setting(False, changes="place")
    """Refuse the data at the first unsound image or annotation. False: skip these, and report their
    number and the first of each kind."""


class AugmentSettings(Settings):
    flip: float = setting(0.0, ge=0, le=1)
    """Share of the samples that are flipped horizontally, with left and right joints exchanged."""
    rotation_deg: float = setting(0.0, ge=0, le=180)
    """Largest rotation about the centre in degrees, in either direction; of the photograph, before
    it is stretched."""
    scale: float = setting(0.0, ge=0, le=1)
    """Scaled by a factor from 1 / (1 + this) to 1 + this, uniform on a log scale."""
    shift: float = setting(0.0, ge=0, le=1)
    """Largest shift, as a share of the input's width and height."""
    colour: float = setting(0.0, ge=0, le=1)
    """Brightness, contrast and saturation, each times a factor from 1 - this to 1 + this."""


class HeatmapSettings(Settings):
    sigma_px: float = setting(2.0, changes="loss", ge=0.25)
    """Standard deviation of the Gaussian around a joint, in heatmap pixels."""


class LossSettings(Settings):
    joint_weights: JointWeights = setting((1.0,) * NUM_JOINTS, changes="loss")
    """Weight of each joint's squared error, in COCO's order of joints; at least one above 0."""

    @field_validator("joint_weights")
    @classmethod
    def _one_is_positive(cls, weights: tuple[float, ...]) -> tuple[float, ...]:
        if not any(weights):
            raise ValueError("At least one weight must be above 0")
        return weights


NUM_STAGES = {"resnet50": 5, "resnet34": 5, "resnet18": 5, "shufflenet_v2_x0_5": 4}
"""Stages of each backbone, its stem included."""


class ModelSettings(Settings):
    trunk: Literal["resnet50", "resnet34", "resnet18", "shufflenet_v2_x0_5"] = setting("resnet50")
    """The backbone: torchvision's classification network without its classifier."""
    deconv_channels: DeconvChannels = setting((1024, 512, 256))
    """Channels of the three transposed convolutions."""
    weights: str = setting("imagenet", min_length=1)
    """Initial weights: `imagenet`, `none` (random), or the path of a checkpoint."""
    freeze: int = setting(0, ge=0)
    """The number of the backbone's first stages that keep their initial weights, and whose batch
    normalisation keeps its statistics; the stem is the first stage, and the whole backbone has 5
    (a shufflenet 4)."""

    @field_validator("weights")
    @classmethod
    def _path_is_absolute(cls, weights: str) -> str:
        """A trial of a search runs in another folder than the command."""
        if weights in ("imagenet", "none"):
            return weights
        return str(Path(weights).expanduser().absolute())


class TrainSettings(Settings):
    epochs: int = setting(25, ge=1)
    """Passes over the training samples."""
    batch_size: int = setting(8, ge=1)
    """Samples per step."""
    accumulate: int = setting(1, ge=1)
    """Parts that a batch is computed in, one after the other, with their gradients summed: a step
    of `train.batch_size` samples in the memory of a smaller one. Only batch normalisation, which
    sees one part at a time, gives another result."""
    ema_decay: float | None = setting(None, ge=0, lt=1)
    """Decay, per step, of an exponential moving average of the weights and of the statistics of
    batch normalisation, from the initial weights on. The averaged network is validated and saved as
    the best. None: no average."""
    seed: int = setting(0, ge=0, lt=2**31)
    """Seed of the initial weights and of the order of samples."""
    device: str = setting("auto", changes="place", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """`auto` (CUDA where there is a GPU), `cpu`, `cuda` or `cuda:N`."""
    threads: PositiveInt | None = setting(None, changes="place")
    """CPU threads for computation. None: one per usable core."""
    precision: Precision = setting("auto", changes="place")
    """Of the network's activations: `float32`, or by autocast `bfloat16` or `float16`; the weights
    and the loss are float32 in all cases. `float16` is for GPUs without bfloat16: the loss is
    scaled (GradScaler), and a step whose gradients overflow is skipped; it is slow on a CPU.
    `auto`: bfloat16 on a GPU that supports it, else float32."""
    compile: bool = setting(False, changes="place")
    """Compile the network with torch.compile, for full batches of training: minutes once, then
    faster steps."""
    cuda_graph: Literal["auto"] | bool = setting(False, changes="place")
    """Record a step with a full batch as one CUDA graph and replay it: for small batches, where
    kernels take longer to launch than to run. `auto`: on a GPU, unless `train.precision` is
    float16, whose skipped steps are not recorded."""


class CheckpointSettings(Settings):
    metric: Metric = setting("val_loss", changes="place")
    """The metric that decides which epoch is the best so far."""
    resume_epochs: PositiveInt | None = setting(None, changes="place")
    """Epochs between two saved resume states; the last epoch's is always saved. None: as often as
    saving takes at most 5 % of the time."""
    best_dtype: Literal["float32", "bfloat16"] = setting("float32", changes="place")
    """Of the best epoch's weights on disk; normalisation statistics stay float32."""


class WandbSettings(Settings):
    mode: Literal["disabled", "auto", "offline", "online"] = setting("disabled", changes="place")
    """Whether metrics are also logged to Weights & Biases; `auto`: online if a key is configured
    and the server can be reached, else offline."""
    project: str = setting("kptrain", changes="place", min_length=1)
    """Project of the runs at Weights & Biases."""


class TensorboardSettings(Settings):
    enabled: bool = setting(False, changes="place")
    """Whether metrics are also logged to TensorBoard's files, in the run folder."""


class TrainConfig(Settings):
    """All settings of a training."""

    data: DataSettings = DataSettings()
    augment: AugmentSettings = AugmentSettings()
    heatmap: HeatmapSettings = HeatmapSettings()
    loss: LossSettings = LossSettings()
    model: ModelSettings = ModelSettings()
    optim: OptimSettings = OptimSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    train: TrainSettings = TrainSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    wandb: WandbSettings = WandbSettings()
    tensorboard: TensorboardSettings = TensorboardSettings()

    @model_validator(mode="after")
    def _heatmap_holds_a_gaussian(self) -> "TrainConfig":
        side = min(self.heatmap_size)
        if 4 * self.heatmap.sigma_px > side:
            raise ValueError(
                f"heatmap.sigma_px must be at most a quarter of the heatmap's shorter side "
                f"({side} px at data.image_size {list(self.data.image_size)}), "
                f"but got {self.heatmap.sigma_px}"
            )
        return self

    @model_validator(mode="after")
    def _optimizer_is_possible(self) -> "TrainConfig":
        check_optimizer(self.optim, self.schedule, self.train.epochs)
        return self

    @model_validator(mode="after")
    def _stages_are_there(self) -> "TrainConfig":
        most = NUM_STAGES[self.model.trunk]
        if self.model.freeze > most:
            raise ValueError(
                f"model.freeze must be at most {most}, the stages of model.trunk "
                f"{self.model.trunk} (its stem is one), but got {self.model.freeze}; lower it"
            )
        return self

    @model_validator(mode="after")
    def _steps_are_possible(self) -> "TrainConfig":
        train = self.train
        if train.accumulate > train.batch_size:
            raise ValueError(
                f"train.accumulate must be at most train.batch_size ({train.batch_size}), which it "
                f"divides into parts, but got {train.accumulate}; lower it"
            )
        if train.cuda_graph is True and train.precision == "float16":
            raise ValueError(
                "train.cuda_graph must be auto or false with train.precision float16, whose "
                "skipped steps are not recorded, but got true; set it to auto"
            )
        return self

    @property
    def heatmap_size(self) -> tuple[int, int]:
        """(height, width) of the heatmaps in pixels."""
        height, width = self.data.image_size
        return height // OUTPUT_STRIDE, width // OUTPUT_STRIDE


def best_is_max(metric: Metric) -> bool:
    """Whether larger values of the metric are better."""
    return metric != "val_loss"


def save_config(config: Settings, path: Path) -> None:
    """Write every setting that has an effect as yaml; `resolve` reads back an equal training."""
    content = config.model_dump(mode="json")
    for name in without_effect(config):
        *branches, leaf = name.split(".")
        node = content
        for branch in branches:
            node = node[branch]
        del node[leaf]
    path.write_text(dump_yaml(content), encoding="utf-8")
