"""From a pack to batches: the order, the pixels, the persons, and what is to be predicted."""

from pathlib import Path
from threading import current_thread
from typing import Literal

import numpy as np
import pytest
import torch
from coco_files import CocoWriter
from PIL import Image

from kptrain.annotations.reader import read_split
from kptrain.config import AugmentSettings, DataSettings, HeatmapSettings, LossSettings, TrainConfig
from kptrain.data.pack import open_pack
from kptrain.data.pack_format import Pack
from kptrain.data.views import person_frame
from kptrain.model.heatmaps import decode
from kptrain.training.augment import draw_augmentation
from kptrain.training.batches import Batch, batches, epoch_order, joint_weights, targets

View = Literal["image", "person"]
SIZE = (64, 96)
CPU = torch.device("cpu")
VIEWS = pytest.mark.parametrize("view", ["image", "person"])
# ImageNet's channel statistics, as torchvision's models were trained with.
MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


def config_of(root: Path, view: View, weights: tuple[float, ...] = (1.0,) * 17) -> TrainConfig:
    return TrainConfig(
        data=DataSettings(root=str(root), view=view, image_size=SIZE),
        heatmap=HeatmapSettings(sigma_px=1.0),
        loss=LossSettings(joint_weights=weights),
    )


def packed(root: Path, view: View) -> Pack:
    return open_pack(config_of(root, view).data, "train")


def whole(pack: Pack) -> Batch:
    """All samples in one batch, in the pack's order."""
    (batch,) = batches(pack, np.arange(len(pack)), len(pack), CPU)
    return batch


def pixels_of(batch: Batch) -> np.ndarray:
    """(B, H, W, 3) from 0 to 255."""
    pixels: np.ndarray = (batch.images.permute(0, 2, 3, 1).numpy() * STD + MEAN) * 255
    return pixels


def uneven(writer: CocoWriter) -> Path:
    """Images with 1, 3 and 2 persons, some of whose joints are not labelled."""
    for image, persons in ((1, 1), (2, 3), (3, 2)):
        writer.image("train", image)
        for person in range(persons):
            labels = np.random.default_rng([image, person]).integers(0, 3, 17)
            labels[person] = 2
            joints = np.random.default_rng(image).uniform(20, 70, (17, 2)).round()
            keypoints = np.column_stack((joints, labels)).flatten().tolist()
            writer.person("train", image, 10 * image + person, keypoints=keypoints)
    return writer.write()


@pytest.mark.parametrize("num_samples", [1, 7, 100])
def test_the_order_is_a_permutation(num_samples: int) -> None:
    assert sorted(epoch_order(num_samples, 3, 2)) == list(range(num_samples))


def test_the_order_depends_on_seed_and_epoch_only() -> None:
    first = epoch_order(100, seed=3, epoch=2)
    np.random.seed(0)  # global seeds must not matter
    torch.manual_seed(0)
    assert np.array_equal(epoch_order(100, seed=3, epoch=2), first)
    others = [epoch_order(100, 3, 3), epoch_order(100, 2, 2), epoch_order(100, 2, 3)]
    orders = [first, *others, np.arange(100)]
    assert len({tuple(order) for order in orders}) == 5


@pytest.mark.parametrize("batch_size", [1, 5, 24, 100])
def test_all_samples_come_once_in_the_given_order_and_the_last_batch_may_be_smaller(
    small_coco: Path, batch_size: int
) -> None:
    pack = packed(small_coco, "image")
    order = epoch_order(len(pack), 0, 1)
    found = list(batches(pack, order, batch_size, CPU))
    assert np.array_equal(np.concatenate([batch.samples for batch in found]), order)
    sizes = [len(batch.samples) for batch in found]
    assert set(sizes[:-1]) <= {batch_size}
    assert sizes[-1] == (len(pack) % batch_size or batch_size)
    for batch in found:
        lengths = {len(part) for part in vars(batch).values()}
        assert lengths == {len(batch.samples)}


