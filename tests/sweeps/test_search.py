import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from scipy import stats

from ecgcls.errors import DataError
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo
from ecgcls.runs.searched import Search, doubt_settings
from ecgcls.sweeps.nested import describe_nested
from ecgcls.sweeps.reports import Report
from ecgcls.sweeps.search import write_search
from tests.commands import QUICK, ecgcls, succeed


@pytest.fixture
def reports(tmp_path):
    """Three trials worked by hand: the second is the best, the third failed."""
    found = []
    for number, (lr, kind, objective) in enumerate([(0.1, "a", 0.5), (0.001, "b", 0.7), (0.01, "a", None)]):
        run = tmp_path / f"run_{number}"
        (run / ".hydra").mkdir(parents=True)
        config = {"fold": 1, "optimizer": {"lr": lr}, "model": {"_target_": "nets.Net", "image": kind}}
        OmegaConf.save(config | {"folds": {"test": [[1], [2], [3]]}}, run / ".hydra" / "config.yaml")
        overrides = ["+preset=search", "model=cnn1d", "fold=1", f"optimizer.lr={lr}", f"model.image={kind}"]
        end = {"status": "finished", "run": str(run), "objective": objective}
        if objective is None:
            end = {"status": "failed", "error": "out of memory"}
        found.append(Report(number=number, overrides=overrides, **end))
    OmegaConf.save({"best_params": {"optimizer.lr": 0.001, "model.image": "b"}}, tmp_path / "optimization_results.yaml")
    return found


def test_the_best_trial_is_the_one_with_the_highest_validation_score(reports, tmp_path):
    folder = tmp_path / "demo" / "search" / "noon"
    text = write_search(reports, tmp_path, folder, choices=["callbacks=early_stopping", "model=cnn2d"])
    assert OmegaConf.load(folder / "best.yaml").optimizer.lr == 0.001
    trials = pd.read_csv(folder / "trials.csv")
    assert trials["val_pr_auc"].tolist()[:2] == [0.5, 0.7]
    assert trials["error"].tolist()[2] == "out of memory"
    assert [line.split()[0] for line in text.splitlines()[1:4]] == ["1", "0", "2"]  # best first, the failed last
    assert (folder / "search.png").stat().st_size > 10_000


def test_settings_that_were_found_on_a_fold_are_tested_on_that_fold_alone(reports, tmp_path):
    folder = tmp_path / "demo" / "search" / "noon"
    text = write_search(reports, tmp_path, folder, choices=["callbacks=early_stopping", "model=cnn2d"])
    assert f"python -m ecgcls.evaluate run={tmp_path}/run_1\n" in text
    command = "python -m ecgcls.run model=cnn1d callbacks=early_stopping optimizer.lr=0.001 model.image=b fold=1\n"
    assert command in text
    assert "repeat the search with fold=0, fold=2" in text
    found = OmegaConf.to_container(OmegaConf.load(folder / "best.yaml"))
    assert doubt_settings(tmp_path / "demo", found) == ""
    doubt = doubt_settings(tmp_path / "demo", found | {"fold": 2, "trainer": {"max_epochs": 99}})
    assert doubt.startswith(f"these settings were searched on fold 1 ({folder}), whose training and validation parts")
    assert "test records of fold 2: its test score is optimistic" in doubt
    assert doubt_settings(tmp_path / "demo", found | {"fold": 2, "optimizer": {"lr": 0.002}}) == ""
    assert doubt_settings(tmp_path / "other", found | {"fold": 2}) == ""


def test_searches_in_every_fold_are_one_result(tmp_path):
    """Three searches, worked by hand: of the two on fold 0 the later one counts."""
    searches = []
    for name, fold, lr, score in (("a", 0, 0.1, 0.1), ("b", 1, 0.2, 0.6), ("c", 2, 0.3, 0.9), ("d", 0, 0.4, 0.6)):
        run = RunDirectory(tmp_path / name)
        parts = {part: {"n_records": n} for part, n in (("train", 60), ("val", 20), ("test", 20))}
        run.write_info(RunInfo(status="finished", fold=fold, data={"parts": parts}))
        overall = {"pr_auc": score, "roc_auc": score, "f1_macro": 0.5}
        (run.path / "metrics.json").write_text(json.dumps({"test": {"overall": overall}}))
        config = {"fold": fold, "optimizer.lr": lr, "folds.test": [[1], [2], [3]]}
        searches.append(Search(tmp_path, config, ("optimizer.lr",), fold, run.path))
    assert "repeat the search with fold=0, fold=2." in describe_nested(searches[1:2])
    table = [line.split() for line in describe_nested(searches).splitlines()[2:7]]
    assert [row[2:4] for row in table[:3]] == [
        ["optimizer.lr=0.4", "0.600"], ["optimizer.lr=0.2", "0.600"], ["optimizer.lr=0.3", "0.900"],
    ]  # fmt: skip
    assert table[3][:2] == ["mean", "0.700"]
    half = stats.t.ppf(0.975, 2) * np.sqrt((1 / 3 + 20 / 60) * 0.03)  # Nadeau and Bengio
    low, high = (1 / (1 + np.exp(-(np.log(0.7 / 0.3) + sign * half / (0.7 * 0.3)))) for sign in (-1, 1))  # as a logit
    assert table[4][1:3] == [f"[{low:.3f},", f"{high:.3f}]"]
    assert describe_nested([replace(searches[0], config={"folds.test": [[10]]})]) == ""


def test_a_search_without_a_finished_trial_is_an_error(reports, tmp_path):
    with pytest.raises(DataError, match="no trial of the search finished"):
        write_search(reports[2:], tmp_path, tmp_path / "search")


def test_a_search_does_not_look_for_the_luckiest_fold(work):
    pytest.importorskip("optuna")
    done = ecgcls(work, "-m", "+preset=search", "experiment=lucky", "fold=0,1", *QUICK)
    assert done.returncode == 1
    assert done.stderr.startswith("error: fold: a search is over settings and would pick the luckiest fold")
    assert not (work / "outputs" / "lucky").exists()


def test_a_search_without_its_data_ends_at_once(tmp_path):
    pytest.importorskip("optuna")
    done = ecgcls(tmp_path, "-m", "+preset=search", "data.root=nowhere")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: data.root: there is no folder nowhere")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_search_ends_with_its_best_configuration_by_the_validation_set(work):
    pytest.importorskip("optuna")
    arguments = ("-m", "+preset=search", "experiment=search", "hydra.sweeper.n_trials=3", *QUICK)
    done = succeed(work, *arguments)
    assert done.stdout.count("Validation PR-AUC") == 3
    assert "Test of" not in done.stdout  # whoever searches sees no test score
    folder = work / done.stdout.strip().splitlines()[-1]
    trials = pd.read_csv(folder / "trials.csv")
    scores = [
        json.loads((work / run / "metrics.json").read_text())["val"]["overall"]["pr_auc"] for run in trials["run"]
    ]
    assert trials["val_pr_auc"].tolist() == pytest.approx(scores)
    assert (folder / "search.png").stat().st_size > 10_000
    best = OmegaConf.load(folder / "best.yaml")
    row = trials.iloc[trials["val_pr_auc"].idxmax()]
    assert (best.optimizer.lr, best.model.width, best.model.dropout) == pytest.approx(
        (row["optimizer.lr"], row["model.width"], row["model.dropout"])
    )
    again = succeed(work, *arguments)
    assert again.stdout.count("Finished already") == 3  # the same trials: a stopped search resumes
