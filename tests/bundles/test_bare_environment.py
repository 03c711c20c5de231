"""The script in a bundle, in an environment that has nothing but what it needs."""

import importlib
import json
import subprocess
import venv
from pathlib import Path

import pandas as pd
import pytest

import ecgcls
from ecgcls.bundles.directory import READER
from ecgcls.data.lead_sets import LEADS
from ecgcls.data.sample_tables import read_table
from ecgcls.data.signals import read_record
from ecgcls.jobs.export import export_bundle
from ecgcls.runs.configuration import read_single
from ecgcls.runs.directory import RunDirectory


@pytest.mark.slow
def test_a_bare_environment_gives_the_run_s_own_probabilities(configuration, synthetic_root, tmp_path):
    """An environment of numpy and onnxruntime alone, then with scipy: the folds' mean, and a run's predictions.csv."""
    run = read_single(RunDirectory(configuration / "fold_0"))
    export_bundle(run, tmp_path / "bundle")
    stored = pd.read_csv(run.runs[0].path / "predictions.csv").query("split == 'test'").set_index("ecg_id")
    files = pd.read_csv(synthetic_root / "ptbxl_database.csv").set_index("ecg_id")["filename_lr"]
    for ecg_id in stored.index:
        signal_mv = read_record(synthetic_root / files[ecg_id]).signal_uv / 1000
        (tmp_path / f"{ecg_id}.csv").write_text(format_table(signal_mv, rate_hz=100))
    bare = make_environment(tmp_path / "bare", "numpy", "onnxruntime")
    predicted = predict_apart(bare, tmp_path, *[f"{ecg_id}.csv" for ecg_id in stored.index])
    for one, (_, row) in zip(predicted, stored.iterrows(), strict=True):
        expected = {name: row[f"y_prob_{name}"] for name in one["probabilities"]}
        assert one["probabilities"] == pytest.approx(expected, abs=1e-5)
        assert one["decisions"] == {name: bool(row[f"y_pred_{name}"]) for name in expected}

    (example,) = predict_apart(bare, tmp_path, "bundle/example.csv")
    expected = json.loads((tmp_path / "bundle" / "example_expected.json").read_text())
    assert example["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    assert (example["decisions"], example["notes"]) == (expected["decisions"], [])

    (tmp_path / "fast.csv").write_text(format_table(signal_mv.repeat(5, axis=1), rate_hz=500))
    (refused,) = predict_apart(bare, tmp_path, "fast.csv")
    assert "to resample it, pip install scipy" in refused["error"]
    larger = make_environment(tmp_path / "larger", "numpy", "onnxruntime", "scipy")
    (found,) = predict_apart(larger, tmp_path, "fast.csv")
    recording = read_table(tmp_path / "fast.csv")
    bundle = ecgcls.load_bundle(tmp_path / "bundle")
    expected = bundle.predict(recording.signal_mv, sampling_rate_hz=500, lead_names=LEADS)
    assert found["probabilities"] == pytest.approx(expected.y_prob, abs=1e-5)


def make_environment(place, *packages):
    """Make an environment that has these packages of the present one, and no others; return its Python."""
    venv.create(place, symlinks=True)
    (site,) = place.glob("lib/python*/site-packages")
    for name in packages:
        package = Path(importlib.import_module(name).__file__).parent
        for each in (package, package.with_name(f"{name}.libs")):
            if each.exists():
                (site / each.name).symlink_to(each)
    return place / "bin" / "python"


def predict_apart(python, folder, *files):
    command = [python, folder / "bundle" / READER.name, *files, "--json"]
    done = subprocess.run(command, cwd=folder, env={}, capture_output=True, text=True, timeout=120)
    return [json.loads(line) for line in done.stdout.splitlines()]


def format_table(signal_mv, *, rate_hz):
    rows = [",".join(map(str, sample)) for sample in signal_mv.T.tolist()]
    return "\n".join([f"# sampling_rate_hz={rate_hz}", ",".join(LEADS), *rows, ""])
