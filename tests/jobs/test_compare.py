import json

import numpy as np
import pandas as pd
import pytest

from ecgcls.compare import compare as run_command
from ecgcls.errors import ConfigError
from ecgcls.jobs.compare import compare_sides, format_comparison, read_side, write_comparison
from tests.made_by_hand import N_FOLDS, write_fold

FEW = {"n_resamples": 30, "min_positives": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three folds each of two models that predict the same."""
    folder = tmp_path_factory.mktemp("models")
    for model in ("cnn1d", "cnn2d"):
        for fold in range(N_FOLDS):
            write_fold(folder / model, fold, model=model)
    return folder


def compare(folder, a, b, **changed):
    sides = [read_side(str(folder / name), output_dir=folder) for name in (a, b)]
    return compare_sides(*sides, overrides=FEW, **changed)


def test_configurations_are_compared_within_their_folds(folder, tmp_path):
    found = compare(folder, "cnn1d", "cnn2d", margin=0.05)
    assert found.is_within_folds
    write_comparison(found, tmp_path)
    text = format_comparison(found)
    assert "margin 0.05" in text and "pooled" in text and "means over the folds" in text
    assert "Over 3 folds (corrected resampled t-test):" in text
    written = json.loads((tmp_path / "comparison.json").read_text())
    assert (written["is_within_folds"], written["margin"]) == (True, 0.05)
    row = written["comparison"]["overall"]["roc_auc"]
    assert (row["difference"], row["verdict"], row["why"]) == (0, "cannot be told", "the interval holds 0")
    assert written["over_runs"]["roc_auc"]["n_runs"] == 3
    table = pd.read_csv(tmp_path / "comparison.csv", index_col=["class", "metric"])
    assert {"pooled_a", "pooled_b", "p_not_inferior", "p_equivalent", "margin_verdict", "why"} <= set(table)
    assert (tmp_path / "figures" / "forest.png").stat().st_size > 0


def test_one_fold_has_neither_folds_nor_a_t_test(folder):
    found = compare(folder, "cnn1d/fold_0", "cnn2d/fold_0")
    assert not found.is_within_folds and not len(found.over_runs)
    text = format_comparison(found)
    assert "pooled" not in text and "margin" not in text and "t-test" not in text


def test_files_with_a_column_fold_are_compared_within_it(folder, tmp_path):
    tested = [read_side(str(folder / name), output_dir=folder).tested[0] for name in ("cnn1d", "cnn2d")]
    for name, one in zip("ab", tested, strict=True):
        assert set(one.fold) == {0, 1, 2}
        one.to_table().to_csv(tmp_path / f"{name}.csv", index=False)
    found = compare(tmp_path, "a.csv", "b.csv")
    assert found.by_class.equals(compare(folder, "cnn1d", "cnn2d").by_class)
    for name, one in zip("ab", tested, strict=True):
        one.merge_folds().to_table().to_csv(tmp_path / f"{name}.csv", index=False)
    pooled = compare(tmp_path, "a.csv", "b.csv")
    key = ("overall", "roc_auc")
    assert pooled.by_class.loc[key, "a"] == pytest.approx(found.by_class.loc[key, "pooled_a"])


def test_records_may_have_names_and_labels_may_be_unknown(folder, tmp_path):
    table = read_side(str(folder / "cnn1d"), output_dir=folder).tested[0].to_table()
    table["ecg_id"] = [f"=A {ecg_id}/ü" for ecg_id in table["ecg_id"]]
    column = next(name for name in table if name.startswith("y_true_"))
    table[column] = table[column].astype("Int8").mask(np.arange(len(table)) < 2)
    for name in ("a.csv", "b.csv"):
        table.to_csv(tmp_path / name, index=False)
    found = compare(tmp_path, "a.csv", "b.csv")
    assert found.n_unknown == {column.removeprefix("y_true_"): 2} and found.n_records == len(table)
    assert (found.by_class["difference"].dropna() == 0).all()


def test_a_verdict_that_the_t_test_does_not_share_is_told(folder):
    found = compare(folder, "cnn1d", "cnn2d")
    by_class, runs = found.by_class.assign(verdict="cannot be told"), found.over_runs.assign(p=0.9)
    for verdict, p, said in (
        ("a better", 0.3, "the verdict alone finds a difference in ROC-AUC."),
        ("cannot be told", 0.01, "the t-test alone finds a difference in ROC-AUC."),
        ("a better", 0.01, ""),
        ("cannot be told", 0.3, ""),
    ):
        by_class.loc[("overall", "roc_auc"), "verdict"], runs.loc["roc_auc", "p"] = verdict, p
        text = format_comparison(type(found)(found.a, found.b, found.settings, None, by_class, runs))
        assert ("do not agree" in text) == bool(said) and said in text


def test_seeds_of_one_fold_are_said_to_be_no_test(folder):
    found = compare(folder, "cnn1d", "cnn2d")
    seeds = found.over_runs.assign(n_runs=1, seed_sd=0.01, p=np.nan, sd=np.nan)
    text = format_comparison(type(found)(found.a, found.b, found.settings, None, found.by_class, seeds))
    assert "Several seeds of one fold" in text and "t-test" not in text and "seed_sd" in text


def test_the_command_takes_a_margin(folder, tmp_path, capsys):
    given = {"a": "cnn1d", "b": "cnn2d", "output_dir": folder, "level": None, "seed": 0, "output": tmp_path / "out"}
    run_command(**given, **FEW, margin=0.05)
    assert "margin 0.05" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["margin"] == 0.05
    with pytest.raises(ConfigError, match="margin must be above 0"):
        run_command(**given, **FEW, margin=0.0)