def test_the_thread_that_gathers_means_the_batches_gpu_where_none_is_named(
    small_coco: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, torch.device]] = []

    def use(device: torch.device) -> None:
        told.append((current_thread().name, device))

    monkeypatch.setattr("kptrain.training.batches.use", use)
    whole(packed(small_coco, "image"))
    assert told == [("gather_0", CPU)]


@VIEWS
def test_images_are_the_packs_pixels_normalised_as_imagenets(small_coco: Path, view: View) -> None:
    pack = packed(small_coco, view)
    images = read_split(small_coco, "train").images
    crops = {p.id: (person_frame(p, SIZE), image.path) for image in images for p in image.persons}
    for batch in batches(pack, epoch_order(len(pack), 0, 1), 5, CPU):
        assert batch.images.shape == (len(batch.samples), 3, *SIZE)
        assert batch.images.dtype == torch.float32
        pixels = pixels_of(batch)
        if view == "image":
            assert np.abs(pixels - pack.images[pack.table.row[batch.samples]]).max() < 1e-3
            continue
        for found, sample in zip(pixels, batch.samples, strict=True):
            frame, path = crops[pack.table.person_id[sample]]
            difference = np.abs(found - frame.cut(Image.open(path)))
            border = int(np.ceil(max(frame.scale[0], 1))) + 1  # where a cut ends, its filter does
            assert difference[border:-border, border:-border].max() < 1.01
            assert difference.mean() < 1


def test_pixels_and_joints_stay_together_where_an_image_was_left_out(writer: CocoWriter) -> None:
    root = uneven(writer)
    (root / "train2017" / "000000000001.jpg").write_bytes(b"not an image")
    pack = packed(root, "image")
    assert pack.table.row.tolist() == [1, 2]
    batch = whole(pack)
    red = batch.images[:, 0].numpy() * STD[0] + MEAN[0]
    assert red * 255 == pytest.approx(pack.images[[1, 2], :, :, 0].astype(float), abs=1e-3)
    assert batch.joints[0, 0] == pytest.approx(pack.table.joints[0])
    assert pack.table.person_id.tolist() == [20, 21, 22, 30, 31]


def test_samples_with_fewer_persons_are_padded_with_unlabelled_ones(writer: CocoWriter) -> None:
    pack = packed(uneven(writer), "image")
    (batch,) = batches(pack, np.array([2, 0, 1]), 3, CPU)
    assert batch.joints.shape == (3, 3, 17, 2)
    for slot, sample in enumerate((2, 0, 1)):
        rows = range(pack.table.first[sample], pack.table.first[sample + 1])
        for person, row in enumerate(rows):
            assert np.array_equal(batch.joints[slot, person], pack.table.joints[row])
            labelled = pack.table.keypoints[row, :, 2] > 0
            assert np.array_equal(batch.labelled[slot, person], labelled)
        assert not batch.labelled[slot, len(rows) :].any()
    assert batch.labelled.any(dim=2).sum().item() == 6
    assert not batch.labelled.all(dim=2).any()


def test_in_the_person_view_a_sample_has_one_person(writer: CocoWriter) -> None:
    pack = packed(uneven(writer), "person")
    batch = whole(pack)
    assert batch.joints.shape == (6, 1, 17, 2)
    assert np.array_equal(batch.labelled[:, 0], pack.table.keypoints[:, :, 2] > 0)


