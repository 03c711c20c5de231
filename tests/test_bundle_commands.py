"""A bundle in place of a run: what `predict` and `evaluate` say of it, without torch, and what they refuse."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import wfdb
from omegaconf import OmegaConf

from ecgcls.config import CONF_DIR, check_arguments
from ecgcls.data.synthetic import write_synthetic
from ecgcls.errors import ConfigError
from ecgcls.evaluate import evaluate
from ecgcls.export import export
from ecgcls.jobs.external import predict_data_set
from ecgcls.jobs.external_notes import format_notes
from ecgcls.jobs.load_bundle import load_bundle
from ecgcls.jobs.tested import load_tested_bundle
from ecgcls.predict import predict
from tests.bundles.hand_made import N_SAMPLES, make_metadata, write_bundle
from tests.commands import REPOSITORY, ecgcls, find_imported, succeed

TASK = {"_target_": "ecgcls.data.tasks.Task", "statements": "diagnostic", "classes": "diagnostic_class"}
ABSENT = ("torch", "pytorch_lightning", "lightning_fabric", "torchmetrics", "captum")
LIGHT = ("sklearn", "statsmodels", "matplotlib", "plotly", "scipy.stats", "scipy.signal", "onnx", "wfdb")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The two classes of the hand-made graph: the mean of all samples is the logit of MI, its opposite that of CD."""
    metadata = make_metadata()
    metadata["task"] = TASK
    metadata["run"]["data"]["absent_classes"] = []
    return write_bundle(tmp_path_factory.mktemp("bundles") / "mean", metadata=metadata)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ecgs") / "ecgs"
    write_synthetic(folder, n_records=50, seed=5, sampling_rate_hz=100)
    return folder


def block(folder):
    """Write packages that fail to be imported; return the environment in which they come first."""
    for name in ABSENT:
        (folder / f"{name}.py").write_text(f"raise RuntimeError('{name} was imported')\n")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}"}


