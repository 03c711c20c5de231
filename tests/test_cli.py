"""The command line as a user types it."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from tests.commands import QUICK, REPOSITORY, ecgcls, find_imported, succeed, write_third_party

IN_PROCESS = "hydra/launcher=basic"  # the jobs of a sweep one after the other, without processes of their own


@pytest.mark.slow
def test_a_run_is_scored_again_to_the_same_numbers(work, configuration):
    done = succeed(work, "experiment=sweep", "model=cnn1d", "fold=0", command="evaluate")
    output = work / done.stdout.strip().splitlines()[-1]
    again, before = (json.loads((path / "metrics.json").read_text()) for path in (output, configuration / "fold_0"))
    before["test"]["overall"].pop("loss")  # the training loss needs the training's class weights
    assert again["test"] == before["test"]
    names = {path.name for path in (output / "figures").iterdir()}
    assert {f"confusion_matrix_{name}.png" for name in before["test"]["by_class"]} < names
    assert {"pr_curves.png", "roc_curves.png", "reliability_curves.png"} < names
    ecg_ids = pd.read_csv(output / "predictions.csv")["ecg_id"].tolist()[:3]
    few = succeed(work, "experiment=sweep", "model=cnn1d", f"records={','.join(map(str, ecg_ids))}", command="evaluate")
    chosen = work / few.stdout.strip().splitlines()[-1]
    assert pd.read_csv(chosen / "predictions.csv")["ecg_id"].tolist() == ecg_ids
    assert chosen != output


def test_predictions_of_whatever_origin_are_scored(tmp_path):
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, 2, size=(40, 2))
    y_prob = np.clip(0.5 * y_true + 0.5 * rng.random((40, 2)), 0, 1)
    np.save(tmp_path / "t.npy", y_true)
    np.save(tmp_path / "p.npy", y_prob)
    columns = {f"y_true_{name}": y_true[:, n] for n, name in enumerate("AB")}
    columns |= {f"y_prob_{name}": y_prob[:, n] for n, name in enumerate("AB")}
    pd.DataFrame(columns).to_csv(tmp_path / "mine.csv", index=False)
    written = []
    for arguments in (["predictions=mine.csv"], ["y_true=t.npy", "y_prob=p.npy", "class_names=A,B"]):
        done = succeed(tmp_path, *arguments, command="evaluate")
        written.append(json.loads((tmp_path / done.stdout.strip().splitlines()[-1] / "metrics.json").read_text()))
        assert "each record" in done.stderr  # a patient of its own, without patient_id: reported
    assert written[0]["test"] == written[1]["test"]
    expected = average_precision_score(y_true, y_prob, average="macro")
    assert written[0]["test"]["overall"]["pr_auc"] == pytest.approx(expected, abs=1e-9)


def test_prediction_continues_past_a_record_that_cannot_be_used(work, configuration, synthetic_root, tmp_path):
    for file in [*synthetic_root.glob("records100/*/00001*"), *synthetic_root.glob("records100/*/00002*")]:
        shutil.copy(file, tmp_path)
    (tmp_path / "00003_lr.hea").write_text("no header\n")
    done = ecgcls(work, "experiment=sweep", "model=cnn1d", f"input={tmp_path}", command="predict")
    assert done.returncode == 2, done.stderr
    output = work / done.stdout.strip().splitlines()[-1]
    assert pd.read_csv(output / "failed.csv")["record"].tolist() == [str(tmp_path / "00003_lr")]
    table = pd.read_csv(output / "predictions.csv")
    assert table["record"].tolist() == [str(tmp_path / "00001_lr"), str(tmp_path / "00002_lr")]
    content = json.loads((output / "predictions.json").read_text())
    assert content["records"][1]["y_prob"]["MI"] == pytest.approx(table["y_prob_MI"][1])
    (tmp_path / "00003_lr.hea").unlink()
    path = shutil.make_archive(str(tmp_path.with_suffix("")), "zip", tmp_path)
    done = succeed(work, "experiment=sweep", "model=cnn1d", f"input={path}", f"output={output}", command="predict")
    assert not (output / "failed.csv").exists()
    unpacked = pd.read_csv(output / "predictions.csv")
    assert unpacked["record"].tolist() == [f"{path}/00001_lr", f"{path}/00002_lr"]
    pd.testing.assert_frame_equal(unpacked.drop(columns="record"), table.drop(columns="record"))


@pytest.mark.slow
def test_a_finished_run_is_reported_and_not_repeated(work):
    arguments = ("experiment=again", *QUICK)
    first = succeed(work, *arguments)
    run = Path(first.stdout.strip().splitlines()[-1])
    variant = "data=synthetic,data.n_records=60,trainer.accelerator=cpu,trainer.max_epochs=1"
    assert run == Path("outputs/again/cnn1d") / variant / "fold_0"
    assert re.search(r"^NORM( \*)?\s+\d+", first.stdout, flags=re.MULTILINE)
    stamp = (work / run / "best.ckpt").stat().st_mtime_ns
    second = succeed(work, *arguments, is_new=True, flags=("-X", "importtime"))
    assert f"Finished already: {run}" in second.stdout
    assert not find_imported(second) & {"torch", "pytorch_lightning", "torchmetrics"}
    assert (work / run / "best.ckpt").stat().st_mtime_ns == stamp
    third = succeed(work, *arguments, "overwrite=true")
    assert "Finished already" not in third.stdout
    assert (work / run / "best.ckpt").stat().st_mtime_ns != stamp


def limit_files():
    """Let the system refuse files of more than 100 kB, as a full disk refuses any: the same writes, another errno."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_run_starts_anew_when_there_is_room(work, sweep):  # whose store is there
    arguments = ("experiment=full", *QUICK)
    full = ecgcls(work, *arguments, before=limit_files)
    errors = [line for line in full.stderr.splitlines() if line.startswith("error: ")]
    assert full.returncode == 1
    assert re.fullmatch(
        r"error: .*\.ckpt: cannot be written \(File too large\); .* run the same command again to resume", errors[0]
    )
    assert "Traceback" not in full.stderr
    assert not list((work / "outputs" / "full").rglob("fold_0"))  # without a whole epoch there is nothing to keep
    succeed(work, *arguments)