@VIEWS
def test_targets_have_their_peaks_where_the_joints_are_in_the_original_image(
    writer: CocoWriter, view: View
) -> None:
    writer.image("train", 1)
    writer.person("train", 1, 11)
    writer.image("train", 2)
    labels = [2 * (joint % 2) for joint in range(17)]
    joints = np.array([[21 + 2 * joint, 70 - 3 * joint, labels[joint]] for joint in range(17)])
    writer.person("train", 2, 21, keypoints=joints.flatten().tolist())
    root = writer.write()
    config, pack = config_of(root, view), packed(root, view)
    heatmaps = targets(whole(pack), config)
    assert heatmaps.shape == (2, 17, 16, 24)
    found = decode(heatmaps, torch.tensor([[0.0, 0.0, 24.0, 16.0]] * 2)).numpy()
    for sample in range(2):
        keypoints = pack.table.keypoints[sample]
        labelled = keypoints[:, 2] > 0
        inputs = found[sample, :, :2] * 4
        original = (inputs - pack.table.shift[sample]) / pack.table.scale[sample] - 0.5
        assert np.abs(original - keypoints[:, :2])[labelled].max() < 0.1
        assert (found[sample, labelled, 2] > 0.7).all()
        assert (found[sample, ~labelled, 2] == 0).all()
    assert pack.table.keypoints[0].tolist() != pack.table.keypoints[1].tolist()


def test_the_targets_of_padding_are_empty(writer: CocoWriter) -> None:
    root = uneven(writer)
    pack, config = packed(root, "image"), config_of(root, "image")
    alone = next(batches(pack, np.array([0]), 1, CPU))
    assert alone.joints.shape[1] == 1
    assert torch.equal(targets(alone, config)[0], targets(whole(pack), config)[0])


def test_the_table_has_the_place_of_the_photograph_and_colours_leave_the_rest_black(
    writer: CocoWriter,
) -> None:
    writer.image("train", 1, np.full((96, 128, 3), 90, np.uint8))
    writer.person("train", 1, 11, bbox=[40.0, 30.0, 45.0, 30.0])
    writer.image("train", 2, np.full((96, 128, 3), 90, np.uint8))
    writer.person("train", 2, 21, bbox=[-20.0, 15.0, 150.0, 90.0])
    pack = packed(writer.write(), "person")
    table = pack.table
    for sample in range(2):
        x0, y0, x1, y1 = table.inside[sample]
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
        pixels = pixels_of(whole(pack))[sample]
        deep = (rows > y0 + 1) & (rows < y1 - 1) & (columns > x0 + 1) & (columns < x1 - 1)
        far = (rows < y0 - 1) | (rows > y1 + 1) | (columns < x0 - 1) | (columns > x1 + 1)
        assert np.abs(pixels[deep] - 90).max() <= 3
        assert np.abs(pixels[far]).max(initial=0) < 1e-3
        assert far.any() == (sample == 1)
        assert deep.mean() > 0.3
    augment = AugmentSettings(colour=0.5)
    for epoch in range(1, 5):
        drawn = draw_augmentation(augment, table, SIZE, 0, epoch)
        (batch,) = batches(pack, np.arange(2), 2, CPU, drawn)
        assert np.abs(pixels_of(batch)[1][far]).max() < 1e-3
    assert (packed(writer.root, "image").table.inside == [0, 0, SIZE[1], SIZE[0]]).all()


def test_masks_are_zero_where_nothing_is_learnt_and_one_elsewhere(small_coco: Path) -> None:
    pack = packed(small_coco, "image")
    (batch,) = batches(pack, np.arange(len(pack))[::-1], len(pack), CPU)
    ignored = torch.from_numpy(pack.ignore[::-1].copy())
    assert ignored.any()
    assert (batch.mask[ignored] == 0).all()
    assert (batch.mask[~ignored] == 1).all()
    assert (whole(packed(small_coco, "person")).mask == 1).all()


def test_unlabelled_joints_weigh_nothing_in_the_person_view_only(writer: CocoWriter) -> None:
    root, weights = uneven(writer), tuple(0.5 + joint for joint in range(17))
    crops = whole(packed(root, "person"))
    found = joint_weights(crops, config_of(root, "person", weights))
    assert torch.equal(found, torch.tensor(weights) * crops.labelled[:, 0])
    assert (found == 0).any()
    images = whole(packed(root, "image"))
    found = joint_weights(images, config_of(root, "image", weights))
    assert torch.equal(found, torch.tensor(weights).expand(3, -1))
