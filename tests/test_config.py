import itertools

import hydra
import pytest
from hydra import compose
from omegaconf import OmegaConf

from ecgcls.config import CONF_DIR
from ecgcls.errors import ConfigError

CHOICES = [
    f"{'+' if path.parent.name == 'preset' else ''}{path.parent.name}={path.stem}"
    for path in sorted(CONF_DIR.glob("*/*.yaml"))
]


@pytest.fixture(autouse=True)
def config_dir():
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        yield


def name(*overrides):
    """Name a configuration as a job with these overrides would."""
    job = compose("config", overrides=list(overrides), return_hydra_config=True)
    plain = compose("config", return_hydra_config=True)
    choices, default_choices = (
        {group: choice for group, choice in config.hydra.runtime.choices.items() if not group.startswith("hydra/")}
        for config in (job, plain)
    )
    same_choices = [f"{'' if g in default_choices else '+'}{g}={c}" for g, c in choices.items()]
    return name_variant(
        compose("config", overrides=list(overrides)),
        choices=choices,
        default_config=compose("config", overrides=same_choices),
        default_choices=default_choices,
    )


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_every_group_is_a_valid_configuration(choice):
    check(compose("config", overrides=[choice]))


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("+trainer.max_epoch=3", r"trainer\.max_epoch: no such setting of pytorch_lightning\.Trainer; .*max_epochs"),
        ("+model.dropuot=0.3", r"model\.dropuot: no such setting of .*; did you mean dropout\?"),
        ("data.batch_size=abc", r"data\.batch_size must be a whole number, got 'abc'"),
        ("data.batch_size=true", r"data\.batch_size must be a whole number, got True"),
        ("data.root=3", r"data\.root must be a path, got 3"),
        ("data.sampling_rate_hz=250", r"data\.sampling_rate_hz must be 100 or 500, got 250"),
        ("data.missing_records=ignore", r"data\.missing_records must be error or drop, got 'ignore'"),
        ("optimizer.lr=fast", r"optimizer\.lr must be a number.*, got 'fast'"),
        ("trainer.precision=15", r"trainer\.precision must be .*bf16-mixed.*, got 15"),
        ("model.dropout=null", r"model\.dropout must be a number, got None"),
        ("model._target_=ecgcls.models.cnn1d.CNN3D", r"model\._target_: cannot import ecgcls\.models\.cnn1d\.CNN3D"),
        ("model._target_=3", r"model\._target_ must be a class or function, by its full name, got 3"),
        ("~trainer.max_epochs", None),
        ("~data.root", r"data\.root: ecgcls\.data\.ptbxl\.PTBXL needs this setting"),
        ("+data.missing_record=drop", r"data\.missing_record: no such setting of .*did you mean missing_records\?"),
        ("~callbacks.checkpoint.monitor", None),
        ("~task.statements", r"task\.statements: ecgcls\.data\.tasks\.Task needs this setting"),
        ("~model", r"model: expected a choice of this group, got None"),
        ("+modle=3", r"modle: no such key; did you mean model\?"),
        ("fold=7", r"fold must be in 0\.\.4, got 7"),
        ("fold=-1", r"fold must be in 0\.\.4, got -1"),
        ("fold=a", r"fold must be a whole number, got 'a'"),
        ("seed=1.5", r"seed must be a whole number, got 1\.5"),
        ("overwrite=maybe", r"overwrite must be true or false, got 'maybe'"),
        ("experiment=../x", r"experiment must be a name"),
        ("task.classes=statements", r"task\.classes must be statement or diagnostic_subclass or diagnostic_class"),
        ("task.k=0", r"task\.k must be at least 1, got 0"),
        ("folds.test=[[1,2]]", r"must list the same number of folds, got 5 and 1"),
        ("folds.test=[[11],[1],[2],[4],[6]]", r"a strat_fold must be in 1\.\.10, got 11"),
        ("folds.test=[[3],[1],[2],[4],[6]]", r"distinct strat_folds for val and test"),
        ("scheduler.factor=${nothing}", r"scheduler\.factor: .*nothing"),
    ],
)
def test_a_wrong_key_or_value_is_named(override, match):
    config = compose("config", overrides=[override])
    if match is None:  # a setting with a default may be left out
        check(config)
        return
    with pytest.raises(ConfigError, match=match) as refused:
        check(config)
    assert "\n" not in str(refused.value)


