"""The picture of a trained model: validation samples with true and predicted joints."""

from pathlib import Path

import numpy as np
import torch

from kptrain.commands.drawing import Example, draw_examples
from kptrain.config import TrainConfig
from kptrain.data.pack import open_pack
from kptrain.data.pack_format import Pack
from kptrain.machine.progress import track
from kptrain.model.checkpoint import load_weights
from kptrain.model.heatmaps import Decoder, decoder_of
from kptrain.model.network import KeypointNet
from kptrain.training.batches import batches
from kptrain.training.metrics import similarity
from kptrain.training.validation import detect, persons_of

NUM_EXAMPLES = 6
NUM_WORST = 10
BATCH = 16
NUM_CANDIDATES = 200
"""Samples, spread over the split, among which the worst are searched; few enough for a CPU."""


def draw_predictions(config: TrainConfig, checkpoint: Path, path: Path) -> None:
    """Draw the checkpoint's predictions of validation samples spread over the split."""
    pack = open_pack(config.data, "val")
    model = _model(config, checkpoint)
    samples = _spread(pack, NUM_EXAMPLES)
    draw_examples(_examples(model, pack, samples, decoder_of(config)), path)


def draw_worst(config: TrainConfig, checkpoint: Path, path: Path) -> None:
    """Draw the checkpoint's predictions of the samples with the lowest mean OKS, lowest first."""
    pack = open_pack(config.data, "val")
    model = _model(config, checkpoint)
    decoder = decoder_of(config)
    candidates = _spread(pack, NUM_CANDIDATES)
    means: list[float] = []
    parts = np.split(candidates, range(BATCH, len(candidates), BATCH))
    for part in track(parts, "Looking for the worst samples", len(parts)):
        persons, found = detect(_heatmaps(model, pack, part), pack, part, decoder)
        _, inside = persons_of(part, pack.table)
        values = similarity(found, persons, pack.table)
        means += (np.bincount(inside, values) / np.bincount(inside)).tolist()
    worst = candidates[np.argsort(means, kind="stable")[:NUM_WORST]]
    draw_examples(_examples(model, pack, worst, decoder), path)


def _spread(pack: Pack, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, len(pack) - 1, most).round().astype(np.int64))


def _model(config: TrainConfig, checkpoint: Path) -> KeypointNet:
    model = KeypointNet(config.model)
    model.load_state_dict(load_weights(checkpoint))
    return model.eval()  # on the CPU: the head node of a cluster may have no GPU


@torch.inference_mode()
def _heatmaps(model: KeypointNet, pack: Pack, samples: np.ndarray) -> torch.Tensor:
    (batch,) = batches(pack, samples, len(samples), torch.device("cpu"))
    heatmaps: torch.Tensor = model(batch.images).float()
    return heatmaps


def _examples(
    model: KeypointNet, pack: Pack, samples: np.ndarray, decoder: Decoder
) -> list[Example]:
    heatmaps = _heatmaps(model, pack, samples)
    persons, found = detect(heatmaps, pack, samples, decoder)
    return [
        _example(pack, sample, heatmaps[slot].numpy(), persons, found)
        for slot, sample in enumerate(samples.tolist())
    ]


def _example(
    pack: Pack, sample: int, heatmaps: np.ndarray, persons: np.ndarray, found: np.ndarray
) -> Example:
    table = pack.table
    rows = np.arange(table.first[sample], table.first[sample + 1])
    labelled = (table.keypoints[rows, :, 2:] > 0).astype(np.float32)
    predicted = found[np.isin(persons, rows)].copy()
    scale, shift = table.scale[sample], table.shift[sample]
    predicted[:, :, :2] = (predicted[:, :, :2] + 0.5) * scale + shift
    return Example(
        image=np.array(pack.images[table.row[sample]]),
        true=np.concatenate((table.joints[rows], labelled), axis=2),
        predicted=predicted.astype(np.float32),
        heatmaps=heatmaps,
    )
