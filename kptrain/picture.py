"""The picture of a trained model: validation samples with true and predicted joints."""

from pathlib import Path

import numpy as np
import torch

from kptrain.batches import batches
from kptrain.checkpoint import load_weights
from kptrain.config import TrainConfig
from kptrain.draw import Example, draw_examples
from kptrain.evaluate import detect
from kptrain.model import KeypointNet
from kptrain.pack import open_pack
from kptrain.pack_files import Pack

PICTURE = "predictions.png"
NUM_EXAMPLES = 6


@torch.inference_mode()
def draw_predictions(config: TrainConfig, checkpoint: Path, path: Path) -> None:
    """Draw what the checkpoint's model sees in validation samples spread over the split."""
    device = torch.device("cpu")  # a driver of a cluster may have no GPU
    model = KeypointNet(config.model)
    model.load_state_dict(load_weights(checkpoint))
    model.to(device).eval()
    pack = open_pack(config.data, "val")
    samples = np.unique(np.linspace(0, len(pack) - 1, NUM_EXAMPLES).round().astype(np.int64))
    (batch,) = batches(pack, samples, len(samples), device)
    heatmaps = model(batch.images).float()
    persons, found = detect(heatmaps, pack, samples)
    draw_examples(
        [
            _example(pack, sample, heatmaps[slot].cpu().numpy(), persons, found)
            for slot, sample in enumerate(samples.tolist())
        ],
        path,
    )


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
