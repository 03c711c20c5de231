import json

import pandas as pd
import pytest
from omegaconf import OmegaConf

from ecgcls.errors import DataError
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
        OmegaConf.save({"optimizer": {"lr": lr}}, run / ".hydra" / "config.yaml")
        overrides = ["+preset=search", "model=cnn1d", "fold=0", f"optimizer.lr={lr}", f"model.image={kind}"]
        end = {"status": "finished", "run": str(run), "objective": objective}
        if objective is None:
            end = {"status": "failed", "error": "out of memory"}
        found.append(Report(number=number, overrides=overrides, **end))
    OmegaConf.save({"best_params": {"optimizer.lr": 0.001, "model.image": "b"}}, tmp_path / "optimization_results.yaml")
    return found


def test_the_best_trial_is_the_one_with_the_highest_validation_score(reports, tmp_path):
    text = write_search(reports, tmp_path, tmp_path / "search", choices=["callbacks=early_stopping", "model=cnn2d"])
    assert OmegaConf.load(tmp_path / "search" / "best.yaml").optimizer.lr == 0.001
    trials = pd.read_csv(tmp_path / "search" / "trials.csv")
    assert trials["val_pr_auc"].tolist()[:2] == [0.5, 0.7]
    assert trials["error"].tolist()[2] == "out of memory"
    command = "python -m ecgcls.run -m model=cnn1d callbacks=early_stopping optimizer.lr=0.001 model.image=b"
    assert f"{command} fold=0,1,2,3,4" in text
    assert [line.split()[0] for line in text.splitlines()[1:4]] == ["1", "0", "2"]  # best first, the failed last
    assert (tmp_path / "search" / "search.png").stat().st_size > 10_000


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
