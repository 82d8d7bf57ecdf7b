"""Settings: one tree, one set of rules, one error text; YAML without its traps."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kptrain.config import Settings, TrainConfig, best_is_max, save_config
from kptrain.errors import DataError, SettingsError
from kptrain.resolve import (
    EMBEDDED_SETTINGS,
    banner,
    change,
    check_names,
    find_root,
    flatten,
    parse_assignments,
    resolve,
    setting_infos,
    settings_of,
)
from kptrain.strict_yaml import dump_yaml, parse_yaml, read_yaml
from kptrain.tree import conditions, without_effect

OTHER_VALUES: dict[str, Any] = {
    "data.root": "embedded",
    "data.view": "person",
    "data.image_size": [256, 192],
    "data.limit_train": 7,
    "data.limit_val": 7,
    "data.strict": True,
    "augment.flip": 0.5,
    "augment.rotation_deg": 30.0,
    "augment.scale": 0.3,
    "augment.shift": 0.1,
    "augment.colour": 0.4,
    "heatmap.sigma_px": 3.0,
    "loss.joint_weights": [2.0] * 17,
    "model.trunk": "resnet18",
    "model.deconv_channels": [8, 8, 8],
    "model.weights": "none",
    "model.freeze": 2,
    "optim.name": "sgd",
    "optim.lr": 0.5,
    "optim.weight_decay": 0.5,
    "optim.decay_norms": False,
    "optim.momentum": 0.5,
    "optim.nesterov": True,
    "optim.clip_norm": 3.0,
    "optim.backbone_lr_factor": 0.5,
    "schedule.name": "cosine",
    "schedule.step_epochs": 3,
    "schedule.milestones": [2, 3],
    "schedule.gamma": 0.1,
    "schedule.min_lr": 1e-4,
    "schedule.interval": "step",
    "schedule.warmup_epochs": 2,
    "schedule.warmup_steps": 3,
    "schedule.warmup_factor": 0.5,
    "train.epochs": 3,
    "train.batch_size": 3,
    "train.accumulate": 3,
    "train.ema_decay": 0.9,
    "train.seed": 3,
    "train.device": "cuda:1",
    "train.threads": 2,
    "train.precision": "bfloat16",
    "train.compile": True,
    "train.cuda_graph": "auto",
    "checkpoint.metric": "val_ap",
    "checkpoint.resume_epochs": 3,
    "checkpoint.best_dtype": "bfloat16",
    "wandb.mode": "offline",
    "wandb.project": "other",
    "tensorboard.enabled": True,
}
"""A value for each setting that differs from its default."""


@pytest.fixture(autouse=True)
def no_data_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the embedded set is found, unless a test says otherwise."""
    monkeypatch.delenv("KPTRAIN_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def message_of(error: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def branches() -> list[type[Settings]]:
    return [type(branch) for _, branch in TrainConfig()]


# The tree


def test_every_setting_has_a_description_and_says_what_it_changes() -> None:
    assert len(branches()) == 11
    for branch in branches():
        for name, field in branch.model_fields.items():
            assert field.description, f"{branch.__name__}.{name}"
            assert isinstance(field.json_schema_extra, dict)
            assert field.json_schema_extra["changes"] in ("nothing", "loss", "data", "place")


def test_every_setting_has_another_value_in_this_test() -> None:
    assert OTHER_VALUES.keys() == setting_infos().keys() == settings_of(TrainConfig()).keys()


@pytest.mark.parametrize(("path", "value"), OTHER_VALUES.items())
def test_every_setting_is_reached_by_change_and_no_other_setting_moves(
    path: str, value: Any
) -> None:
    before = settings_of(TrainConfig())
    after = settings_of(change(TrainConfig(), {path: value}, "test"))
    assert before[path] != value
    assert after == before | {path: value}


def test_the_path_of_weights_means_the_same_in_every_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = change(TrainConfig(), {"model.weights": "mine.pth"}, "test")
    assert config.model.weights == str(tmp_path / "mine.pth")
    assert change(config, {"model.weights": "none"}, "test").model.weights == "none"


def test_a_config_cannot_be_altered() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().train.epochs = 3


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("optim.lr", float),
        ("train.epochs", int),
        ("data.limit_train", int),
        ("data.view", str),
        ("data.root", str),
        ("data.image_size", None),
        ("loss.joint_weights", None),
    ],
)
def test_the_type_of_a_setting_is_that_of_its_single_value(path: str, kind: type | None) -> None:
    assert setting_infos()[path].type is kind


