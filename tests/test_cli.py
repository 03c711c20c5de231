"""The command line as a user types it, each command in a process of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score

from tests.commands import QUICK, REPOSITORY, ecgcls, succeed, write_third_party


@pytest.mark.parametrize("flag", ["--help", "--cfg=job"])
def test_help_and_cfg_import_nothing_heavy(tmp_path, flag):
    done = succeed(tmp_path, flag, python=(sys.executable, "-X", "importtime"))
    imported = set(re.findall(r"\|\s+([\w.]+)$", done.stderr, flags=re.MULTILINE))
    assert "hydra" in imported
    assert not imported & {"torch", "pytorch_lightning", "torchmetrics", "pandas", "sklearn", "matplotlib", "numpy"}
    assert "max_epochs" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["evaluate", "compare", "interpret", "predict", "report"])
def test_help_of_the_other_commands_explains_each_setting(tmp_path, command):
    done = succeed(tmp_path, "--help", command=command, python=(sys.executable, "-X", "importtime"))
    imported = set(re.findall(r"\|\s+([\w.]+)$", done.stderr, flags=re.MULTILINE))
    assert not imported & {"torch", "pytorch_lightning", "pandas", "sklearn", "matplotlib", "numpy"}
    settings = done.stdout.partition("== Settings")[2].splitlines()[1:-3]
    assert all("#" in line for line in settings if line.strip() and not line.endswith(":")), settings
    assert list(tmp_path.iterdir()) == []


def start_training(folder, *arguments):
    """Start a run, and wait until it has finished an epoch."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ecgcls.run", *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    (experiment,) = [argument.partition("=")[2] for argument in arguments if argument.startswith("experiment=")]
    deadline = time.monotonic() + 120
    while not list((folder / "outputs" / experiment).rglob("last.ckpt")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    return process


@pytest.mark.parametrize(
    ("command", "arguments", "line"),
    [
        ("evaluate", ["splt=val"], r"splt: no such key; did you mean split\?"),
        ("evaluate", ["split=train"], r"split must be test or val, got 'train'"),
        ("evaluate", ["data=synthetic"], r"data is set by its parts here: data\.missing_records, .*"),
        ("evaluate", ["model=cnn1d"], r"outputs/default: no such experiment"),
        ("evaluate", ["y_true=a.npy"], r"y_prob is missing: y_true, y_prob and class_names go together"),
        ("evaluate", ["thresholds.rule=f2"], r"thresholds\.rule must be .*, got 'f2'"),
        ("compare", ["a=here"], r"b=PATH is missing: a run's folder, .*"),
        ("compare", ["a=here", "b=there"], r"here: no such folder or file, nor is there a outputs/here"),
        ("labels", ["task=rythm"], r"task=rythm: no such choice; did you mean rhythm\?.*"),
        ("labels", ["task.k=0"], r"task\.k must be at least 1, got 0"),
        ("labels", [], r"data\.root: there is no folder data/ptbxl;.*"),
        ("evaluate", ["predictions=none.csv"], r"none\.csv: no such predictions file"),
        ("interpret", ["fold=all"], r"fold must be a whole number, got 'all'"),
        ("interpret", ["run_dir=no,where"], r"run_dir: there is no folder no,where"),
        ("predict", ["model=cnn1d"], r"input=PATH is missing: .*"),
        ("report", ["experiment=a=b"], r"outputs/a=b: no such experiment"),
    ],
)
def test_bad_input_of_the_other_commands_is_one_line(tmp_path, command, arguments, line):
    done = ecgcls(tmp_path, *arguments, command=command)
    assert done.returncode == 1
    assert re.fullmatch(f"error: {line}\n", done.stderr), done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


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
        assert "each record" in done.stderr  # no patient_id: said, not guessed in silence
    assert written[0]["test"] == written[1]["test"]
    expected = average_precision_score(y_true, y_prob, average="macro")
    assert written[0]["test"]["overall"]["pr_auc"] == pytest.approx(expected, abs=1e-9)


def test_prediction_goes_on_past_a_record_that_cannot_be_used(work, configuration, synthetic_root, tmp_path):
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
    succeed(work, "experiment=sweep", "model=cnn1d", f"input={tmp_path}", command="predict")
    assert not (output / "failed.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trainer.max_epoch=3"], r"trainer\.max_epoch: no such key; did you mean trainer\.max_epochs\?"),
        (["model=cnn2d", "model.imag=resize"], r"model\.imag: no such key; did you mean model\.image\?"),
        (["modle=cnn1d"], r"modle: no such key; did you mean model\?"),
        (["model=cnn3d"], r"model=cnn3d: no such choice; did you mean .*cnn1d.*"),
        (["folds=7"], r"a group's choice is a name, as in folds=cv5.*"),
        (["fold"], r"Error parsing override 'fold'.*"),
        (["fold=7"], r"fold must be in 0\.\.4, got 7"),
        (["data.batch_size=abc"], r"data\.batch_size must be a whole number, got 'abc'"),
        (["data.root=nowhere"], r"data\.root: there is no folder nowhere; get PTB-XL with .* data=synthetic"),
        (["data=synthetic", "data.n_records=7"], r"data\.n_records must be in 50\.\.21799, got 7"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(tmp_path, arguments, line):
    done = ecgcls(tmp_path, *arguments)
    assert done.returncode == 1
    errors = [text for text in done.stderr.splitlines() if not text.startswith("data=synthetic: simulated")]
    assert len(errors) == 1, done.stderr
    assert re.fullmatch(f"error: {line}", errors[0]), errors[0]
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_full_errors_are_there_for_who_asks(tmp_path):
    done = ecgcls(tmp_path, "fold=7", environment={"HYDRA_FULL_ERROR": "1"})
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "fold must be in 0..4, got 7" in done.stderr


def test_a_finished_run_is_told_and_not_repeated(work):
    arguments = ("experiment=again", *QUICK)
    first = succeed(work, *arguments)
    run = Path(first.stdout.strip().splitlines()[-1])
    assert run == Path("outputs/again/cnn1d/data=synthetic,data.n_records=60,trainer.accelerator=cpu") / "fold_0" or (
        run.name == "fold_0" and run.parts[:3] == ("outputs", "again", "cnn1d")
    )
    assert re.search(r"^NORM\s+\d+", first.stdout, flags=re.MULTILINE)
    stamp = (work / run / "best.ckpt").stat().st_mtime_ns
    second = succeed(work, *arguments)
    assert f"Finished already: {run}" in second.stdout
    assert (work / run / "best.ckpt").stat().st_mtime_ns == stamp
    third = succeed(work, *arguments, "overwrite=true")
    assert "Finished already" not in third.stdout
    assert (work / run / "best.ckpt").stat().st_mtime_ns != stamp


def test_a_killed_run_goes_on_to_the_same_result(work):
    """Equal up to rounding: two processes may round the last bit of a sum differently, and it grows by the epoch.

    Another order of the records or another dropout after the kill would change the training loss by percents.
    """
    arguments = (*QUICK, "trainer.max_epochs=15", "trainer.enable_progress_bar=false")
    whole = Path(succeed(work, "experiment=whole", *arguments).stdout.strip().splitlines()[-1])
    killed = Path(str(whole).replace("whole", "killed"))
    process = start_training(work, "experiment=killed", *arguments)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert json.loads((work / killed / "run.json").read_text())["status"] == "running"
    again = succeed(work, "experiment=killed", *arguments)
    assert "Going on from" in again.stderr
    for name, column in (("history.csv", "train/loss"), ("predictions.csv", "y_prob_NORM")):
        expected, found = (pd.read_csv(work / run / name) for run in (whole, killed))
        assert found.shape == expected.shape
        np.testing.assert_allclose(found[column], expected[column], rtol=2e-3)


def test_sigterm_asks_for_another_try_and_a_second_process_is_told_who_trains(work):
    arguments = ("experiment=sigterm", *QUICK, "trainer.max_epochs=400", "trainer.enable_progress_bar=false")
    process = start_training(work, *arguments)
    second = ecgcls(work, *arguments)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert said.endswith("stopped by SIGTERM; the same command goes on from the last epoch\n")
    assert second.returncode == 1
    assert f"another process is training this run (process {process.pid} on " in second.stderr
    (run,) = (work / "outputs" / "sigterm").rglob("fold_0")
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert torch.load(run / "last.ckpt", weights_only=True)["epoch"] >= 0


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(work):
    """Files of at most 100 kB stand for the full disk: the system refuses the same writes, one errno away."""
    limit = "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY)); "
    code = limit + "runpy.run_module('ecgcls.run', run_name='__main__', alter_sys=True)"
    arguments = ("experiment=full", *QUICK)
    full = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=work, capture_output=True, text=True, timeout=120, check=False
    )
    errors = [line for line in full.stderr.splitlines() if line.startswith("error: ")]
    assert full.returncode == 1
    assert re.fullmatch(r"error: .*\.ckpt: cannot be written \(File too large\); .*the same command goes on", errors[0])
    assert "Traceback" not in full.stderr
    (run,) = (work / "outputs" / "full").rglob("fold_0")
    assert not list(run.rglob("*.tmp"))
    assert not (run / "best.ckpt").exists()
    succeed(work, *arguments)
    assert json.loads((run / "run.json").read_text())["n_starts"] == 2


