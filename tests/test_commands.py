"""The contract of every command: its help, its configuration, and how it refuses what is wrong."""

import inspect
import re
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import hydra
import pytest
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from ecgcls.command.arguments import read_arguments
from ecgcls.command.start import _CHOICES, resolve
from ecgcls.config import CONF_DIR, check_arguments, list_texts, read_parameters
from ecgcls.data.source import ModuleSettings
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluate import ExternalData
from ecgcls.evaluation.settings import EvaluationSettings
from ecgcls.identity import flatten
from tests.commands import HEAVY, MODULES, REPOSITORY, ecgcls, find_imported, succeed

COMMANDS = sorted(MODULES)
OF_ALL_GROUPS = "run"  # the command whose YAML file is config.yaml
UNKNOWN = {  # a misspelt key of each command, and what it is near to
    "compare": ("n_resample", "n_resamples"),
    "download": ("conections", "connections"),
    "evaluate": ("thresholds.rul", "thresholds.rule"),
    "export": ("waveform", "waveforms"),
    "interpret": ("data.rot", "data.root"),
    "labels": ("task.min_likelihod", "task.min_likelihood"),
    "predict": ("devise", "device"),
    "report": ("experment", "experiment"),
    "run": ("trainer.max_epoch", "trainer.max_epochs"),
    "runs": ("experimnt", "experiment"),
    "serve": ("max_upload", "max_upload_mb"),
}
WRONG_TYPE = {  # a setting, its wrong value, and what it must be
    "compare": ("n_resamples=many", "a whole number or null, got 'many'"),
    "download": ("sampling_rate_hz=250", "100 or 500 or both, got 250"),
    "evaluate": ("intervals.level=high", "a number or null, got 'high'"),
    "export": ("waveforms=perhaps", "true or false, got 'perhaps'"),
    "serve": ("port=web", "a whole number, got 'web'"),
    "interpret": ("fold=all", "a whole number or null, got 'all'"),
    "labels": ("data.batch_size=few", "a whole number, got 'few'"),
    "predict": ("fold=first", "a whole number or all or null, got 'first'"),
    "report": None,  # has texts alone
    "run": ("data.batch_size=abc", "a whole number, got 'abc'"),
    "runs": ("confirm=perhaps", "true or false, got 'perhaps'"),
}


def find_yaml(command):
    return CONF_DIR / f"{'config' if command == OF_ALL_GROUPS else command}.yaml"


def read_function(command):
    module = ".".join(MODULES[command].relative_to(REPOSITORY).with_suffix("").parts)
    return getattr(import_module(module), command)


@pytest.fixture(scope="module")
def composed():
    """The configuration of each command, without overrides."""
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return {command: resolve(compose(find_yaml(command).stem)) for command in COMMANDS}


def test_every_command_has_its_yaml_and_its_line_here():
    assert {find_yaml(command) for command in COMMANDS} == set(CONF_DIR.glob("*.yaml"))
    assert set(UNKNOWN) == set(WRONG_TYPE) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy_and_names_every_setting(tmp_path, command):
    done = succeed(tmp_path, "--help", command=command, is_new=True, flags=("-X", "importtime"))
    assert "hydra" in find_imported(done)
    assert not find_imported(done) & set(HEAVY)
    assert re.search(rf"^ +python -m ecgcls\.{command}\b", done.stdout, flags=re.MULTILINE)  # an example
    for key in read_parameters(read_function(command))[1]:
        assert re.search(rf"^ *{key}: ", f"{done.stdout}", flags=re.MULTILINE) or f"\n{key}:\n" in done.stdout, key
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_yaml_explains_every_setting(command):
    """A node of settings may leave it to its settings."""
    lines = find_yaml(command).read_text().partition("\nhydra:")[0].splitlines()
    settings = [line for line in lines if re.match(r" *\w+:", line) and line != "defaults:"]
    assert len(settings) >= 2
    assert [line for line in settings if "#" not in line and not line.endswith(":")] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_signature_and_the_yaml_have_the_same_settings(composed, command):
    function = read_function(command)
    assert inspect.getdoc(function)
    assert read_parameters(function)[1] == set(composed[command])
    assert check_arguments(function, composed[command]).keys() == composed[command].keys()


def test_evaluate_has_every_setting_of_an_evaluation(composed):
    for name, settings in asdict(EvaluationSettings()).items():
        given = composed["evaluate"][name]
        local = {"share", "seed"} if name == "calibration" else set()  # of another data set
        assert given is None or given.keys() - local == settings.keys()
        assert {value for _, value in flatten(given)} == {None}  # as the run itself was evaluated