def test_the_heatmap_is_a_quarter_of_the_input() -> None:
    assert change(TrainConfig(), {"data.image_size": [256, 192]}, "").heatmap_size == (64, 48)


def test_only_the_loss_is_better_when_it_is_lower() -> None:
    assert not best_is_max("val_loss")
    assert best_is_max("val_oks")
    assert best_is_max("val_ap")


# Changing settings


REFUSED = [
    ("optim.ler", 1, "optim.ler is not a setting; did you mean optim.lr?"),
    ("zzz", 1, "zzz is not a setting"),
    ("optim.lr", 0, "optim.lr must be greater than 0, but got 0"),
    ("optim.lr", "fast", "optim.lr must be a valid number, but got 'fast'"),
    ("optim.lr", True, "optim.lr must be a valid number, but got True"),
    ("optim.lr", float("inf"), "optim.lr must be a finite number, but got inf"),
    ("optim.lr", float("nan"), "optim.lr must be a finite number, but got nan"),
    ("optim.weight_decay", -1, "optim.weight_decay must be greater than or equal to 0, but got -1"),
    ("schedule.gamma", 1.5, "schedule.gamma must be less than or equal to 1, but got 1.5"),
    ("train.epochs", 0, "train.epochs must be greater than or equal to 1, but got 0"),
    ("train.epochs", 3.0, "train.epochs must be a valid integer, but got 3.0"),
    ("train.epochs", True, "train.epochs must be a valid integer, but got True"),
    ("train.epochs", None, "train.epochs must be a valid integer, but got None"),
    ("train.seed", 2**31, "train.seed must be less than 2147483648, but got 2147483648"),
    ("data.view", "person ", "data.view must be 'image' or 'person', but got 'person '"),
    ("data.image_size", 256, "data.image_size must be a valid tuple, but got 256"),
    ("data.image_size", [256, 100], "data.image_size must be a multiple of 32, but got 100"),
    ("data.image_size", ["64", 64], "data.image_size must be a valid integer, but got '64'"),
    ("data.image_size", [32, 64],
     "data.image_size must be greater than or equal to 64, but got 32"),
    ("heatmap.sigma_px", 17, "heatmap.sigma_px must be at most a quarter of the heatmap's shorter "
     "side (64 px at data.image_size [256, 256]), but got 17.0"),
    ("model.weights", "", "model.weights: String should have at least 1 character, but got ''; "
     "model.weights"),
    ("loss.joint_weights", [0.0] * 17, "loss.joint_weights: At least one weight must be above 0, "
     f"but got {[0.0] * 17}; loss.joint_weights"),
    ("schedule.milestones", [3, 2], "schedule.milestones: Milestones must ascend, but got [3, 2]; "
     "schedule.milestones"),
    ("schedule.milestones", [2, 2], "schedule.milestones: Milestones must ascend, but got [2, 2]; "
     "schedule.milestones"),
    ("schedule.milestones", [0], "schedule.milestones must be greater than or equal to 1, but got "
     "0"),
    ("schedule.warmup_epochs", 25, "schedule.warmup_epochs must be below train.epochs (25), but "
     "got 25; lower it"),
    ("optim.momentum", 1, "optim.momentum must be less than 1, but got 1"),
    ("optim.clip_norm", 0, "optim.clip_norm must be greater than 0, but got 0"),
    ("optim.backbone_lr_factor", 0, "optim.backbone_lr_factor must be greater than 0, but got 0"),
    ("model.freeze", 6, "model.freeze must be at most 5, the stages of model.trunk resnet50 (its "
     "stem is one), but got 6; lower it"),
    ("train.accumulate", 9, "train.accumulate must be at most train.batch_size (8), which it "
     "divides into parts, but got 9; lower it"),
    ("train.ema_decay", 1, "train.ema_decay must be less than 1, but got 1"),
    ("train.device", "gpu", "train.device: String should match pattern "
     r"'^(auto|cpu|cuda(:\d+)?)$', but got 'gpu'; train.device"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), REFUSED)
def test_a_value_that_breaks_a_rule_is_named_with_its_rule(
    path: str, value: Any, message: str
) -> None:
    with pytest.raises(SettingsError) as error:
        change(TrainConfig(), {path: value}, "x.yaml")
    rule, _, description = message_of(error).partition(" is: ")
    assert rule == f"x.yaml: {message}"
    assert bool(description) == message.endswith(f"; {path}")