def test_a_sweep_cross_validates_both_nets_and_names_its_failed_job(work, sweep):
    table = [line for line in sweep.splitlines() if "5/5" in line]
    assert [line.split()[0] for line in table] == ["cnn1d", "cnn2d"]
    folders = sorted(folder.parent for folder in (work / "outputs" / "sweep").glob("*/*/cv"))
    assert len(folders) == 2
    records = pd.read_csv(work / "data" / "synthetic" / "60_records_seed_0" / "ptbxl_database.csv")
    for folder in folders:
        pooled = pd.read_csv(folder / "cv" / "predictions.csv")
        assert pooled["ecg_id"].is_unique
        assert set(pooled["ecg_id"]) <= set(records["ecg_id"])
        left_out = json.loads((folder / "fold_0" / "run.json").read_text())["data"]["n_without_label"]
        assert len(pooled) == len(records) - left_out
    stamps = {path: path.stat().st_mtime_ns for path in (work / "outputs" / "sweep").rglob("best.ckpt")}
    again = ecgcls(work, "-m", IN_PROCESS, "experiment=sweep", "model=cnn1d", "fold=0,9,1,2,3,4", *QUICK)
    assert again.returncode == 1
    assert again.stdout.count("Finished already") == 5
    assert "1 of 6 jobs failed:" in again.stderr
    assert re.search(r"fold=9 .*: fold must be in 0\.\.4, got 9", again.stderr)
    assert "5/5" in again.stdout
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}


@pytest.mark.slow
def test_swept_settings_never_share_a_folder(work):
    succeed(work, "-m", IN_PROCESS, "experiment=swept", "data.batch_size=8,16", "fold=0", *QUICK)
    folders = list((work / "outputs" / "swept").rglob("fold_0"))
    configurations = [(path / ".hydra" / "config.yaml").read_text() for path in folders]
    assert len(configurations) == 2
    assert configurations[0] != configurations[1]