def test_predict_with_a_bundle_needs_no_torch_and_imports_little(bundle, root, tmp_path):
    record = next((root / "records100").rglob("*.hea"))
    before = {path: path.read_bytes() for path in bundle.iterdir()}
    done = ecgcls(
        tmp_path, f"bundle={bundle}", f"input={record}", "error_rate=0.4", command="predict", is_new=True,
        flags=("-X", "importtime"), environment=block(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert not {*ABSENT, *LIGHT} & find_imported(done)
    (folder,) = (tmp_path / "outputs" / "bundles").glob("mean-*/predict/*")
    assert done.stdout.splitlines()[-1] == str(folder.relative_to(tmp_path))
    written = json.loads((folder / "predictions.json").read_text())
    signal_mv = wfdb.rdrecord(str(record.with_suffix(""))).p_signal
    logits = signal_mv.reshape(-1, N_SAMPLES, 12).mean(axis=(1, 2))
    assert written["records"][0]["y_prob"]["MI"] == pytest.approx(np.mean(1 / (1 + np.exp(-logits))), abs=1e-5)
    assert set(written["records"][0]["y_set"]) == {"MI", "CD"}
    assert {path: path.read_bytes() for path in bundle.iterdir()} == before


def test_evaluate_scores_a_bundle_on_other_data_by_its_own_task(bundle, root, tmp_path, caplog):
    data = {"root": root, "store_dir": tmp_path}
    found = predict_data_set(load_tested_bundle(bundle), data=data, split="test", overrides={}, error_rate=0.4)
    database = pd.read_csv(root / "ptbxl_database.csv").set_index("ecg_id")
    superclass = pd.read_csv(root / "scp_statements.csv", index_col=0)["diagnostic_class"]
    for column, name in enumerate(("MI", "CD")):
        own = [name in {superclass.get(code) for code in eval(codes)} for codes in database["scp_codes"]]
        truth = pd.Series(own, index=database.index)
        assert found.predictions.y_true[:, column].tolist() == truth[found.predictions.ecg_id].astype(int).tolist()
    first = [
        wfdb.rdrecord(str(root / name), sampto=N_SAMPLES).p_signal.mean()
        for name in database.loc[found.predictions.ecg_id, "filename_lr"]
    ]
    np.testing.assert_allclose(found.predictions.y_logit[:, 0], first, atol=1e-5)
    assert found.threshold == [0.5, 0.25]
    assert found.certainty.sets.shape == found.predictions.y_prob.shape
    assert found.source["bundle"] == [str(bundle)] and "runs" not in found.source
    assert "cannot be told; export with waveforms=true" in caplog.text
    assert "case_mix.csv" not in found.tables and "case mix cannot be compared" in format_notes(found)
    local = predict_data_set(
        load_tested_bundle(bundle), data=data, split="test", overrides={"calibration": {"method": "platt"}}, local={}
    )
    assert 0 < len(local.predictions) < len(found.predictions)


def test_scores_on_the_very_signals_of_the_training_say_so(bundle, root, tmp_path, caplog):
    data = {"root": root, "store_dir": tmp_path}
    before = predict_data_set(load_tested_bundle(bundle), data=data, split="test", overrides={})
    assert "training records" not in before.title and not before.source["includes_training_records"]
    metadata = json.loads((bundle / "metadata.json").read_text())
    metadata["run"]["data"]["fingerprint"] = {"signals": before.source["signals_sha256"]}
    own = load_tested_bundle(write_bundle(tmp_path / "b", metadata=metadata))
    found = predict_data_set(own, data=data, split="test", overrides={})
    assert found.title.endswith("on ecgs (simulated ECGs) (includes the nets' training records)")
    assert found.source["includes_training_records"] and "these are the very signals" in caplog.text


def test_a_task_of_a_bundle_that_is_not_known_is_not_built(bundle, tmp_path):
    metadata = json.loads((bundle / "metadata.json").read_text())
    metadata["task"] = {"_target_": "os.system", "command": f"touch {tmp_path}/hit"}
    harmful = write_bundle(tmp_path / "b", metadata=metadata)
    with pytest.raises(ConfigError, match=r"task\._target_: os\.system is not built from a saved configuration"):
        load_tested_bundle(harmful)
    assert not (tmp_path / "hit").exists()


def call(command, **settings):
    """Call a command as what is typed has it called, with the other settings as they are by default."""
    node = OmegaConf.to_container(OmegaConf.load(CONF_DIR / f"{command.__name__}.yaml"))
    node.pop("hydra")
    node.pop("defaults", None)
    for key, value in settings.items():
        if key == "root":
            node["data"] = {**node["data"], "root": value}
        else:
            node[key] = value
    return command(**check_arguments(command, node))


@pytest.mark.parametrize(
    ("command", "settings", "message"),
    [
        (predict, {"model": "cnn1d"}, "^model has no effect with bundle="),
        (predict, {"fold": "all"}, "^fold has no effect with bundle="),
        (predict, {"run_dir": "a"}, "^run_dir has no effect with bundle="),
        (predict, {"trust": "mylab"}, "^trust has no effect with bundle="),
        (predict, {"device": "tpu"}, "^device=tpu: the installed onnxruntime computes on cpu"),
        (evaluate, {}, r"^bundle= has no stored predictions: data\.root=PATH is missing"),
        (evaluate, {"root": "ecgs", "run": "last"}, "^run has no effect with bundle="),
        (evaluate, {"root": "ecgs", "split": "val"}, "^split has no effect with bundle="),
        (evaluate, {"leads": "challenge"}, "^leads has no effect with bundle="),
        (evaluate, {"predictions": "a.csv"}, "^predictions has no effect with bundle="),
        (evaluate, {"root": "ecgs", "unfinished": True}, "^unfinished(=true)? "),
    ],
)
def test_what_has_no_effect_on_a_bundle_is_refused(bundle, command, settings, message):
    given = {"input": "a.hea"} if command is predict else {}
    with pytest.raises(ConfigError, match=message):
        call(command, bundle=str(bundle), **given, **settings)


def test_a_bundle_is_shown_in_a_line_and_says_that_it_cannot_explain(bundle):
    loaded = load_bundle(bundle)
    assert len(repr(loaded)) < 300 + len(str(bundle)) and "2 classes" in repr(loaded)
    assert len(repr(loaded.bundle.info)) < 200 + len(str(bundle))
    with pytest.raises(ConfigError, match=r"a bundle has no gradients.* ecgcls\.load_run"):
        loaded.explain(np.zeros((12, 1000)), sampling_rate_hz=100, lead_names=loaded.lead_names)


def test_predict_marks_and_names_an_ecg_that_is_not_to_be_relied_on(bundle, root, tmp_path, capsys):
    record = next((root / "records100").rglob("*.hea")).with_suffix("")
    whole = wfdb.rdrecord(str(record))
    flat = whole.p_signal.copy()
    flat[:, 6:] = 0
    for name, signal_mv in {"good": whole.p_signal, "flat": flat}.items():
        wfdb.wrsamp(
            name, fs=whole.fs, units=whole.units, sig_name=whole.sig_name, p_signal=signal_mv, fmt=["16"] * 12,
            write_dir=str(tmp_path),
        )  # fmt: skip
    call(predict, bundle=str(bundle), input=str(tmp_path), output=str(tmp_path / "out"))
    rows = capsys.readouterr().out.splitlines()
    marked = [row.split()[1] for row in rows if row.lstrip().startswith("! ") and "not to be relied" not in row]
    assert marked == [str(tmp_path / "flat")]
    assert sum("V1, V2, V3, V4, V5, V6 are flat" in row and "/flat)" in row for row in rows) == 1


@pytest.mark.parametrize("settings", [{"model": "cnn1d"}, {"output": "b"}, {"waveforms": True}])
def test_what_has_no_effect_on_a_check_is_refused(bundle, settings):
    (name,) = settings
    with pytest.raises(ConfigError, match=f"^{name} has no effect with check="):
        call(export, check=str(bundle), **settings)


@pytest.mark.parametrize(("asked", "said", "n_threads"), [(None, "2,1", 2), (None, "", 0), (None, "x", 0), (3, "2", 3)])
def test_a_graph_has_the_threads_that_are_asked_for(bundle, monkeypatch, asked, said, n_threads):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert load_bundle(bundle, n_threads=asked).session.get_session_options().intra_op_num_threads == n_threads
    with pytest.raises(ConfigError, match=r"n_threads must be 1 or more, or null: .*, got -1"):
        load_bundle(bundle, n_threads=-1)


@pytest.mark.slow
def test_evaluate_writes_the_results_of_a_bundle_beside_the_runs(bundle, root, tmp_path):
    done = succeed(
        tmp_path, f"bundle={bundle}", f"data.root={root}", f"data.store_dir={tmp_path}/store", "error_rate=0.4",
        command="evaluate", environment=block(tmp_path), is_new=True,
    )  # fmt: skip
    (folder,) = (tmp_path / "outputs" / "bundles").glob("mean-*/evaluate/test-ecgs-*")
    assert done.stdout.splitlines()[-1] == str(folder.relative_to(tmp_path))
    assert {"metrics.json", "predictions.csv", "sets.csv", "crosswalk.csv"} <= {path.name for path in folder.iterdir()}