def test_a_sweep_cross_validates_both_nets_and_names_its_failed_job(work, sweep):
    table = [line for line in sweep.splitlines() if "5/5" in line]
    assert [line.split()[0] for line in table] == ["cnn1d", "cnn2d"]
    folders = sorted((work / "outputs" / "sweep").glob("*/*"))
    assert len(folders) == 2
    records = pd.read_csv(work / "data" / "synthetic" / "60_records_seed_0" / "ptbxl_database.csv")
    for folder in folders:
        pooled = pd.read_csv(folder / "cv" / "predictions.csv")
        assert pooled["ecg_id"].is_unique
        assert set(pooled["ecg_id"]) <= set(records["ecg_id"])
        left_out = json.loads((folder / "fold_0" / "run.json").read_text())["data"]["n_without_label"]
        assert len(pooled) == len(records) - left_out
    stamps = {path: path.stat().st_mtime_ns for path in (work / "outputs" / "sweep").rglob("best.ckpt")}
    again = ecgcls(work, "-m", "experiment=sweep", "model=cnn1d", "fold=0,9,1,2,3,4", *QUICK)
    assert again.returncode == 1
    assert again.stdout.count("Finished already") == 5
    assert "1 of 6 jobs failed:" in again.stderr
    assert re.search(r"fold=9 .*: fold must be in 0\.\.4, got 9", again.stderr)
    assert "5/5" in again.stdout
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}