REFUSED_TOGETHER = [
    ({"optim.name": "sgd", "optim.nesterov": True, "optim.momentum": 0}, "optim.momentum must be "
     "above 0 with optim.nesterov true, but got 0; "),
    ({"schedule.name": "cosine", "schedule.min_lr": 2e-4, "optim.backbone_lr_factor": 0.1},
     "schedule.min_lr must be at most the learning rate that the cosine begins with (0.0001 by "),
    ({"schedule.name": "multistep"}, "schedule.milestones must name one or more epochs with "
     "schedule.name multistep, above schedule.warmup_epochs (0), but got []; "),
    ({"schedule.name": "multistep", "schedule.milestones": [3, 9], "schedule.warmup_epochs": 3},
     "schedule.milestones must name one or more epochs with schedule.name multistep, above "
     "schedule.warmup_epochs (3), but got [3, 9]; "),
    ({"model.trunk": "shufflenet_v2_x0_5", "model.freeze": 5}, "model.freeze must be at most 4, "),
    ({"train.cuda_graph": True, "train.precision": "float16"}, "train.cuda_graph must be auto or "
     "false with train.precision float16, "),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), REFUSED_TOGETHER)
def test_values_that_only_together_break_a_rule_are_named(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError) as error:
        change(TrainConfig(), given, "x.yaml")
    assert message_of(error).startswith(f"x.yaml: {message}")


@pytest.mark.parametrize(
    "given",
    [
        {"optim.nesterov": True, "optim.momentum": 0},
        {"schedule.min_lr": 0.1},
        {"schedule.milestones": [3], "schedule.warmup_epochs": 3},
        {"schedule.interval": "step", "schedule.warmup_epochs": 30},
        {"train.cuda_graph": "auto", "train.precision": "float16"},
    ],
)
def test_a_rule_holds_only_where_its_settings_have_an_effect(given: dict[str, Any]) -> None:
    change(TrainConfig(), given, "x.yaml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optim.momentum": 0.9}, "optim.momentum must be given only with optim.name sgd, but "
         "optim.name is adam; set optim.name to sgd, or remove optim.momentum"),
        ({"schedule.name": "cosine", "schedule.gamma": 0.5}, "schedule.gamma must be given only "
         "with schedule.name step or multistep, but schedule.name is cosine; set schedule.name to "
         "step or multistep, or remove schedule.gamma"),
        ({"schedule.milestones": [3]}, "schedule.milestones must be given only with schedule.name "
         "multistep, but schedule.name is step; "),
        ({"schedule.warmup_steps": 5, "schedule.warmup_epochs": 1}, "schedule.warmup_steps must be "
         "given only with schedule.interval step, but schedule.interval is epoch; "),
    ],
)  # fmt: skip
def test_a_setting_of_a_choice_that_is_not_made_is_refused_where_it_is_given(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError) as error:
        resolve(given, "x.yaml")
    assert message_of(error).startswith(f"x.yaml: {message}")
    assert settings_of(change(TrainConfig(), given, ""))  # as a search does, which varies choices


def test_conditions_name_settings_and_values_that_these_can_have() -> None:
    known = conditions(TrainConfig)
    assert known["schedule.gamma"] == {"schedule.name": ("step", "multistep")}
    for condition in known.values():
        for choice, values in condition.items():
            milestones = {"schedule.milestones": [3]}
            made = [change(TrainConfig(), milestones | {choice: value}, "") for value in values]
            assert [settings_of(config)[choice] for config in made] == list(values)


@pytest.mark.parametrize("num", [1, 3])
def test_a_size_that_is_not_a_pair_is_explained_by_the_setting(num: int) -> None:
    with pytest.raises(SettingsError) as error:
        change(TrainConfig(), {"data.image_size": [64] * num}, "x.yaml")
    assert message_of(error).endswith(
        "data.image_size is: (height, width) of the network's input in pixels, multiples of 32."
    )


def test_a_branch_is_not_a_setting() -> None:
    with pytest.raises(SettingsError, match="optim is not a setting"):
        check_names({"optim": 1}, "x.yaml")


def test_a_setting_given_nested_and_dotted_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        flatten({"optim": {"lr": 1}, "optim.lr": 2})
    assert message_of(error) == "optim.lr: must be given once, but is given nested and dotted"


