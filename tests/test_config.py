from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, Unpack

import hydra
import pytest
import yaml
from hydra import compose

from ecgcls.command.start import resolve
from ecgcls.config import CONF_DIR, Text, check_arguments, check_group, check_run, list_texts
from ecgcls.errors import ConfigError
from ecgcls.evaluation.intervals import Bootstrap
from ecgcls.run import run

CHOICES = [
    f"{'+' if path.parent.name == 'preset' else ''}{path.parent.name}={path.stem}"
    for path in sorted(CONF_DIR.glob("*/*.yaml"))
]


@pytest.fixture(scope="module", autouse=True)
def config_dir():
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        yield


def check(*overrides):
    """Hold a configuration of a run against what it names, as the command does."""
    config = check_arguments(run, resolve(compose("config", overrides=list(overrides))))
    check_run(config)
    return config


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_every_group_is_a_valid_configuration(choice):
    check(choice)


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("+trainer.max_epoch=3", r"trainer\.max_epoch: no such setting of pytorch_lightning\.Trainer; .*max_epochs"),
        ("+model.dropuot=0.3", r"model\.dropuot: no such setting of .*; did you mean dropout\?"),
        ("data.batch_size=abc", r"data\.batch_size must be a whole number, got 'abc'"),
        ("data.batch_size=true", r"data\.batch_size must be a whole number, got True"),
        ("data.root=3", r"data\.root must be a path, got 3"),
        ("data.root=''", r"data\.root= is empty, expected a path; \. is the current folder"),
        ("data.store_dir=''", r"data\.store_dir= is empty, expected a path"),
        ("output_dir=''", r"output_dir= is empty, expected a path"),
        ("data.sampling_rate_hz=250", r"data\.sampling_rate_hz must be 100 or 500, got 250"),
        ("data.missing_records=ignore", r"data\.missing_records must be error or drop, got 'ignore'"),
        ("optimizer.lr=fast", r"optimizer\.lr must be a number.*, got 'fast'"),
        ("trainer.precision=15", r"trainer\.precision must be .*bf16-mixed.*, got 15"),
        ("model.dropout=null", r"model\.dropout must be a number, got None"),
        ("model._target_=ecgcls.models.cnn1d.CNN3D", r"model\._target_: cannot import ecgcls\.models\.cnn1d\.CNN3D"),
        ("model._target_=3", r"model\._target_ must be a class or function, by its full name, got 3"),
        ("evaluation.prevalence={MI: 0.02}", None),  # a value, not a node
        ("+callbacks.patience=3", r"callbacks\.patience must be a node with a _target_, got 3"),
        ("~trainer.max_epochs", None),  # it has a default
        ("~data.root", r"data\.root: ecgcls\.data\.ptbxl\.PTBXL needs this setting"),
        ("+data.missing_record=drop", r"data\.missing_record: no such setting of .*did you mean missing_records\?"),
        ("~callbacks.checkpoint.monitor", None),
        ("~task.statements", r"task\.statements: ecgcls\.data\.tasks\.Task needs this setting"),
        ("~model", r"model: this setting is missing"),
        ("+modle=3", r"modle: no such key; did you mean model\?"),
        ("fold=a", r"fold must be a whole number, got 'a'"),
        ("seed=1.5", r"seed must be a whole number, got 1\.5"),
        ("seed=-1", r"seed must be in 0\.\.4294967295, got -1"),
        ("overwrite=maybe", r"overwrite must be true or false, got 'maybe'"),
        ("experiment=../x", r"experiment must be a name"),
        ("task.classes=statements", r"task\.classes must be statement or diagnostic_subclass or diagnostic_class"),
        ("+evaluation.intervals.levl=0.9", r"evaluation\.intervals\.levl: no such setting of .*did you mean level\?"),
        (
            "evaluation.intervals.method=t",
            r"evaluation\.intervals\.method must be score or expanded or",
        ),
        ("scheduler.factor=${nothing}", r"scheduler\.factor: .*nothing"),
    ],
)
def test_a_wrong_key_or_value_is_named(override, match):
    if match is None:
        check(override)
        return
    with pytest.raises(ConfigError, match=match) as refused:
        check(override)
    assert "\n" not in str(refused.value)