@pytest.mark.parametrize("swept", ["data.batch_size=8,16", "optimizer.lr=1e-3,3e-4"])
def test_swept_settings_never_share_a_folder(work, swept):
    name = swept.partition("=")[0].replace(".", "-")
    succeed(work, "-m", f"experiment={name}", swept, "fold=0", *QUICK)
    configurations = [
        (path / ".hydra" / "config.yaml").read_text() for path in (work / "outputs" / name).rglob("fold_0")
    ]
    assert len(configurations) == 2
    assert configurations[0] != configurations[1]


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
    assert (
        "python -m ecgcls.predict model=cnn1d"
        in succeed(tmp_path, "--help", command="predict", environment=environment).stdout
    )
    done = succeed(tmp_path, "--cfg=job", "model=cnn2d", "+preset=reference", environment=environment)
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


def test_the_audit_tells_the_fingerprint_that_a_run_records(work, sweep, configuration):
    done = succeed(work, "data=synthetic", "data.n_records=60", command="labels")
    recorded = json.loads((configuration / "fold_0" / "run.json").read_text())["data"]["labels_sha256"]
    assert f"Fingerprint of the labels: {recorded}" in done.stdout
    folder = work / done.stdout.strip().splitlines()[-1]
    assert {path.name for path in folder.iterdir()} == {
        "audit.json", "by_fold.csv", "by_part.csv", "likelihoods.csv", "likelihoods.png", "rules.csv", "statements.csv",
    }  # fmt: skip


def test_each_run_of_a_sweep_records_what_was_typed(work, sweep):
    for path in work.glob("outputs/sweep/*/*/fold_*/run.json"):
        command = json.loads(path.read_text())["command"]
        assert command[1:5] == ["-m", "ecgcls.run", "-m", "experiment=sweep"]