def test_nested_and_dotted_names_mean_the_same() -> None:
    assert flatten({"train": {"epochs": 3}, "optim.lr": 1}) == {"train.epochs": 3, "optim.lr": 1}


# The command line


def test_assignments_are_read_as_yaml_reads_them() -> None:
    said = parse_assignments(["optim.lr=1e-3", "data.image_size=[64, 96]", "model.weights=a=b"])
    assert said == {"optim.lr": 0.001, "data.image_size": [64, 96], "model.weights": "a=b"}


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["optim.lr"], "--set: must be path=value, but got 'optim.lr'"),
        (["=3"], "--set: must be path=value, but got '=3'"),
        (["a=1", "a=2"], "--set: a must be given once, but is given twice"),
        (["optim.lr=["], "--set optim.lr:1: must be valid YAML, but expected the node content, "
         "but found '<stream end>'"),
    ],
)  # fmt: skip
def test_an_assignment_that_is_none_is_named(assignments: list[str], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_assignments(assignments)
    assert message_of(error) == message


# YAML


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e-3", 1e-3), ("-1E+3", -1e3), ("1.5e3", 1.5e3), (".5e1", 5.0), ("1.e2", 100.0)],
)
def test_a_number_with_an_exponent_is_a_float(text: str, number: float) -> None:
    assert parse_yaml(text, "") == number
    assert isinstance(parse_yaml(text, ""), float)


@pytest.mark.parametrize(
    "text", ["e3", "1e", "1e3x", "--1e3", ".e3", "010", "1:30", "1_000", "0x1F"]
)
def test_what_only_resembles_a_number_stays_text(text: str) -> None:
    assert parse_yaml(text, "") == text


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("a: 1\na: 2", 2, "a"),
        ("a:\n  b:\n    c: 1\n    c: 1", 4, "c"),
        ("- {a: 1}\n- [{b: 1, b: 2}]", 2, "b"),
    ],
)
def test_a_key_given_twice_is_refused_at_any_depth_with_its_line(
    text: str, line: int, key: str
) -> None:
    with pytest.raises(SettingsError) as error:
        parse_yaml(text, "x.yaml")
    expected = f"x.yaml:{line}: must be valid YAML, but key {key!r} is given twice"
    assert message_of(error) == expected


