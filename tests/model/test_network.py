"""The network: its size and shape, where its first weights come from, and what does not fit."""

import email.message
import io
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch
from torchvision import models

from kptrain.config import BEST, NUM_STAGES, ModelSettings
from kptrain.errors import CheckpointError, WeightsError
from kptrain.model.checkpoint import save_checkpoint
from kptrain.model.network import KeypointNet, build_model, weights_file

TRUNKS = get_args(ModelSettings.model_fields["trunk"].annotation)
FILES = {
    "resnet18": "resnet18-f37072fd.pth",
    "shufflenet_v2_x0_5": "shufflenetv2_x0.5-f707e7126e.pth",
}


def tiny(**changes: object) -> ModelSettings:
    few = {"trunk": "shufflenet_v2_x0_5", "deconv_channels": [16, 16, 16], "weights": "none"}
    return ModelSettings.model_validate(few | changes)


def weights_of(settings: ModelSettings, seed: int = 0) -> dict[str, torch.Tensor]:
    return build_model(settings, seed).state_dict()


def are_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of torchvision's files, empty, on a machine without a network."""

    def no_network(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_the_recipes_network_has_67_56_million_parameters_and_weighs_270_5_megabytes() -> None:
    with torch.device("meta"):
        model = KeypointNet(ModelSettings())
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    trunk = 25_557_032 - (2048 * 1000 + 1000)  # torchvision's ResNet-50 without its classifier
    deconv = 16 * (2048 * 1024 + 1024 * 512 + 512 * 256) + 2 * (1024 + 512 + 256)
    assert num_parameters == trunk + deconv + (256 + 1) * 17
    assert round(num_parameters / 1e6, 2) == 67.56
    num_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert round(num_bytes / 1e6, 1) == 270.5


def test_the_recipes_network_makes_64_x_64_maps_of_256_x_256_pixels() -> None:
    with torch.device("meta"):
        maps = KeypointNet(ModelSettings())(torch.empty(2, 3, 256, 256))
    assert maps.shape == (2, 17, 64, 64)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_every_backbone_gives_one_map_pixel_for_four_pixels(trunk: str) -> None:
    with torch.device("meta"):
        maps = KeypointNet(tiny(trunk=trunk))(torch.empty(1, 3, 96, 64))
    assert maps.shape == (1, 17, 24, 16)


@pytest.mark.usefixtures("one_thread")
def test_the_first_maps_are_close_to_the_background() -> None:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = build_model(tiny(), 0)(images)
    assert maps.abs().max() < 0.1


def test_first_weights_depend_on_settings_and_seed_only() -> None:
    torch.manual_seed(1)
    first = weights_of(tiny(), seed=7)
    torch.manual_seed(2)
    assert are_equal(first, weights_of(tiny(), seed=7))
    other = weights_of(tiny(), seed=8)
    for part in ("trunk.conv1.0.weight", "deconv.0.weight", "head.weight"):
        assert not torch.equal(first[part], other[part])


def test_building_leaves_the_global_generators_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeded: list[int] = []
    monkeypatch.setattr("torch.cuda.manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    build_model(tiny(), 7)
    assert torch.equal(torch.get_rng_state(), before)
    assert not seeded


def test_no_weights_need_no_file() -> None:
    assert weights_file(tiny(weights="none")) is None


@pytest.mark.parametrize("trunk", TRUNKS)
def test_imagenet_without_a_file_and_a_network_says_which_file_belongs_where(
    trunk: str, torch_home: Path
) -> None:
    with pytest.raises(WeightsError) as caught:
        build_model(tiny(trunk=trunk, weights="imagenet"), 0)
    message = str(caught.value)
    name = models.get_model_weights(trunk).IMAGENET1K_V1.url.rpartition("/")[2]
    assert message.startswith(f"model.weights: imagenet needs {name}")
    assert str(torch_home / name) in message
    assert "no route to host" in message
    assert "put torchvision's file there" in message
    assert "\n" not in message


def test_a_download_that_was_cut_short_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reply(io.BytesIO):
        def info(self) -> email.message.Message:
            return email.message.Message()

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", lambda _: Reply(b"the first half"))
    with pytest.raises(WeightsError, match=r"model\.weights: .*invalid hash value"):
        build_model(tiny(trunk="resnet18", weights="imagenet"), 0)
    assert not list(tmp_path.rglob("*.pth"))


@pytest.mark.parametrize("trunk", FILES)
@pytest.mark.parametrize("counts", [True, False], ids=["with batch counts", "without"])
def test_torchvisions_file_fills_the_whole_backbone_and_nothing_else(
    trunk: str, counts: bool, torch_home: Path
) -> None:
    classifier = models.get_model(trunk, weights=None).state_dict()
    given = {k: v for k, v in classifier.items() if counts or "num_batches_tracked" not in k}
    torch.save(given, torch_home / FILES[trunk])
    loaded = weights_of(tiny(trunk=trunk, weights="imagenet"))
    fresh = weights_of(tiny(trunk=trunk))
    for key, value in loaded.items():
        source = classifier[key.removeprefix("trunk.")] if key.startswith("trunk.") else fresh[key]
        assert torch.equal(value, source), key
    assert not are_equal(loaded, fresh)


def test_torchvisions_file_may_lie_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    classifier = models.get_model("resnet18", weights=None).state_dict()
    torch.save(classifier, path)
    loaded = weights_of(tiny(trunk="resnet18", weights=str(path)))
    assert torch.equal(loaded["trunk.conv1.weight"], classifier["conv1.weight"])


def test_our_checkpoint_fills_everything(tmp_path: Path) -> None:
    trained = weights_of(tiny(), seed=5)
    save_checkpoint({"weights": trained, "config": {}, "metrics": {}}, tmp_path / BEST)
    assert are_equal(weights_of(tiny(weights=str(tmp_path / BEST)), seed=6), trained)


@pytest.mark.parametrize(
    ("made_with", "asked_for", "faults"),
    [
        pytest.param(
            {"deconv_channels": [16, 16, 8]},
            {},
            ["6 of another shape (deconv.6.weight, deconv.7.weight,", "[16, 16, 16]"],
            id="other channels",
        ),
        pytest.param(
            {"trunk": "resnet18"},
            {"trunk": "resnet34"},
            ["80 missing (trunk.layer1.2.conv1.weight", "model.trunk resnet34"],
            id="too few layers",
        ),
        pytest.param(
            {"trunk": "resnet34"},
            {"trunk": "resnet18"},
            ["96 unknown (trunk.layer1.2.conv1.weight", "model.trunk resnet18"],
            id="too many layers",
        ),
    ],
)
def test_weights_that_do_not_fit_are_listed(
    made_with: dict[str, object], asked_for: dict[str, object], faults: list[str], tmp_path: Path
) -> None:
    path = tmp_path / BEST
    save_checkpoint({"weights": weights_of(tiny(**made_with))}, path)
    with pytest.raises(WeightsError) as caught:
        build_model(tiny(**asked_for, weights=str(path)), 0)
    message = str(caught.value)
    assert message.startswith(f"{path}: must fit model.trunk")
    assert "\n" not in message
    for fault in faults:
        assert fault in message


def test_missing_weights_are_reported_with_their_path(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.pth"
    with pytest.raises(WeightsError, match=f"^model.weights: must be .* but {path} is none"):
        build_model(tiny(weights=str(path)), 0)


def test_weights_in_a_damaged_file_are_reported_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "torn.pth"
    path.write_text("not weights")
    with pytest.raises(CheckpointError, match=f"^{path}: must "):
        build_model(tiny(weights=str(path)), 0)


STAGES = {
    "resnet18": ["conv1 bn1", "layer1", "layer2", "layer3", "layer4"],
    "shufflenet_v2_x0_5": ["conv1", "stage2", "stage3", "stage4"],
}
"""The parts of each stage that have weights."""


@pytest.mark.parametrize(("trunk", "stages"), STAGES.items())
def test_frozen_stages_keep_their_weights_and_the_statistics_of_their_normalisation(
    trunk: str, stages: list[str]
) -> None:
    assert NUM_STAGES[trunk] == len(stages)
    for freeze in (0, 1, len(stages) - 1, len(stages)):
        model = build_model(tiny(trunk=trunk, freeze=freeze), 0)
        frozen = tuple(f"trunk.{part}." for stage in stages[:freeze] for part in stage.split())
        before = {key: value.clone() for key, value in model.state_dict().items()}
        model.eval()
        model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)  # which moves all alike
        loss = 1e9 * model(torch.rand(2, 3, 64, 64)).square().sum()
        loss.backward()
        optimizer.step()
        after = model.state_dict()
        moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
        assert moved == {key for key in before if not key.startswith(frozen)}
        assert model.training


def test_every_backbone_has_a_number_of_stages() -> None:
    assert tuple(NUM_STAGES) == TRUNKS
