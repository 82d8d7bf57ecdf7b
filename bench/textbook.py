"""The peer: the original recipe written plainly, as tutorials write it.

Pillow decodes and resizes each sample in a DataLoader's workers, targets are made on the CPU in
Python loops, the training is fp32 in torch's default layout with its default Adam, and everything
is saved in full after each epoch. Model, samples, targets, masks and loss are those of
`kptrain.fit` with the same settings, so that the curves can be compared.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional

from kptrain.annotations.reader import CocoImage, read_split
from kptrain.config import OUTPUT_STRIDE, TrainConfig
from kptrain.data.pack import data_folder
from kptrain.data.views import ignore_mask, image_frame
from kptrain.files.layout import SplitName
from kptrain.model.network import build_model
from kptrain.training.batches import MEAN, STD, epoch_order

Sample = tuple[Tensor, Tensor, Tensor]


class KeypointDataset(Dataset[Sample]):
    """Whole images and their heatmaps."""

    def __init__(self, config: TrainConfig, name: SplitName) -> None:
        limit = config.data.limit_train if name == "train" else config.data.limit_val
        self.images = read_split(data_folder(config.data), name).images[:limit]
        self.config = config
        self.masks = [1.0 - ignore_mask(i, config.data.image_size) for i in self.images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = self.images[index]
        height, width = self.config.data.image_size
        with Image.open(image.path) as file:
            pixels = file.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        normalised = functional.normalize(functional.to_tensor(pixels), MEAN, STD)
        heatmaps = torch.from_numpy(draw_heatmaps(image, self.config))
        return normalised, heatmaps, torch.from_numpy(self.masks[index]).float()


def draw_heatmaps(image: CocoImage, config: TrainConfig) -> np.ndarray:
    """(K, h, w) float32, joint by joint."""
    frame = image_frame(image, config.data.image_size)
    joints = [frame.keypoints_in(person.keypoints) / OUTPUT_STRIDE for person in image.persons]
    labelled = [person.keypoints[:, 2] > 0 for person in image.persons]
    return heatmap_loop(joints, labelled, config.heatmap_size, config.sigma_px)


def heatmap_loop(
    joints: list[np.ndarray], labelled: list[np.ndarray], size: tuple[int, int], sigma: float
) -> np.ndarray:
    """Persons' (K, 2) joints in heatmap pixels to (K, h, w) float32 heatmaps."""
    height, width = size
    num_joints = len(joints[0])
    maps = np.zeros((num_joints, height, width), dtype=np.float32)
    x = np.arange(width, dtype=np.float32) + 0.5
    y = np.arange(height, dtype=np.float32)[:, None] + 0.5
    for person, seen in zip(joints, labelled, strict=True):
        for joint in range(num_joints):
            if seen[joint]:
                centre_x, centre_y = person[joint]
                distance = (x - centre_x) ** 2 + (y - centre_y) ** 2
                maps[joint] = np.maximum(maps[joint], np.exp(-distance / (2 * sigma**2)))
    return maps


def train(config: TrainConfig, run_dir: Path, num_workers: int) -> Iterator[tuple[float, float]]:
    """Yield the mean training and validation loss of each epoch."""
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    device = "cuda" if torch.cuda.is_available() and config.train.device != "cpu" else "cpu"
    data, val_data = KeypointDataset(config, "train"), KeypointDataset(config, "val")
    model = build_model(config.model, config.train.seed).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.optim.lr)
    schedule = torch.optim.lr_scheduler.StepLR(
        optimizer, config.schedule.step_epochs, config.schedule.gamma
    )
    run_dir.mkdir(parents=True, exist_ok=True)
    size = config.train.batch_size
    for epoch in range(1, config.train.epochs + 1):
        order: list[int] = epoch_order(len(data), config.train.seed, epoch).tolist()
        model.train()
        loader = DataLoader(data, size, sampler=order, num_workers=num_workers)
        train_loss = one_pass(model, loader, device, optimizer)
        schedule.step()
        model.eval()
        with torch.no_grad():
            val_loss = one_pass(
                model, DataLoader(val_data, size, num_workers=num_workers), device, None
            )
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, run_dir / f"epoch{epoch}.pth")
        yield train_loss, val_loss


def one_pass(
    model: nn.Module,
    loader: "DataLoader[Sample]",
    device: str,
    optimizer: torch.optim.Optimizer | None,
) -> float:
    """Train on, or with no optimizer evaluate, all batches; returns their mean loss."""
    total, count = 0.0, 0
    for images, heatmaps, masks in loader:
        prediction = model(images.to(device))
        error = (prediction - heatmaps.to(device)) ** 2 * masks.to(device)[:, None]
        loss = error.mean()
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        total += loss.item() * len(images)
        count += len(images)
    return total / count
