import sys

import pytest
import yaml

from ecgcls.errors import ConfigError, DataError
from ecgcls.jobs.load import load_net, load_run
from ecgcls.jobs.trust import check_names, split_names, take_trusted
from ecgcls.runs.directory import RunDirectory

CNN1D = {"_target_": "ecgcls.models.cnn1d.CNN1D", "_partial_": True, "width": 32}


def take(group, node, **options):
    return take_trusted({group: node}, group, **options)


def test_what_ecgcls_saves_itself_may_be_built():
    assert take("model", CNN1D) == CNN1D
    task = {"_target_": "ecgcls.data.tasks.Task", "statements": "diagnostic", "classes": "diagnostic_class"}
    assert take("task", task) == task
    data = {"_target_": "ecgcls.data.ptbxl.PTBXL", "root": "x", "batch_size": 16}
    assert take("data", data) == data
    folds = {"_target_": "ecgcls.data.group_folds.GroupFolds", "column": "site", "min_records": 100}
    assert take("folds", folds) == folds


@pytest.mark.parametrize(
    ("group", "node", "match"),
    [
        (
            "model",
            {"_target_": "os.system", "command": "true"},
            r"model\._target_: os\.system is not built from a saved",
        ),
        ("model", {"_target_": "torch.utils.collect_env.run"}, r"torch\.utils\.collect_env\.run is not built"),
        ("model", {"_target_": "torch.hub.load"}, r"torch\.hub\.load is not built"),
        ("model", {"_target_": "ecgcls.data.download.download"}, r"ecgcls\.data\.download\.download is not built"),
        ("model", {"_target_": "ecgcls.models_of_others.X"}, r"ecgcls\.models_of_others\.X is not built"),
        # by way of what a module of the list has imported
        ("model", {"_target_": "ecgcls.models.cnn1d.torch.hub.load"}, r"there is no ecgcls\.models\.cnn1d\.torch"),
        ("model", {"_target_": "ecgcls.models.cnn1d._block"}, r"_block is no net"),
        ("model", {"_target_": "torch.nn.init.zeros_"}, r"zeros_ is no net"),
        ("model", {"_target_": "torch.nn.functional.torch"}, r"functional\.torch is no net"),
        ("model", {"_target_": "torch.nn.NoSuchNet"}, r"there is no torch\.nn\.NoSuchNet"),
        ("model", {"_target_": ["os.system"]}, r"model\._target_ must be the full name of a class, got \['os"),
        ("model", {"_target_": "os.system;"}, r"model\._target_ must be the full name"),
        ("model", {"width": 3}, r"model: the saved configuration does not name a class"),
        # nested, in an argument, in a list, in positional arguments
        (
            "model",
            CNN1D | {"width": {"_target_": "sympy.sympify", "a": "1"}},
            r"model\.width\._target_: sympy\.sympify",
        ),
        ("model", CNN1D | {"width": [{"a": {"_target_": "sympy.sympify"}}]}, r"model\.width\[0\]\.a\._target_: sympy"),
        ("model", {**CNN1D, "_args_": [{"_target_": "pandas.read_pickle"}]}, r"model\._args_\[0\]\._target_: pandas"),
        ("model", CNN1D | {"width": "a lot"}, r"model\.width must be a whole number, got 'a lot'"),
        ("model", CNN1D | {"width": [1, 2]}, r"model\.width must be a whole number, got \[1, 2\]"),
        ("data", {"_target_": "pandas.read_pickle"}, r"data\._target_: pandas\.read_pickle is not built"),
        ("data", {"_target_": "ecgcls.data.synthetic.write_synthetic"}, r"write_synthetic is not built"),
        ("data", {"_target_": "ecgcls.data.ptbxl.PTBXL", "root": 3}, r"data\.root must be a path, got 3"),
        ("task", {"_target_": "ecgcls.models.cnn1d.CNN1D"}, r"CNN1D is not built from a saved configuration, expected"),
        (
            "folds",
            {"_target_": "ecgcls.data.folds.FoldTable", "val": 1, "test": [[1]]},
            r"folds\.val must be .*, got 1",
        ),
    ],
)
def test_nothing_else_may(group, node, match):
    with pytest.raises(ConfigError, match=match) as refused:
        take(group, node)
    assert "\n" not in str(refused.value)


def test_a_package_is_imported_only_if_the_user_trusts_it(tmp_path, monkeypatch):
    (tmp_path / "theirlab.py").write_text("from torch import nn\n\n\nclass Net(nn.Identity):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": "theirlab.Net", "_partial_": True}
    for trust in ((), ("their",), ("theirlab.nets",)):
        with pytest.raises(ConfigError, match=r"theirlab\.Net is not built .* set trust=theirlab"):
            take("model", node, trust=trust)
    assert "theirlab" not in sys.modules
    assert take("model", node, trust=("theirlab",)) == node


def test_trusted_packages_are_named_as_they_are_typed():
    assert split_names(None) == ()
    assert split_names("mylab, ours.nets") == ("mylab", "ours.nets")
    assert check_names("mylab") == ("mylab",)
    with pytest.raises(ConfigError, match=r"trust must be names of packages, as in mylab,ours\.nets, got 'a b'"):
        split_names("a b")


def edit_config(run, change):
    config = yaml.safe_load((run.path / ".hydra" / "config.yaml").read_text())
    change(config)
    (run.path / ".hydra").unlink()
    run.write_config(yaml.safe_dump(config))
    run.seal()


def test_a_run_that_somebody_sends_runs_no_code(received, tmp_path):
    mark = tmp_path / "executed"
    call = {"_target_": "builtins.open", "file": str(mark), "mode": "w"}
    edit_config(received, lambda config: config["model"].update(width=call))
    with pytest.raises(ConfigError, match=r"model\.width\._target_: builtins\.open is not built from a saved"):
        load_run(received.path)
    assert not mark.exists()


def test_an_interpolation_is_never_resolved(received, monkeypatch):
    monkeypatch.setenv("SECRET", "32")
    edit_config(received, lambda config: config["model"].update(width="${oc.env:SECRET}"))
    with pytest.raises(DataError, match=r"model\.width: a saved configuration has no interpolation"):
        load_run(received.path)


def test_classes_and_leads_must_be_those_of_the_checkpoint(received):
    whole = received.read_info()
    for key, names in (("class_names", whole.data["class_names"]), ("lead_names", whole.data["lead_names"])):
        path = received.path / "run.json"
        path.unlink()
        info = whole.to_dict()
        info["data"] = info["data"] | {key: names[::-1]}
        received.write_info(type(whole).from_dict(info))  # the manifest agrees
        with pytest.raises(ConfigError, match=rf"best\.ckpt: .*it was trained with {key} \['"):
            load_net(received)


@pytest.fixture
def received(configuration, tmp_path):
    """A finished run in a folder of one's own."""
    path = tmp_path / "received" / "fold_0"
    path.mkdir(parents=True)
    for entry in (configuration / "fold_0").iterdir():
        (path / entry.name).symlink_to(entry)
    return RunDirectory(path)