@pytest.mark.parametrize("command", COMMANDS)
def test_every_misspelt_key_has_a_near_match(composed, command):
    function = read_function(command)
    for key in composed[command]:
        wrong = f"{key}x" if len(key) < 5 else key[:-2] + key[-1]
        near = rf"did you mean .*\b{key}\b" if len(key) > 1 else "expected one of a, b, .*"
        with pytest.raises(ConfigError, match=rf"^{wrong}: no such key; {near}") as refused:
            check_arguments(function, {**composed[command], wrong: None})
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_value_of_a_wrong_type_is_named(composed, command):
    function = read_function(command)
    for key, value in composed[command].items():
        dotted = [f"{key}.{name}" for name in value] if isinstance(value, dict) else [key]
        for each in dotted:
            _, is_inner, name = each.partition(".")
            if name.startswith("_"):
                continue
            wrong = {**value, name: [object]} if is_inner else [object]
            with pytest.raises(ConfigError, match=rf"^{re.escape(each)} must be ") as refused:
                check_arguments(function, {key: wrong} | {**composed[command], key: wrong})  # looks at it first
            assert "\n" not in str(refused.value)


def assert_refused(done, line):
    assert done.returncode == 1
    assert re.fullmatch(f"error: {line}\n", done.stderr), done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_key_or_type_is_one_line_and_leaves_nothing(tmp_path, command):
    wrong, near = UNKNOWN[command]
    done = ecgcls(tmp_path, f"{wrong}=1", command=command)
    assert_refused(done, re.escape(f"{wrong}: no such key; did you mean {near}?"))
    if WRONG_TYPE[command] is not None:
        setting, must_be = WRONG_TYPE[command]
        done = ecgcls(tmp_path, setting, command=command)
        assert_refused(done, re.escape(f"{setting.partition('=')[0]} must be {must_be}"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "arguments", "line"),
    [
        ("evaluate", ["split=train"], r"split must be test or val, got 'train'"),
        ("evaluate", ["data=chalenge"], r"data=chalenge: no such choice; did you mean challenge\?.*"),
        ("evaluate", ["data=challenge", "data.batch_size=4"], r"data\.batch_size: no such key.*"),
        ("evaluate", ["calibration.share=0.5"], r"calibration\.share has no effect without another data set; .*"),
        ("evaluate", ["model=cnn1d"], r"outputs/default: no such experiment"),
        ("evaluate", ["y_true=a.npy"], r"y_prob is missing: y_true, y_prob and class_names go together"),
        ("evaluate", ["thresholds.rule=f2"], r"thresholds\.rule must be .*, got 'f2'"),
        ("evaluate", ["intervals=5"], r"intervals must be a node of settings \(n_resamples, level, .*\), got 5"),
        ("evaluate", ["predictions=none.csv"], r"none\.csv: no such predictions file"),
        ("evaluate", ["run=last"], r"run=last: no finished run in outputs"),
        ("compare", ["a=here"], r"b=PATH is missing: a run's folder, .*"),
        ("compare", ["a=here", "b=there"], r"here: no such folder or file, and no outputs/here"),
        ("labels", ["task=rythm"], r"task=rythm: no such choice; did you mean rhythm\?.*"),
        ("labels", ["task.k=0"], r"task\.k must be at least 1, got 0"),
        ("labels", [], r"data\.root: there is no folder data/ptbxl;.*"),
        ("interpret", ["run_dir=no,where"], r"run_dir: there is no folder no,where"),
        ("interpret", ["n_summary=-1"], r"n_summary must be 0 or more, got -1"),
        ("interpret", ["input=a", "records=1"], r"input= and records= exclude each other: .*"),
        ("predict", ["model=cnn1d"], r"input=PATH is missing: .*"),
        ("report", ["experiment=a=b"], r"outputs/a=b: no such experiment"),
        ("download", ["timeout_s=0"], r"timeout_s must be above 0, got 0"),
        ("run", ["model=cnn2d", "model.imag=resize"], r"model\.imag: no such key; did you mean model\.image\?"),
        ("run", ["modle=cnn1d"], r"modle: no such key; did you mean model\?"),
        ("run", ["model=cnn3d"], r"model=cnn3d: no such choice; did you mean .*cnn1d.*"),
        ("run", ["folds=7"], r"a group's choice is a name, as in folds=cv5.*"),
        ("run", ["fold"], r"'fold': expected key=value, such as fold=0"),
        ("run", ["fold=7"], r"fold must be in 0\.\.4, got 7"),
        ("run", ["experiment=../x"], r"experiment must be a name of letters, .*, got '\.\./x'"),
        ("run", ["data.root=nowhere"], r"data\.root: there is no folder nowhere; get PTB-XL with .* data=synthetic"),
        ("run", ["logger.csv=5"], r"logger\.csv must be a node with a _target_, got 5; ~logger\.csv leaves it out"),
        ("run", ["data=synthetic", "data.n_records=7"], r"data\.n_records must be in 50\.\.21799, got 7"),
        ("run", ["-m", "fold=0,1", "hydra.sweep.dir=here"], r"hydra\.sweep\.dir: each run of a sweep has a folder .*"),
        ("run", ["-m", "fold=0,1", "hydra.sweep.subdir=x"], r"hydra\.sweep\.subdir: each run of a sweep has .*"),
        ("run", ["-m", "fold=0,1", "hydra.run.dir=here"], r"hydra\.run\.dir: .* set output_dir=PATH or experiment=.*"),
        ("run", ["hydra.sweep.dir=here"], r"hydra\.sweep\.dir: each run of a sweep has a folder .*"),
        ("run", ["hydra.run.dir="], r"hydra\.run\.dir= is empty, expected a path; .*"),
        ("run", ["fold=0,1"], r"fold=0,1: to sweep over several values, add -m; a list is written fold=\[a,b\]"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, command, arguments, line):
    assert_refused(ecgcls(tmp_path, *arguments, command=command), line)
    assert list(tmp_path.iterdir()) == []


OWN_DATA = {"root": None, "missing_records": "error", "shorter": "refuse", "known_records": "drop", "store_dir": None}
NO_EFFECT = [
    ({"class_names": "A"}, "class_names has no effect without y_true= and y_prob="),
    ({"values": "logits"}, "values has no effect without y_true= and y_prob="),
    ({"device": "cuda"}, "device has no effect without data.root="),
    (
        {"data": OWN_DATA | {"missing_records": "drop"}},
        "data.missing_records has no effect ",
    ),
    (
        {"data": OWN_DATA | {"known_records": "error"}},
        "data.known_records has no effect ",
    ),
    ({"predictions": "p.csv", "model": "cnn1d"}, "model has no effect with predictions=, which needs no run"),
    ({"predictions": "p.csv", "run": "last"}, "run has no effect with predictions=, which needs no run"),
    ({"predictions": "p.csv", "y_true": "t.npy"}, "y_true has no effect with predictions="),
    ({"predictions": "p.csv", "device": "cuda"}, "device has no effect with predictions="),
    ({"y_true": "t.npy", "y_prob": "p.npy", "split": "val"}, "split=val has no effect on arrays"),
]


@pytest.mark.parametrize(("settings", "message"), NO_EFFECT)
def test_evaluate_refuses_what_would_have_no_effect(composed, settings, message):
    function = read_function("evaluate")
    with pytest.raises(ConfigError, match=re.escape(message)):
        function(**check_arguments(function, composed["evaluate"] | settings))


@pytest.mark.parametrize("settings", [{"leads": "challenge"}, {"unfinished": True}])
def test_evaluate_takes_a_store_where_the_nets_predict_again(composed, tmp_path, settings):
    function = read_function("evaluate")
    data = {"data": OWN_DATA | {"store_dir": str(tmp_path)}, "run": str(tmp_path)}
    with pytest.raises((ConfigError, DataError), match="run") as refused:
        function(**check_arguments(function, composed["evaluate"] | settings | data))
    assert "store_dir" not in str(refused.value)


def test_evaluate_knows_or_hides_each_setting_that_all_data_sets_share():
    known, hidden = ExternalData.__annotations__.keys(), set(_CHOICES["evaluate"]["data"]) - {"sampling_rate_hz"}
    assert ModuleSettings.__annotations__.keys() - known == hidden


def test_settings_without_effect_are_refused_by_the_other_commands(composed):
    for command, settings, message in [
        ("download", {"archive": "x.zip", "connections": 3}, "have no effect with archive="),
        ("runs", {"confirm": True}, "confirm=true has no effect without delete=unfinished"),
        ("interpret", {"method": "saliency", "layer": "a.b"}, "layer=a.b has no effect without method=grad_cam"),
        ("interpret", {"input": "a.hea", "data": {"root": "x"}}, "data.root has no effect with input="),
    ]:
        function = read_function(command)
        with pytest.raises(ConfigError, match=message):
            function(**check_arguments(function, composed[command] | settings))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_path_arrives_as_it_was_typed(composed, command):
    keys = [key for key, _ in flatten(composed[command]) if re.search(r"(^|[._])(root|dir|output|run|bundle)$", key)]
    assert keys
    for text in ("C:\\ecg", "データ", "a,b", "x=1"):
        typed = read_arguments([f"{key}={text}" for key in keys], list_texts(read_function(command)))
        assert [each.value() for each in OverridesParser.create().parse_overrides(typed)] == [text] * len(keys)


def test_missing_data_are_told_before_anything_heavy_is_imported(tmp_path):
    done = ecgcls(tmp_path, "data.root=~/nowhere", is_new=True, flags=("-X", "importtime"))
    assert done.stderr.splitlines()[-1].startswith(f"error: data.root: there is no folder {Path.home()}/nowhere;")
    assert not find_imported(done) & {"torch", "pytorch_lightning", "torchmetrics", "sklearn", "scipy", "matplotlib"}


def test_the_traceback_of_a_refusal_is_shown_on_request(tmp_path):
    done = ecgcls(tmp_path, "data.batch_size=abc", environment={"HYDRA_FULL_ERROR": "1"})
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "data.batch_size must be a whole number, got 'abc'" in done.stderr


def test_the_composed_configuration_of_a_run_is_printed_without_heavy_imports(tmp_path):
    done = succeed(tmp_path, "--cfg=job", is_new=True, flags=("-X", "importtime"))
    assert not find_imported(done) & set(HEAVY)
    assert OmegaConf.create(done.stdout).trainer.max_epochs == 10
    assert list(tmp_path.iterdir()) == []
