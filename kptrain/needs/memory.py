"""The memory, the share of a device's time and the disk space that a training needs."""

import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, fields

import torch

from kptrain.config import ModelSettings, TrainConfig
from kptrain.keypoints import NUM_JOINTS
from kptrain.machine.device import explained, find_device, peak_memory
from kptrain.model.network import KeypointNet
from kptrain.needs.busy import busy_share
from kptrain.optim_settings import OptimSettings
from kptrain.training.batches import Batch
from kptrain.training.state import Training, predict, sample_losses, start_training
from kptrain.training.steps import WARM_UP, Steps

NUM_PERSONS = 20


@dataclass(frozen=True)
class MemoryNeed:
    """Measured on a device on which a training ran alone: bytes, and how busy it was."""

    peak: int
    """The most that torch reserved; on a CPU, the most memory of the process."""
    context: int
    """What CUDA uses for a process besides that; 0 on a CPU."""
    total: int
    """Memory of the device; 0 on a CPU."""
    busy: float
    """The share of a step's time in which the GPU works, above 0; 1 on a CPU."""


def measure_memory(config: TrainConfig) -> MemoryNeed:
    """Take some steps on random images. For a process of its own, on a GPU that is idle.

    Those that count have the optimizer's moments and the kernels that were found, as any later one;
    what an epoch takes beside them, a partial batch and validation, counts, too: a CUDA graph keeps
    its memory to itself. cuDNN searches where the training does so for sure: with
    `data.limit_train`.

    Raises: SettingsError if the device is not there; OutOfMemoryError.
    """
    device = find_device(config)
    with explained(config):
        training = start_training(config, device, afresh=False)
        training.model.train()
        steps = Steps(training, config, num_persons=NUM_PERSONS, num_steps=_known_steps(config))
        batch = random_batch(config, device)
        is_cuda = device.type == "cuda"
        for _ in range(2 + WARM_UP if is_cuda else 2):  # all is recorded, and has been replayed
            steps(batch)
        busy = busy_share(lambda: steps(batch), device) if is_cuda else 1.0
        _take_the_rest(training, steps, batch, config)
    if not is_cuda:
        return MemoryNeed(peak_memory(device), 0, 0, busy)
    torch.cuda.synchronize(device)
    free, total = torch.cuda.mem_get_info(device)
    context = total - free - torch.cuda.memory_reserved(device)
    return MemoryNeed(torch.cuda.max_memory_reserved(device), context, total, busy)


def _known_steps(config: TrainConfig) -> int:
    """Full batches of the whole training, if `data.limit_train` gives the samples; else 0."""
    return config.train.epochs * ((config.data.limit_train or 0) // config.train.batch_size)


def _take_the_rest(training: Training, steps: Steps, batch: Batch, config: TrainConfig) -> None:
    """What an epoch does beside its full batches: the largest partial one, and validation."""
    if len(batch.samples) > 1:
        parts = {field.name: getattr(batch, field.name)[:-1] for field in fields(Batch)}
        steps(Batch(**parts))
    model = training.evaluated.eval()
    with torch.inference_mode():
        sample_losses(predict(model, batch, config), batch, config)


def answer() -> None:
    """The main function of a measuring process: reads the settings as JSON from standard input, and
    writes a `MemoryNeed`, or `error` and its `kind`, as JSON to standard output."""
    with redirect_stdout(sys.stderr):
        try:
            result = asdict(measure_memory(TrainConfig.model_validate_json(sys.stdin.read())))
        except Exception as error:  # the calling process reports it
            result = {"error": str(error), "kind": type(error).__name__}
    print(json.dumps(result), flush=True)


def random_batch(config: TrainConfig, device: torch.device) -> Batch:
    """A training batch of noise, with as many persons as COCO's images have at most."""
    size, (height, width) = config.train.batch_size, config.data.image_size
    images = torch.rand(size, 3, height, width, device=device)
    joints = torch.rand(size, NUM_PERSONS, NUM_JOINTS, 2, device=device) * width
    return Batch(
        samples=torch.arange(size).numpy(),
        images=images.contiguous(memory_format=torch.channels_last),
        joints=joints,
        labelled=torch.ones(joints.shape[:3], dtype=torch.bool, device=device),
        mask=torch.ones(size, *config.heatmap_size, device=device),
    )


def checkpoint_bytes(config: TrainConfig) -> tuple[int, int]:
    """Bytes of the best checkpoint and of the resume state, without names and settings."""
    num_weights, num_trained, num_statistics = _num_weights(config.model)
    small = config.checkpoint.best_dtype == "bfloat16"
    best = (2 if small else 4) * num_weights + 4 * num_statistics
    networks = 1 if config.train.ema_decay is None else 2
    moments = num_moments(config.optim) * num_trained
    return best, 4 * (networks * (num_weights + num_statistics) + moments)


def num_moments(settings: OptimSettings) -> int:
    """The numbers that the optimizer keeps for each weight that is trained."""
    if settings.name == "sgd":
        return 1 if settings.momentum else 0
    return 2


def _num_weights(settings: ModelSettings) -> tuple[int, int, int]:
    """The numbers of weights, of those that are not frozen, and of normalisation statistics."""
    with torch.device("meta"):
        model = KeypointNet(settings)
    weights = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    trained = sum(num for num, is_trained in weights if is_trained)
    return sum(num for num, _ in weights), trained, sum(b.numel() for b in model.buffers())
