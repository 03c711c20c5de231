import pytest

from ecgcls.command.hints import explain_choice, explain_key, list_parameters

KNOWN = [
    "data.batch_size", "data.root", "experiment", "fold", "model.width", "optimizer.lr", "output_dir",
    "trainer.devices", "trainer.max_epochs",
]  # fmt: skip
TARGETS = {"trainer": "pytorch_lightning.Trainer", "optimizer": "torch.optim.AdamW", "model": "no.such.Net"}


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("epochs", "did you mean trainer.max_epochs?"),
        ("lr", "did you mean optimizer.lr?"),
        ("trainer.lr", "did you mean optimizer.lr?"),
        ("batch_size", "did you mean data.batch_size?"),
        ("name", "did you mean experiment?"),
        ("gpus", "did you mean trainer.devices?"),
        ("num_workers", "there are no worker processes: batches come from mapped memory"),
        ("model.widht", "did you mean model.width?"),
        ("trainer.fast_devrun", "did you mean +trainer.fast_dev_run?"),
        ("optimizer.amsgrat", "did you mean +optimizer.amsgrad?"),
    ],
)
def test_the_words_of_the_field_lead_to_our_keys(key, hint):
    assert explain_key(key, KNOWN, TARGETS) == f"{key}: no such key; {hint}"


def test_what_needs_a_plus_is_told_with_its_value(monkeypatch):
    monkeypatch.setattr("sys.argv", ["run", "fold=0", "trainer.fast_dev_run=true"])
    assert explain_key("trainer.fast_dev_run", KNOWN, TARGETS).endswith("a plus adds it: +trainer.fast_dev_run=true")


def test_a_command_without_the_key_does_not_hint_at_it():
    assert (
        explain_key("lr", ["experiment", "output_dir"], {}) == "lr: no such key; expected one of experiment, output_dir"
    )


def test_a_choice_that_is_a_device_or_a_launcher_says_what_to_type():
    assert "type trainer.accelerator=gpu (" in explain_choice("trainer", "gpu", ["default"])
    assert "did you mean local," in explain_choice("hydra/launcher", "joblib", ["basic", "local"])
    assert explain_choice("optimizer", "sgd", ["adam"]) == "optimizer=sgd: no such choice (choices: adam)"


def test_parameters_are_read_through_the_imports_of_packages():
    assert list_parameters("torch.optim.AdamW")[:3] == ["params", "lr", "betas"]
    assert list_parameters("ecgcls.models.cnn1d.CNN1D")[:3] == ["n_leads", "n_samples", "n_classes"]
    assert list_parameters("no.such.Net") == list_parameters("torch.optim.Nothing") == []


def test_keys_of_runs_and_of_bundles_are_told_apart():
    assert "takes the run that a bundle was made from, run=PATH" in explain_key("bundle", ["run", "fold"], {})
    assert "takes a bundle alone, bundle=PATH" in explain_key("model", ["bundle", "host"], {})
    assert "did you mean" in explain_key("modle", ["model", "bundle"], {})
