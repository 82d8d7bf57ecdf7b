"""Whatever a file holds, what is said of it is one line, and what is taken of it is sound."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kptrain.annotations.reader import read_split
from kptrain.config import TrainConfig
from kptrain.data.views import ignore_mask, image_frame, person_frame
from kptrain.errors import DataError, SettingsError
from kptrain.resolve import flatten, resolve, setting_infos
from kptrain.strict_yaml import dump_yaml, read_yaml
from kptrain.synthetic.data_set import write_embedded
from search.space.reader import read_space
from search.space.space import Space
from search.trainings.keypoints import KEYPOINTS

fuzzed = settings(max_examples=150, deadline=None)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from([0, -1, 1e30, 2**63, 2**200, "", "../..", [], {}, [[]], 10**400]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
NAME = st.text(st.characters(exclude_categories=()), min_size=1, max_size=9)
"""Halves of surrogate pairs too, as JSON may have them."""
SPACE: dict[str, Any] = {
    "base": {"data": {"root": "embedded"}, "train": {"epochs": 4}},
    "space": {
        "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "train.batch_size": [2, 4],
        "schedule.step_epochs": {"low": 1, "high": 9, "step": 2},
    },
    "metric": "val_loss",
    "trials": 5,
    "asha": {"grace_epochs": 1, "reduction": 2},
    "resources": {"cpu": 1},
    "start": [{"optim.lr": 1e-3}],
}


def said_in_one_line(error: Exception) -> None:
    assert str(error)
    assert "\n" not in str(error)


def replaced(content: Any, draw: st.DataObject) -> Any:
    """A copy in which a node anywhere is replaced, taken away or doubled."""
    content = copy.deepcopy(content)
    node = content
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = draw.draw(st.sampled_from(keys))
        inner = node[key]
        if not inner or not isinstance(inner, dict | list) or draw.draw(st.integers(0, 3)) == 0:
            break
        node = inner
    how = draw.draw(st.sampled_from(["replace", "replace", "remove", "double"]))
    if how == "replace":
        node[key] = draw.draw(JSON)
    elif how == "remove":
        del node[key]
    elif isinstance(node, list):
        node.append(copy.deepcopy(node[key]))
    else:
        node[str(draw.draw(st.text(max_size=6)))] = node[key]
    return content


@fuzzed
@given(st.dictionaries(st.sampled_from(list(setting_infos())), JSON, max_size=3))
def test_settings_of_any_values_are_a_config_or_one_line(said: dict[str, Any]) -> None:
    try:
        config = resolve({"data.root": "embedded"} | said, "fuzz.yaml")
    except (SettingsError, DataError) as error:
        said_in_one_line(error)
    else:
        assert isinstance(config, TrainConfig)


@fuzzed
@given(st.text() | st.binary().map(lambda b: b.decode("latin-1")))
def test_any_text_is_settings_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    try:
        said = flatten(read_yaml(path))
    except SettingsError as error:
        said_in_one_line(error)
    else:
        assert all(isinstance(name, str) for name in said)


@fuzzed
@given(st.data())
def test_a_changed_space_file_is_a_space_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "space.yaml"
    path.write_text(dump_yaml(replaced(SPACE, data)), encoding="utf-8")
    try:
        space = read_space(path, KEYPOINTS)
    except (SettingsError, DataError) as error:
        said_in_one_line(error)
    else:
        assert isinstance(space, Space)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("four")
    write_embedded(root, num_train=4, num_val=1)
    return root


@fuzzed
@given(st.data())
def test_whatever_the_names_and_ids_of_images_are_the_message_is_one_line_that_can_be_written(
    four: Path, data: st.DataObject
) -> None:
    path = four / "annotations" / "person_keypoints_train2017.json"
    original = path.read_text()
    content = json.loads(original)
    record = content["images"][0]
    record |= {"file_name": data.draw(NAME), "id": data.draw(st.just(record["id"]) | NAME)}
    try:
        path.write_text(json.dumps(content))
        split = read_split(four, "train")
    finally:
        path.write_text(original)
    assert len(split.images) in (2, 3)  # its id may be another's
    said = split.skipped.summary() + str(split.skipped.fault)
    assert len(said.encode().splitlines()) == 1


@pytest.mark.slow
@fuzzed
@given(st.data())
def test_changed_annotations_give_samples_that_can_be_cut_or_one_line(
    four: Path, data: st.DataObject
) -> None:
    path = four / "annotations" / "person_keypoints_train2017.json"
    original = path.read_text()
    content = replaced(json.loads(original), data)
    try:
        path.write_text(json.dumps(content))
        split = read_split(four, "train")
    except DataError as error:
        said_in_one_line(error)
        return
    finally:
        path.write_text(original)
    persons = [person for image in split.images for person in image.persons]
    assert len({person.id for person in persons}) == len(persons)
    assert all(np.isfinite(person.keypoints).all() and person.area > 0 for person in persons)
    for image in split.images:
        assert image.path.parent == four / "train2017"
        assert ignore_mask(image, (64, 64)).shape == (16, 16)
        for person in image.persons:
            for frame in (image_frame(image, (64, 64)), person_frame(person, (64, 64))):
                joints = frame.keypoints_in(person.keypoints)[person.keypoints[:, 2] > 0]
                assert np.isfinite(joints).all()
                assert np.abs(joints).max() < 1e6
