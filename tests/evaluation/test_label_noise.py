from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ecgcls.errors import DataError
from ecgcls.evaluation.label_noise import format_readings, reread, score_readings
from ecgcls.evaluation.predictions import Predictions

NAMES = ("NORM", "MI")


@pytest.fixture
def predictions():
    generator = np.random.default_rng(0)
    y_true = (generator.random((80, 2)) < 0.4).astype(int)
    ids = np.arange(80)
    return Predictions(ids, ids, 0 * ids, ["test"] * 80, y_true, 0.3 * y_true + 0.7 * generator.random((80, 2)), NAMES)


@pytest.fixture
def likelihoods(predictions):
    """Of each positive label that is not certain: not stated, 35, 50 or 80 percent."""
    rows = [(row, NAMES[column]) for row, column in np.argwhere(predictions.y_true == 1).tolist()]
    table = pd.DataFrame(rows, columns=["ecg_id", "class"])
    table["likelihood"] = np.resize([0.0, 35.0, 50.0, 80.0, 100.0], len(table))
    return table[table["likelihood"] < 100].sample(frac=1, random_state=0)


def test_each_reading_is_scored_on_the_labels_that_are_left(predictions, likelihoods):
    found = score_readings(predictions, likelihoods)
    stated = likelihoods.set_index(["ecg_id", "class"])["likelihood"]
    for at_least in (0, 50, 100):
        means = []
        for column, name in enumerate(NAMES):
            of_class = np.array([stated.get((ecg_id, name), 100.0) for ecg_id in range(80)])
            kept = (of_class == 0) | (of_class >= at_least)
            arrays = (array[kept, column] for array in (predictions.y_true, predictions.y_prob, predictions.y_pred))
            y_true, y_prob, y_pred = arrays
            expected = average_precision_score(y_true, y_prob), roc_auc_score(y_true, y_prob), f1_score(y_true, y_pred)
            row = found.loc[(at_least, name)]
            assert row[["pr_auc", "roc_auc", "f1"]].tolist() == pytest.approx(expected)
            assert row[["n_positive", "n_left_out"]].tolist() == [y_true.sum(), (~kept).sum()]
            means.append(expected)
        overall = found.loc[(at_least, "overall")]
        assert overall[["pr_auc", "roc_auc", "f1"]].tolist() == pytest.approx(np.mean(means, axis=0))
        low = likelihoods[likelihoods["likelihood"].between(0, at_least, inclusive="neither")]
        assert overall["n_left_out"] == len(low) and overall["n_records_left_out"] == low["ecg_id"].nunique()


def test_a_doubtful_label_is_unknown_and_never_negative(predictions, likelihoods):
    read = reread(predictions, likelihoods, at_least=50)
    changed = read.y_true != predictions.y_true
    assert (read.y_true[changed] == -1).all() and (predictions.y_true[changed] == 1).all() and changed.any()
    other = likelihoods.assign(ecg_id=likelihoods["ecg_id"] + 500)  # of records that are not predicted here
    pd.testing.assert_frame_equal(
        score_readings(predictions, pd.concat([likelihoods, other])), score_readings(predictions, likelihoods)
    )


def test_nothing_is_told_where_all_readings_are_the_same(predictions, likelihoods):
    assert score_readings(predictions, likelihoods.assign(likelihood=0.0)) is None
    assert score_readings(predictions, likelihoods[:0]) is None
    certain = likelihoods.assign(likelihood=80.0)
    assert "at least 50" not in format_readings(score_readings(predictions, certain))


def test_a_likelihood_of_a_negative_label_is_refused(predictions, likelihoods):
    ecg_id = int(np.flatnonzero(predictions.y_true[:, 1] == 0)[0])
    wrong = pd.DataFrame({"ecg_id": [ecg_id], "class": ["MI"], "likelihood": [35.0]})
    with pytest.raises(DataError, match=f"likelihoods: ecg_id {ecg_id} has one of MI, of which it is not a positive"):
        reread(replace(predictions), wrong, at_least=50)
