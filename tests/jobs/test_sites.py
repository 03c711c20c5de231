import re

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ecgcls.jobs.cross_validate import cross_validate, format_configurations
from ecgcls.jobs.sites import format_sites, write_sites
from ecgcls.runs.configuration import read_configuration, read_single
from tests.in_process import configure, train_in
from tests.made_by_hand import N_FOLDS, write_fold

SITES = ("site 0", "site 3", "other sites: 40 with fewer than 100 records")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three finished folds: two sites, and the small ones together."""
    folder = tmp_path_factory.mktemp("folds")
    for fold, held_out in enumerate(SITES):
        write_fold(folder, fold, held_out=held_out)
    return folder


def test_how_many_folds_there_are_is_what_the_runs_say(folder):
    one = read_configuration(folder)
    assert one.is_complete and one.n_folds == N_FOLDS and read_single(one.runs[0]).n_folds == N_FOLDS
    assert [info.held_out for info in one.infos] == ["site 0", "site 3", "other sites"]
    assert [info.is_one_group for info in one.infos] == [True, True, False]
    assert one.infos[1].title == "cnn1d, fold 1 (site 3)"


def test_the_sites_are_written_drawn_and_shown(folder, tmp_path):
    one = read_configuration(folder)
    write_sites(one, tmp_path, title="t")
    table = pd.read_csv(tmp_path / "sites.csv")
    rows = table[(table["class"] == "MI") & (table["metric"] == "roc_auc")].set_index("site")
    tested = [run.read_predictions("test") for run in one.runs]
    expected = [roc_auc_score(each.y_true[:, 1], each.y_prob[:, 1]) for each in tested]
    assert rows["value"].tolist() == pytest.approx(expected)
    assert rows["is_site"].to_dict() == {"site 0": True, "site 3": True, "other sites": False}
    summary = pd.read_csv(tmp_path / "sites_summary.csv").set_index(["class", "metric"])
    assert set(summary["n_sites"]) <= {0, 1, 2}  # not the small ones, nor classes without support
    assert (tmp_path / "figures" / "sites.png").is_file()
    text = format_sites(tmp_path)
    value = rows["value"]["site 3"]
    assert re.search(r"site 0 +site 3 +other sites +mean of the sites", text) and "macro ROC-AUC" in text
    assert 0 < value < 1 and "95% intervals" in text


def test_folds_at_random_have_no_sites(tmp_path):
    write_fold(tmp_path, 0)
    (tmp_path / "sites.csv").write_text("of an earlier configuration\n")
    write_sites(read_configuration(tmp_path), tmp_path, title="t")
    assert not (tmp_path / "sites.csv").exists() and format_sites(tmp_path) == ""


@pytest.mark.slow
def test_a_cross_validation_over_groups(synthetic_root, tmp_path):
    """Each group is tested by a baseline that was fitted to the others."""
    for fold in range(2):
        how = ("model=age_sex", "folds=by_site", "folds.column=sex", "folds.min_records=10", f"fold={fold}")
        config = configure(synthetic_root, *how)
        train_in(tmp_path / f"fold_{fold}", config, model="age_sex")
    one = cross_validate(tmp_path)
    assert one.is_complete and [info.held_out for info in one.infos] == ["sex female", "sex male"]
    database = pd.read_csv(synthetic_root / "ptbxl_database.csv", index_col="ecg_id")
    for info, tested in zip(one.infos, one.predictions("test"), strict=True):
        assert (database["sex"][tested.ecg_id] == (info.held_out == "sex female")).all()
    assert pd.read_csv(tmp_path / "cv" / "predictions.csv")["ecg_id"].is_unique
    assert "mean of the sites" in format_configurations([one])
