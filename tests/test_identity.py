import functools
import itertools

import hydra
import pytest
from hydra import compose
from omegaconf import OmegaConf

from ecgcls.command.start import resolve
from ecgcls.config import CONF_DIR
from ecgcls.identity import flatten, identify, name_variant, suggest, suggest_key


@pytest.fixture(scope="module", autouse=True)
def config_dir():
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        yield


@functools.cache
def compose_plain(*overrides):
    """Compose a configuration with its interpolations; return it with the choice made in each group."""
    config = compose("config", overrides=list(overrides), return_hydra_config=True)
    choices = {
        group: choice for group, choice in config.hydra.runtime.choices.items() if not group.startswith("hydra/")
    }
    plain = OmegaConf.to_container(config, resolve=False)
    del plain["hydra"]
    return plain, choices


def name(*overrides):
    """Name a configuration as a job with these overrides would."""
    config, choices = compose_plain(*overrides)
    _, default_choices = compose_plain()
    differing = {group: choice for group, choice in choices.items() if choice != default_choices.get(group)}
    default_config, _ = compose_plain(*(f"{'' if g in default_choices else '+'}{g}={c}" for g, c in differing.items()))
    return name_variant(config, choices=choices, default_config=default_config, default_choices=default_choices)


def identity(*overrides):
    return identify(resolve(compose("config", overrides=list(overrides))))


def test_the_default_configuration_has_no_variant():
    assert name() == name("fold=3", "model=cnn2d", "experiment=other", "overwrite=true") == ""


def test_a_default_that_is_spelled_out_changes_no_name():
    assert name("trainer.max_epochs=10", "data.batch_size=16", "optimizer=adamw", "model.metadata=null") == ""


def test_a_net_of_the_signal_alone_is_what_it_was_before_there_was_metadata():
    assert not any("metadata" in key for key in identity())
    assert identity("model.metadata=null") == identity("~model.metadata") == identity()
    assert identity("model.metadata=[age]")["model.metadata"] == ["age"]


def test_the_same_leads_have_one_name_however_they_are_typed():
    assert name("data.leads=[II,i]") == name("data.leads=challenge2") == name("data.leads=I+II") == "data.leads=I+II"
    assert name("data.leads=all") == ""
    own = identify(compose_plain("data.leads=[ii,I]")[0])
    assert own["data.leads"] == "I+II" and "data.leads" not in identify(compose_plain()[0])


def test_a_run_without_augmentation_is_what_it_was_before_there_was_any():
    assert not any(key.startswith("augment") for key in identify(compose_plain()[0]))
    assert name("augment=lead_dropout") == "augment=lead_dropout"
    assert identify(compose_plain("augment=lead_dropout")[0])["augment.lead_dropout.probability"] == 0.5


def test_a_run_without_label_smoothing_is_what_it_was_before_there_was_any():
    assert "loss.label_smoothing" not in identify(compose_plain()[0])
    assert name("loss.label_smoothing=0.1") == "loss.label_smoothing=0.1"


def test_a_run_of_all_training_records_is_what_it_was_before_there_was_a_number():
    assert not any("n_train" in key for key in identity())
    assert identify({"data": {"n_train": None, "n_train_seed": 0, "copies": "drop"}}) == {"data.copies": "drop"}
    assert name("data.n_train=100") == "data.n_train=100"
    assert name("data.n_train=100", "data.n_train_seed=2") == "data.n_train=100,data.n_train_seed=2"


def test_a_variant_says_what_differs_in_one_order():
    expected = "task=rhythm,data.batch_size=32,trainer.max_epochs=30"
    assert name("trainer.max_epochs=30", "task=rhythm", "data.batch_size=32") == expected
    assert name("data.batch_size=32", "trainer.max_epochs=30", "task=rhythm") == expected


@pytest.mark.slow
def test_no_two_configurations_share_a_name():
    settings = [
        (), ("seed=1",), ("trainer.max_epochs=30",), ("optimizer.lr=3e-4",), ("optimizer.lr=1e-4",),
        ("optimizer=adam",), ("optimizer=adam", "optimizer.lr=3e-4"), ("task=top5",), ("task=top5", "task.k=7"),
        ("data=synthetic",), ("data=synthetic", "data.n_records=60"), ("folds.val=[[3],[5],[7],[9],[2]]",),
        ("folds.val=[[3],[5],[7],[9],[4]]",), ("folds=official",), ("evaluation.intervals.level=0.9",),
        ("+trainer.limit_train_batches=1",), ("+trainer.limit_train_batches=1.0",), ("callbacks=early_stopping",),
        ("~callbacks.checkpoint.mode",), ("scheduler=cosine",), ("model.dropout=0.1",), ("+preset=reference",),
        ("data.store_dir=/x", "seed=2"), ("model.metadata=[age]",), ("model.metadata=[age,sex]",),
        ("data.n_train=100",), ("data.n_train=100", "data.n_train_seed=1"),
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


def test_where_things_are_is_no_part_of_an_identity_or_a_name():
    places = ["output_dir=/a", "data.store_dir=/a", "data.root=/a", "overwrite=true", "logger=none", "experiment=a"]
    assert identity(*places) == identity()
    assert name(*places) == ""
    for one, other in itertools.combinations(["seed=1", "seed=2", "fold=1", "optimizer.lr=1"], 2):
        assert identity(one) != identity(other)


def test_leaves_are_listed_by_their_dotted_keys():
    assert dict(flatten({"a": {"b": 1, "c": {}}, "d": [{"e": 2}]})) == {"a.b": 1, "a.c": {}, "d": [{"e": 2}]}


def test_near_matches_are_suggested_or_a_short_list():
    assert suggest("modle", ["model", "fold"]) == "; did you mean model?"
    assert suggest("x", ["model", "fold"]) == "; expected one of model, fold"
    assert suggest("x", []) == ""
    known = ["trainer.max_epochs", "data.max_epoch", "data.root"]
    assert suggest_key("trainer.max_epoch", known) == "; did you mean trainer.max_epochs?"
    assert suggest_key("dat.root", known) == "; did you mean data.root?"