def test_a_group_needs_a_choice():
    with pytest.raises(ConfigError, match="model: expected a choice of this group, got None"):
        check_group("model", None)


def test_a_fused_step_with_clipping_and_scaled_gradients_is_refused():
    both = ["trainer.gradient_clip_val=1.0", "trainer.precision=16-mixed"]
    with pytest.raises(ConfigError, match=r"optimizer.fused=true cannot clip .* set optimizer.fused=false"):
        check(*both)
    for allowed in (both[:1], both[1:], [*both, "optimizer.fused=false"]):
        check(*allowed)


@pytest.mark.parametrize(("model", "max_epochs"), [("cnn1d", 10), ("cnn2d", 30)])
def test_reference_preset_is_the_published_comparison(model, max_epochs):
    config = check("+preset=reference", f"model={model}")
    settings = config["trainer"]["max_epochs"], config["data"]["batch_size"], len(config["folds"]["test"])
    assert settings == (max_epochs, 16, 5)
    assert config["task"]["class_order"] == ["NORM", "MI", "STTC", "CD", "HYP"]


@pytest.mark.parametrize(("model", "expected"), [("cnn1d", (128, 0.3, 50)), ("cnn2d", (64, 0.0, 25))])
def test_small_preset_has_what_was_found_for_each_net(model, expected):
    config = check("+preset=small", f"model={model}")
    found = config["data"]["batch_size"], config["model"]["dropout"], config["trainer"]["max_epochs"]
    assert (*found, config["data"]["window_s"]) == (*expected, 2.5)


def test_a_preset_that_has_nothing_for_a_net_says_so():
    match = r"model\.dropout: the preset has no value for ecgcls\.models\.xresnet1d\.XResNet1D; set it yourself"
    with pytest.raises(ConfigError, match=match):
        check("+preset=small", "model=xresnet1d50")


def test_the_command_line_wins_over_the_preset():
    config = check("+preset=reference", "model=cnn2d", "trainer.max_epochs=2")
    assert config["trainer"]["max_epochs"] == 2


def test_a_saved_configuration_reads_back_without_hydra():
    config = resolve(compose("config", overrides=["data=synthetic", "scheduler=cosine"]))
    text = yaml.safe_dump(config)
    assert "${" not in text
    saved = check_arguments(run, yaml.safe_load(text))
    assert saved["scheduler"]["T_max"] == 10
    assert saved["output_dir"] == Path("outputs")


class Place(TypedDict):
    root: Path | None
    names: list[str]


class Choice(TypedDict):
    fold: int | Literal["all"]


def command(
    *, data: Place, intervals: Annotated[dict[str, Any], Bootstrap], title: Text | None, **which: Unpack[Choice]
) -> None:
    """A command that takes every kind of setting."""


GIVEN = {"data": {"root": "a", "names": ["b"]}, "intervals": {"level": None}, "title": None, "fold": "all"}


def test_the_signature_of_a_command_is_what_it_takes():
    arguments = check_arguments(command, GIVEN)
    assert arguments == GIVEN | {"data": {"root": Path("a"), "names": ["b"]}}
    assert list_texts(command) == ["data.root", "title"]


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"folds": 1}, r"folds: no such key; did you mean fold\?"),
        ({"fold": "some"}, r"fold must be a whole number or all, got 'some'"),
        ({"data": {"rot": "a", "names": []}}, r"data\.rot: no such setting of data; did you mean root\?"),
        ({"data": {"root": 3, "names": []}}, r"data\.root must be a path or null, got 3"),
        ({"intervals": {"level": "high"}}, r"intervals\.level must be a number or null, got 'high'"),
        ({"intervals": {"levels": 0.9}}, r"intervals\.levels: no such setting of intervals; did you mean level\?"),
        ({"title": 3}, r"title must be text or null, got 3"),
    ],
)
def test_what_a_command_does_not_take_is_named(changed, match):
    with pytest.raises(ConfigError, match=match):
        check_arguments(command, GIVEN | changed)


def test_a_setting_that_a_command_needs_is_named():
    with pytest.raises(ConfigError, match="fold: this setting is missing"):
        check_arguments(command, {key: value for key, value in GIVEN.items() if key != "fold"})