def test_the_same_key_in_two_mappings_is_fine() -> None:
    assert parse_yaml("{a: {x: 1}, b: {x: 2}}", "") == {"a": {"x": 1}, "b": {"x": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "x.yaml:1: must be valid YAML, but expected ',' or ']', but got '<stream end>'"),
        ("{[1]: 2}", "x.yaml:1: must be valid YAML, but found unhashable key"),
        ("a: 2024-13-45", "x.yaml: must be valid YAML, but month must be in 1..12"),
        ("a: \0", "x.yaml: must be valid YAML, but unacceptable character #x0000: special "
         'characters are not allowed in "<unicode string>", position 3'),
        ("a: &a {b: *a}",
         "x.yaml:1: must be valid YAML, but found unconstructable recursive node"),
        ("a: &a [*a]", "x.yaml:1: must be valid YAML, but found unconstructable recursive node"),
    ],
)  # fmt: skip
def test_text_that_is_not_yaml_is_named_in_one_line(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_yaml(text, "x.yaml")
    assert message_of(error) == message


def test_a_value_may_be_given_once_and_used_twice() -> None:
    assert parse_yaml("{a: &a [1, 2], b: *a}", "") == {"a": [1, 2], "b": [1, 2]}


def test_lists_nested_without_end_are_no_crash() -> None:
    with pytest.raises(SettingsError, match="must be valid YAML"):
        parse_yaml("[" * 500, "x.yaml")


@pytest.mark.parametrize(
    ("text", "kind"), [("- 1", "a list"), ("7", "a int"), ("1: 2", "a mapping with other keys")]
)
def test_a_file_that_does_not_map_names_is_refused(text: str, kind: str) -> None:
    Path("x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as error:
        read_yaml(Path("x.yaml"))
    expected = f"x.yaml: must map names to values, but its top level is {kind}"
    assert message_of(error) == expected


def test_an_empty_file_says_nothing() -> None:
    Path("x.yaml").write_text("# only a comment\n", encoding="utf-8")
    assert read_yaml(Path("x.yaml")) == {}


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_named(content: bytes | None) -> None:
    if content is not None:
        Path("x.yaml").write_bytes(content)
    with pytest.raises(SettingsError) as error:
        read_yaml(Path("x.yaml"))
    assert message_of(error).startswith("x.yaml: must be a readable text file, but ")


@given(st.text(alphabet="0123456789.eE+-_: ayn~", max_size=8))
def test_any_text_that_is_written_is_read_back_as_the_same_text(text: str) -> None:
    assert parse_yaml(dump_yaml({"a": text}), "") == {"a": text}


def test_a_saved_config_is_read_back_equal_in_all_that_has_an_effect() -> None:
    values = OTHER_VALUES | {"optim.lr": 1e-3, "wandb.project": "1e3"}
    config = change(TrainConfig(), values, "")
    save_config(config, Path("config.yaml"))
    again = resolve(flatten(read_yaml(Path("config.yaml"))), "config.yaml")
    unused = ["schedule.step_epochs", "schedule.milestones", "schedule.gamma"]
    assert without_effect(config) == [*unused, "schedule.warmup_epochs"]
    now = {path: settings_of(TrainConfig())[path] for path in without_effect(config)}
    assert settings_of(again) == settings_of(config) | now


# The data


def folder(path: str) -> str:
    Path(path).mkdir(parents=True)
    return str(Path(path).absolute())


def test_the_data_is_what_was_given_then_the_environment_then_the_default_then_embedded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert find_root(None) == "embedded"
    default = folder("data/coco-2017")
    assert find_root(None) == default
    environment = folder("elsewhere")
    monkeypatch.setenv("KPTRAIN_DATA", "elsewhere")
    assert find_root(None) == environment
    assert find_root(folder("said")) == str(Path("said").absolute())
    assert find_root("embedded") == "embedded"
    monkeypatch.setenv("KPTRAIN_DATA", "embedded")
    assert find_root(None) == "embedded"


def test_an_empty_environment_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPTRAIN_DATA", "")
    assert find_root(None) == "embedded"


@pytest.mark.parametrize("where", ["data.root", "KPTRAIN_DATA"])
def test_a_wrong_path_to_the_data_is_an_error_and_not_replaced(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder("data/coco-2017")
    if where == "KPTRAIN_DATA":
        monkeypatch.setenv("KPTRAIN_DATA", "nowhere")
    with pytest.raises(DataError) as error:
        find_root("nowhere" if where == "data.root" else None)
    assert message_of(error).startswith(f"{where}: must be a folder that holds COCO, but 'nowhere'")
    assert "'embedded'" in message_of(error)


def test_the_embedded_settings_apply_on_the_embedded_set_only_where_none_was_given() -> None:
    config = resolve({"train.epochs": 2, "heatmap.sigma_px": 3.0}, "test")
    expected = EMBEDDED_SETTINGS | {"train.epochs": 2, "heatmap.sigma_px": 3.0}
    got = settings_of(config)
    assert {path: got[path] for path in expected} == expected
    assert config.data.root == "embedded"
    assert config.optim == TrainConfig().optim


def test_the_embedded_settings_do_not_apply_on_a_folder() -> None:
    root = folder("coco")
    assert settings_of(resolve({"data.root": "coco"}, "")) == settings_of(TrainConfig()) | {
        "data.root": root
    }


def test_a_rule_that_only_the_embedded_settings_break_is_still_checked() -> None:
    with pytest.raises(SettingsError, match=re.escape("(24 px at data.image_size [96, 96])")):
        resolve({"heatmap.sigma_px": 8.0}, "x.yaml")


@pytest.mark.parametrize(
    ("view", "size", "is_noted"),
    [
        ("person", [192, 256], True),
        ("person", [256, 192], False),
        ("person", [128, 128], False),
        ("image", [192, 256], False),
    ],
)
def test_crops_of_persons_that_are_wider_than_high_are_noted_with_height_and_width_exchanged(
    tmp_path: Path, view: str, size: list[int], is_noted: bool
) -> None:
    said = {"data.root": str(tmp_path), "data.view": view, "data.image_size": size}
    first, *notes = banner(resolve(said, "test")).splitlines()
    assert first == f"Data: {tmp_path}"
    assert len(notes) == is_noted
    for note in notes:
        assert "data.image_size [192, 256]" in note
        assert "[256, 192]" in note
