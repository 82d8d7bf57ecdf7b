"""Whole epochs with augmentation on one core, training and validation, against the textbook.

Person view with the augmentation of Xiao et al. 2018 and the settings of the embedded set (96x96),
as in `bench.epoch`; fp32, one thread.
The textbook opens the photograph of each person, warps it with Pillow and draws the heatmaps in
Python loops, without workers and with one beside it on the same core; the faster one counts. Also
the share that our input takes of an epoch: gathering ahead, the warp and the targets' labels.
"""

import os
from collections.abc import Callable, Iterator
from typing import get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional

from bench.measure import in_turns, parse_arguments, rates, ratio, record, show, spread
from bench.packs import FIELD
from bench.textbook import Sample, heatmap_loop, one_pass
from kptrain.annotations.reader import CocoImage, Person, read_split
from kptrain.config import OUTPUT_STRIDE, AugmentSettings, TrainConfig
from kptrain.data.pack import data_folder, open_pack
from kptrain.data.pack_format import Pack
from kptrain.data.views import Frame, person_frame
from kptrain.files.layout import SplitName
from kptrain.keypoints import FLIPPED
from kptrain.model.network import build_model
from kptrain.resolve import EMBEDDED_SETTINGS, resolve
from kptrain.training.augment import draw_augmentation
from kptrain.training.batches import MEAN, STD, Batch, batches, epoch_order
from kptrain.training.fit import validate
from kptrain.training.state import start_training, take_step

CPU = torch.device("cpu")


class Persons(Dataset[Sample]):
    """Augmented crops of persons and their heatmaps, one by one."""

    def __init__(self, config: TrainConfig, name: SplitName) -> None:
        images = read_split(data_folder(config.data), name).images
        self.config = config
        self.is_augmented = name == "train"
        self.persons = [(image, person) for image in images for person in image.persons]
        self.random = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.persons)

    def __getitem__(self, index: int) -> Sample:
        image, person = self.persons[index]
        frame = person_frame(person, self.config.data.image_size)
        to_result, is_flipped = self.draw(frame)
        crop = functional.to_tensor(warped(image, frame, to_result))
        pixels = functional.normalize(crop, MEAN, STD)
        heatmaps = torch.from_numpy(self.heatmaps(person, frame, to_result, is_flipped))
        return pixels, heatmaps, torch.ones(self.config.heatmap_size)

    def draw(self, frame: Frame) -> tuple[np.ndarray, bool]:
        """(2, 3) from the crop to the result, and whether it flips."""
        settings = self.config.augment if self.is_augmented else AugmentSettings()
        angle = 0.0
        if self.random.random() < settings.rotation_prob:
            angle = np.deg2rad(
                settings.rotation_deg * float(np.clip(self.random.standard_normal(), -2, 2))
            )
        factor = (1 + settings.scale) ** float(np.clip(self.random.standard_normal(), -1, 1))
        is_flipped = bool(self.random.random() < settings.flip)
        cos, sin = factor * np.cos(angle), factor * np.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]]) * [-1 if is_flipped else 1, 1]
        centre = np.array(frame.size[::-1]) / 2
        return np.column_stack((linear, centre - linear @ centre)), is_flipped

    def heatmaps(
        self, person: Person, frame: Frame, to_result: np.ndarray, is_flipped: bool
    ) -> np.ndarray:
        moved = frame.keypoints_in(person.keypoints) @ to_result[:, :2].T + to_result[:, 2]
        order = list(FLIPPED) if is_flipped else list(range(len(FLIPPED)))
        seen = person.keypoints[order, 2] > 0
        joints = [moved[order] / OUTPUT_STRIDE]
        return heatmap_loop(joints, [seen], self.config.heatmap_size, self.config.sigma_px)


def warped(image: CocoImage, frame: Frame, to_result: np.ndarray) -> Image.Image:
    """The result's pixels from the photograph, by Pillow."""
    back = np.linalg.inv(to_result[:, :2])
    original = back / frame.scale[:, None]
    shift = (-back @ to_result[:, 2] - frame.shift) / frame.scale
    with Image.open(image.path) as file:
        return file.convert("RGB").transform(
            frame.size[::-1],
            Image.Transform.AFFINE,
            np.column_stack((original, shift)).ravel().tolist(),
            Image.Resampling.BILINEAR,
        )


def ours(config: TrainConfig, pack: Pack, val_pack: Pack) -> Callable[[], None]:
    training = start_training(config, CPU, afresh=True)

    def epoch() -> None:
        training.model.train()
        for batch in inputs(config, pack):
            take_step(training, batch, config)
        validate(training.model, config, val_pack, CPU)

    return epoch


def inputs(config: TrainConfig, pack: Pack) -> Iterator[Batch]:
    """The batches of an epoch."""
    augmentation = draw_augmentation(config.augment, pack.table, config.data.image_size, 0, 1)
    order = epoch_order(len(pack), 0, 1)
    return batches(pack, order, config.train.batch_size, CPU, augmentation)


def textbooks(config: TrainConfig, num_workers: int) -> Callable[[], None]:
    model = build_model(config.model, 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.optim.lr)
    data, val_data = Persons(config, "train"), Persons(config, "val")
    size = config.train.batch_size

    def epoch() -> None:
        loader: DataLoader[tuple[Tensor, Tensor, Tensor]] = DataLoader(
            data, size, shuffle=True, num_workers=num_workers
        )
        one_pass(model.train(), loader, "cpu", optimizer)
        with torch.no_grad():
            one_pass(model.eval(), DataLoader(val_data, size, num_workers=num_workers), "cpu", None)

    return epoch


def main() -> None:
    arguments = parse_arguments(__doc__, takes_data=True)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    said = EMBEDDED_SETTINGS | FIELD | {"data.root": arguments.data, "train.device": "cpu"}
    said |= {"data.view": "person", "train.threads": 1}
    config = resolve(said, "bench")
    pack, val_pack = (open_pack(config.data, name) for name in get_args(SplitName))

    def input_alone() -> None:
        for _ in inputs(config, pack):
            pass

    peers = {f"textbook, {n} workers": textbooks(config, n) for n in (0, 1)}
    jobs = {"ours": ours(config, pack, val_pack), "input": input_alone} | peers
    seconds = in_turns(jobs, arguments.repetitions, len(pack))
    best = min(peers, key=lambda name: min(seconds[name]))
    times = ratio(seconds[best], seconds["ours"])
    share = spread([100 * a / b for a, b in zip(seconds["input"], seconds["ours"], strict=True)], 1)
    rows = [(f"{name}, samples/s", spread(rates(s), 0)) for name, s in seconds.items()]
    show([*rows, (f"ours / {best}", times), ("input, % of our epoch", share)])
    record(
        arguments,
        f"augmented epochs of the person view at 96x96 on one core: ours "
        f"{spread(rates(seconds['ours']), 0)} samples/s, {best} "
        f"{spread(rates(seconds[best]), 0)}: {times}; the input of training {share} % of an epoch",
    )


if __name__ == "__main__":
    main()