@pytest.mark.slow
def test_a_third_partys_net_needs_no_change_here(work, tmp_path):
    environment, search_path = write_third_party(tmp_path)
    done = succeed(work, search_path, "model=linear", "experiment=mylab", *QUICK, environment=environment)
    run = work / done.stdout.strip().splitlines()[-1]
    assert json.loads((run / "run.json").read_text())["n_parameters"] == 12 * 1000 * 5 + 5
    assert run.relative_to(work).parts[2] == "linear"
    wrong = ecgcls(work, search_path, "model=linear", "+model.scal=2", *QUICK, environment=environment)
    assert "model.scal: no such setting of mylab.nets.Linear; did you mean scale?" in wrong.stderr


def test_a_wheel_carries_the_configuration(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(REPOSITORY)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    environment = {"PYTHONPATH": str(site)}
    where = [sys.executable, "-c", "import ecgcls.config; print(ecgcls.config.CONF_DIR)"]
    found = subprocess.run(
        where, cwd=tmp_path, capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    assert found.stdout.strip() == str(site / "ecgcls" / "conf")
    assert {path.name for path in (site / "ecgcls" / "reporting").glob("report.*")} == {
        "report.css", "report.html.jinja", "report.js",
    }  # fmt: skip
    done = succeed(tmp_path, "--help", command="predict", environment=environment, is_new=True)
    assert "python -m ecgcls.predict model=cnn1d" in done.stdout
    done = succeed(tmp_path, "--cfg=job", "model=cnn2d", "+preset=reference", environment=environment, is_new=True)
    assert "ecgcls.models.cnn2d.CNN2D" in done.stdout


def test_two_models_are_compared_on_all_folds(work, sweep):
    done = succeed(work, "a=sweep/cnn1d", "b=sweep/cnn2d", command="compare")
    folder = work / done.stdout.strip().splitlines()[-1]
    table = pd.read_csv(folder / "comparison.csv", index_col=["class", "metric"])
    pooled = [
        json.loads(next(work.glob(f"outputs/sweep/{model}/*/cv/metrics.json")).read_text())
        for model in ("cnn1d", "cnn2d")
    ]
    for column, scores in zip(("a", "b"), pooled, strict=True):
        assert table.loc[("overall", "pr_auc"), column] == pytest.approx(scores["test"]["overall"]["pr_auc"])
    over_folds = [scores["over_folds"]["overall"]["roc_auc"]["mean"] for scores in pooled]
    over_runs = pd.read_csv(folder / "over_runs.csv", index_col="metric")
    assert over_runs.loc["roc_auc", "mean"] == pytest.approx(over_folds[0] - over_folds[1])
    assert set(table["verdict"]) <= {"a better", "b better", "cannot be told"}
    assert (folder / "figures" / "forest.png").stat().st_size > 10_000
    assert (
        json.loads((folder / "comparison.json").read_text())["n_records"] == pooled[0]["test"]["overall"]["n_records"]
    )


def test_what_cannot_be_compared_is_refused(work, sweep):
    done = ecgcls(work, "a=sweep", "b=sweep/cnn2d", command="compare")
    assert done.returncode == 1
    assert re.match(r"error: \S*sweep has runs of 2 configurations: name one of .* or ", done.stderr)


def test_the_audit_prints_the_fingerprint_that_a_run_records(work, sweep, configuration):
    done = succeed(work, "data=synthetic", "data.n_records=60", command="labels")
    recorded = json.loads((configuration / "fold_0" / "run.json").read_text())["data"]["labels_sha256"]
    assert f"Fingerprint of the labels: {recorded}" in done.stdout
    folder = work / done.stdout.strip().splitlines()[-1]
    assert {path.name for path in folder.iterdir()} - {".ecgcls-output.json"} == {
        "audit.json", "by_fold.csv", "by_part.csv", "likelihoods.csv", "likelihoods.png", "precision.csv", "rules.csv",
        "statements.csv",
    }  # fmt: skip


def test_each_run_of_a_sweep_records_what_was_typed(work, sweep):
    for path in work.glob("outputs/sweep/*/*/fold_*/run.json"):
        command = json.loads(path.read_text())["command"]
        assert command[1:5] == ["-m", "ecgcls.run", "-m", "experiment=sweep"]