def test_a_fused_step_with_clipping_and_scaled_gradients_is_refused():
    both = ["trainer.gradient_clip_val=1.0", "trainer.precision=16-mixed"]
    with pytest.raises(ConfigError, match=r"optimizer.fused=true cannot clip .* set optimizer.fused=false"):
        check(compose("config", overrides=both))
    for allowed in (both[:1], both[1:], [*both, "optimizer.fused=false"]):
        check(compose("config", overrides=allowed))


def test_official_split_has_one_fold():
    with pytest.raises(ConfigError, match="fold must be 0, got 1"):
        check(compose("config", overrides=["folds=official", "fold=1"]))


@pytest.mark.parametrize(("model", "max_epochs"), [("cnn1d", 10), ("cnn2d", 30)])
def test_reference_preset_is_the_published_comparison(model, max_epochs):
    config = compose("config", overrides=["+preset=reference", f"model={model}"])
    check(config)
    assert (config.trainer.max_epochs, config.data.batch_size, len(config.folds.test)) == (max_epochs, 16, 5)
    assert list(config.task.class_order) == ["NORM", "MI", "STTC", "CD", "HYP"]


def test_the_command_line_wins_over_the_preset():
    config = compose("config", overrides=["+preset=reference", "model=cnn2d", "trainer.max_epochs=2"])
    assert config.trainer.max_epochs == 2


def test_the_default_configuration_has_no_variant():
    assert name() == name("fold=3", "model=cnn2d", "experiment=other", "overwrite=true") == ""


def test_a_default_that_is_spelt_out_changes_no_name():
    assert name("trainer.max_epochs=10", "data.batch_size=16", "optimizer=adamw") == ""


def test_a_variant_says_what_differs_in_one_order():
    expected = "task=rhythm,data.batch_size=32,trainer.max_epochs=30"
    assert name("trainer.max_epochs=30", "task=rhythm", "data.batch_size=32") == expected
    assert name("data.batch_size=32", "trainer.max_epochs=30", "task=rhythm") == expected


def test_no_two_configurations_share_a_name():
    settings = [
        (), ("seed=1",), ("trainer.max_epochs=30",), ("optimizer.lr=3e-4",), ("optimizer.lr=1e-4",),
        ("optimizer=adam",), ("optimizer=adam", "optimizer.lr=3e-4"), ("task=top5",), ("task=top5", "task.k=7"),
        ("data=synthetic",), ("data=synthetic", "data.n_records=60"), ("data.root=/a/ptbxl",),
        ("data.root=/b/ptbxl",), ("folds.val=[[3],[5],[7],[9],[2]]",), ("folds=official",),
        ("+trainer.limit_train_batches=1",), ("+trainer.limit_train_batches=1.0",), ("callbacks=early_stopping",),
        ("~callbacks.checkpoint.mode",), ("scheduler=cosine",), ("model.dropout=0.1",), ("+preset=reference",),
        ("data.store_dir=/x", "seed=2"),
    ]  # fmt: skip
    names = {name(*overrides): overrides for overrides in settings}
    assert len(names) == len(settings)
    for variant in names:
        assert "/" not in variant
        assert len(variant) <= 150


def test_long_names_stay_short_and_distinct():
    many = [f"+trainer.{key}={value}" for key, value in (("max_steps", 7), ("min_epochs", 2), ("min_steps", 1))]
    many += ["data.batch_size=32", "optimizer.lr=0.00012345", "optimizer.weight_decay=0.00054321", "seed=3"]
    first, second = name(*many, "trainer.max_epochs=98"), name(*many, "trainer.max_epochs=99")
    assert first != second
    assert len(first) <= 150 and len(second) <= 150


def test_identity_leaves_out_where_things_lie():
    here, there = (
        identify(compose("config", overrides=[f"output_dir={folder}", f"data.store_dir={folder}", "overwrite=true"]))
        for folder in ("/a", "/b")
    )
    assert here == there
    for one, other in itertools.combinations(["seed=1", "seed=2", "fold=1", "optimizer.lr=1"], 2):
        assert identify(compose("config", overrides=[one])) != identify(compose("config", overrides=[other]))


def test_a_saved_configuration_reads_back_without_hydra():
    config = compose("config", overrides=["data=synthetic", "scheduler=cosine"])
    text = OmegaConf.to_yaml(config, resolve=True)
    assert "${" not in text
    assert OmegaConf.create(text).scheduler.T_max == 10
