import json
import math
import time

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch
import torchmetrics.functional.classification as torchmetrics

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.metrics import overall_metrics, score

NAMES = ["NORM", "MI", "STTC", "CD", "HYP", "LAFB/LPFB", "ISC_"]


def make(n_records=400, n_classes=7, seed=0, decimals=None):
    """Labels and informative float32 probabilities; `decimals` rounds them, which makes ties."""
    rng = np.random.default_rng(seed)
    y_true = (rng.random((n_records, n_classes)) < np.linspace(0.05, 0.6, n_classes)).astype(np.int8)
    logits = rng.normal(size=y_true.shape) + 1.5 * y_true - 1
    y_prob = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return y_true, y_prob if decimals is None else y_prob.round(decimals)


def test_four_records_by_hand():
    # Falling probability: 0.9 (1), 0.8 (0), 0.7 (1), 0.1 (0); recall rises at ranks 1 and 3.
    found = score([[1], [0], [1], [0]], [[0.9], [0.8], [0.7], [0.1]], ["MI"], threshold=0.75)
    row = found.by_class.loc["MI"]
    assert row.pr_auc == pytest.approx((1 / 1 + 2 / 3) / 2, abs=1e-12)
    assert row.roc_auc == pytest.approx(3 / 4, abs=1e-12)  # of four pairs only (0.7, 0.8) is the wrong way round
    assert row[["tp", "fp", "fn", "tn"]].tolist() == [1, 1, 1, 1]
    assert row[["f1", "sensitivity", "specificity", "precision", "npv"]].tolist() == [0.5] * 5
    expected = -(math.log(0.9) + math.log(0.2) + math.log(0.7) + math.log(0.9)) / 4
    assert found.overall["log_loss"] == pytest.approx(expected, abs=1e-12)


def test_average_precision_is_not_the_trapezoid():
    y_true, y_prob = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    precision, recall, _ = sklearn.metrics.precision_recall_curve(y_true, y_prob)
    trapezoid = sklearn.metrics.auc(recall, precision)
    found = score(y_true[:, None], y_prob[:, None], ["MI"]).overall["pr_auc"]
    assert found == pytest.approx(0.8333, abs=1e-4) and trapezoid == pytest.approx(0.7917, abs=1e-4)


def test_tied_records_are_one_step():
    # All tied: one step at the prevalence, whatever the order of the records.
    found = score([[1], [0], [0], [0]], [[0.3]] * 4, ["MI"])
    assert found.overall["pr_auc"] == 0.25 and found.overall["roc_auc"] == 0.5


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_against_sklearn(decimals, threshold):
    y_true, y_prob = make(decimals=decimals)
    found = score(y_true, y_prob, NAMES, threshold=threshold)
    wide = y_prob.astype(np.float64)
    y_pred = wide >= threshold
    expected = {
        "pr_auc": sklearn.metrics.average_precision_score(y_true, wide, average="macro"),
        "roc_auc": sklearn.metrics.roc_auc_score(y_true, wide, average="macro"),
        "f1_macro": sklearn.metrics.f1_score(y_true, y_pred, average="macro"),
        "f1_micro": sklearn.metrics.f1_score(y_true, y_pred, average="micro"),
        "log_loss": sklearn.metrics.log_loss(y_true.ravel(), wide.ravel()),
        "prevalence": y_true.mean(),
    }
    assert {name: found.overall[name] for name in expected} == pytest.approx(expected, abs=1e-10)
    counts = sklearn.metrics.multilabel_confusion_matrix(y_true, y_pred).reshape(-1, 4)
    np.testing.assert_array_equal(found.by_class[["tn", "fp", "fn", "tp"]], counts)
    by_class = {
        "sensitivity": sklearn.metrics.recall_score(y_true, y_pred, average=None),
        "specificity": sklearn.metrics.recall_score(1 - y_true, ~y_pred, average=None),
        "precision": sklearn.metrics.precision_score(y_true, y_pred, average=None),
        "npv": sklearn.metrics.precision_score(1 - y_true, ~y_pred, average=None),
        "f1": sklearn.metrics.f1_score(y_true, y_pred, average=None),
        "pr_auc": sklearn.metrics.average_precision_score(y_true, wide, average=None),
        "roc_auc": sklearn.metrics.roc_auc_score(y_true, wide, average=None),
    }
    for name, values in by_class.items():
        np.testing.assert_allclose(found.by_class[name], values, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("decimals", [None, 1])
def test_against_torchmetrics(decimals):
    y_true, y_prob = make(decimals=decimals)
    found = score(y_true, y_prob, NAMES).overall
    prob, truth, n_classes = torch.from_numpy(y_prob), torch.from_numpy(y_true).long(), len(NAMES)
    # torchmetrics predicts where y_prob > threshold, so a threshold just below 0.5 makes it ours.
    just_below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    expected = {
        "pr_auc": torchmetrics.multilabel_average_precision(prob, truth, n_classes),
        "roc_auc": torchmetrics.multilabel_auroc(prob, truth, n_classes),
        "f1_macro": torchmetrics.multilabel_f1_score(prob, truth, n_classes, threshold=just_below),
        "f1_micro": torchmetrics.multilabel_f1_score(prob, truth, n_classes, threshold=just_below, average="micro"),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), abs=1e-6), name


@pytest.mark.parametrize("pos_weight", [3.0, np.linspace(0.5, 12, len(NAMES))])
def test_loss_is_that_of_torch(pos_weight):
    rng = np.random.default_rng(5)
    y_true, _ = make()
    logits = torch.from_numpy(rng.normal(scale=4, size=y_true.shape))
    found = score(y_true, logits.sigmoid().numpy(), NAMES, pos_weight=pos_weight).overall
    weighted = torch.nn.BCEWithLogitsLoss(pos_weight=torch.as_tensor(pos_weight))
    assert found["loss"] == pytest.approx(weighted(logits, torch.from_numpy(y_true).double()).item(), abs=1e-10)
    plain = torch.nn.BCEWithLogitsLoss()
    assert found["log_loss"] == pytest.approx(plain(logits, torch.from_numpy(y_true).double()).item(), abs=1e-10)


def test_certain_and_wrong_is_clipped_as_documented():
    found = score([[1], [0]], [[0.0], [1.0]], ["MI"])
    assert found.overall["log_loss"] == pytest.approx(36.04, abs=0.01)
    assert score([[1], [0]], [[1.0], [0.0]], ["MI"]).overall["log_loss"] == pytest.approx(0, abs=1e-12)


def test_undefined_classes_are_nan_named_and_left_out_of_the_means():
    y_true, y_prob = make()
    y_true[:, 1], y_true[:, 3] = 0, 1
    found = score(y_true, y_prob, NAMES)
    assert found.undefined == {"MI": "no positive record", "CD": "no negative record"}
    assert found.by_class.loc[["MI", "CD"], ["pr_auc", "roc_auc", "f1"]].isna().all(axis=None)
    assert math.isnan(found.by_class.at["MI", "sensitivity"]) and math.isnan(found.by_class.at["CD", "specificity"])
    rest = [0, 2, 4, 5, 6]
    without = score(y_true[:, rest], y_prob[:, rest], [NAMES[column] for column in rest])
    for name in ("pr_auc", "roc_auc", "f1_macro"):
        assert found.overall[name] == pytest.approx(without.overall[name], abs=1e-12)
    assert found.overall["n_defined_classes"] == 5 and found.overall["n_classes"] == 7
    # The counts of all classes make the micro F1: the false positives of MI weigh on it.
    expected = sklearn.metrics.f1_score(y_true, y_prob >= 0.5, average="micro")
    assert found.overall["f1_micro"] == pytest.approx(expected, abs=1e-12)
    assert found.overall["f1_micro"] != pytest.approx(without.overall["f1_micro"], abs=1e-6)


def test_nothing_defined():
    found = score(np.zeros((3, 2)), np.zeros((3, 2)), ["A", "B"])
    assert all(math.isnan(found.overall[name]) for name in ("pr_auc", "roc_auc", "f1_macro", "f1_micro"))
    assert list(found.undefined) == ["A", "B"]
    assert found.overall["log_loss"] == pytest.approx(0, abs=1e-12)


def test_all_zero_prediction():
    y_true, _ = make()
    found = score(y_true, np.zeros(y_true.shape), NAMES)
    assert found.by_class["f1"].tolist() == [0.0] * len(NAMES)
    assert found.overall["f1_macro"] == found.overall["f1_micro"] == 0.0
    assert found.by_class["precision"].isna().all()
    assert found.by_class["specificity"].tolist() == [1.0] * len(NAMES)
    np.testing.assert_allclose(found.by_class["pr_auc"], y_true.mean(axis=0))
    assert found.by_class["roc_auc"].tolist() == [0.5] * len(NAMES)


def test_a_probability_at_the_threshold_is_predicted():
    assert score([[1], [0]], [[0.5], [0.4]], ["MI"], threshold=0.5).by_class.at["MI", "tp"] == 1


def test_each_class_has_its_own_threshold():
    y_true, y_prob = make()
    thresholds = np.linspace(0.1, 0.9, len(NAMES))
    found = score(y_true, y_prob, NAMES, threshold=thresholds.tolist())
    alone = [
        score(y_true, y_prob, NAMES, threshold=at).by_class.loc[[name]]
        for name, at in zip(NAMES, thresholds, strict=True)
    ]
    pd.testing.assert_frame_equal(found.by_class, pd.concat(alone))
    assert found.overall["f1_macro"] == pytest.approx(
        sklearn.metrics.f1_score(y_true, y_prob.astype(np.float64) >= thresholds, average="macro"), abs=1e-12
    )
    assert (
        found.threshold_by_class == found.to_dict()["threshold"] == dict(zip(NAMES, thresholds.tolist(), strict=True))
    )
    json.dumps(found.to_dict(), allow_nan=False)
    one = score(y_true, y_prob, NAMES, threshold=0.25)
    assert one.to_dict()["threshold"] == 0.25 and set(one.threshold_by_class.values()) == {0.25}


def test_one_class_and_one_record():
    assert score([[1, 0]], [[0.9, 0.1]], ["A", "B"]).overall["f1_micro"] == 1.0
    assert score([[True]], [[1]], ["A"]).by_class.loc["A", ["tp", "n_negative"]].tolist() == [1, 0]


def test_to_dict_is_valid_json_in_a_fixed_order():
    y_true, y_prob = make()
    y_true[:, 1] = 0
    found = score(y_true, y_prob, NAMES, pos_weight=2.0)
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(read) == ["threshold", "overall", "undefined", "by_class"]
    keys = [metric.key for metric in overall_metrics()]  # the registry's order
    assert list(read["overall"])[: len(keys) + 1] == [*keys, "loss"]
    assert list(read["by_class"]) == NAMES
    assert list(read["by_class"]["MI"]) == list(found.by_class.columns)
    assert read["by_class"]["MI"]["pr_auc"] is None
    assert read["by_class"]["NORM"]["pr_auc"] == found.by_class.at["NORM", "pr_auc"]
    assert isinstance(read["by_class"]["NORM"]["tp"], int) and read["overall"]["n_records"] == 400


def test_labels_are_read_in_any_number_type():
    y_true, y_prob = make()
    expected = score(y_true, y_prob, NAMES).to_dict()
    for dtype in (bool, np.int64, np.float32):
        assert score(y_true.astype(dtype), y_prob, NAMES).to_dict() == expected


def test_all_of_ptbxl_is_scored_in_seconds():
    y_true, y_prob = make(21799, 71)
    start = time.process_time()
    found = score(y_true, y_prob, [f"C{number}" for number in range(71)])
    assert time.process_time() - start < 5
    assert found.overall["n_records"] == 21799


@pytest.mark.parametrize(
    ("y_true", "y_prob", "message"),
    [
        ([[0, 1]], [[0.5]], r"y_prob must have shape \(n_records, 2\) for 2 classes, got \(1, 1\)"),
        ([0, 1], [[0.5, 0.5]], r"y_true must have shape \(n_records, 2\) for 2 classes, got \(2,\)"),
        ([[0, 1], [1, 1]], [[0.5, 0.5]], r"y_true and y_prob differ in shape: \(2, 2\) and \(1, 2\)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), r"at least one record and one class, got shape \(0, 2\)"),
        ([[0, 2]], [[0.5, 0.5]], "y_true of class 'B' in row 0 must be 0 or 1, got 2"),
        ([[0, -2]], [[0.5, 0.5]], "y_true of class 'B' in row 0 must be 0 or 1, got -2; not annotated is -1, nan"),
        ([[0, 1]], [[np.inf, 0.5]], "y_prob of class 'A' in row 0 must be finite, got inf"),
        ([[0, 1]], [[-3.2, 0.5]], r"y_prob of class 'A' in row 0 must be in \[0, 1\], got -3.2: apply the sigmoid"),
    ],
)
def test_score_refuses_broken_input(y_true, y_prob, message):
    with pytest.raises(DataError, match=message) as caught:
        score(y_true, y_prob, ["A", "B"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, r"threshold must be in \[0, 1\], got 1.5"),
        ({"threshold": np.nan}, r"threshold must be in \[0, 1\], got nan"),
        ({"threshold": [0.5, -0.1]}, r"threshold must be in \[0, 1\], got -0.1"),
        ({"threshold": [0.5] * 3}, r"threshold must be one number or one per class \(2\), got \(3,\)"),
        ({"pos_weight": [1.0, 2.0, 3.0]}, r"pos_weight must be one number or one per class \(2\), got \(3,\)"),
        ({"pos_weight": [1.0, 0.0]}, r"pos_weight must be finite and above 0, got \[1.0, 0.0\]"),
        ({"pos_weight": np.inf}, "pos_weight must be finite and above 0"),
    ],
)
def test_score_refuses_what_cannot_be_asked(options, message):
    with pytest.raises(ConfigError, match=message):
        score([[0, 1]], [[0.5, 0.5]], ["A", "B"], **options)


def test_by_class_is_indexed_by_class_name():
    found = score(*make(), NAMES)
    assert found.by_class.index.name == "class" and found.by_class.index.tolist() == NAMES
    assert all(pd.api.types.is_integer_dtype(found.by_class[name]) for name in ("tp", "fp", "fn", "tn"))


def test_several_folds_are_measured_each_by_itself():
    """Each net's probabilities are shifted: within folds that changes no area, ranked together it does."""
    y_true, y_prob = make(decimals=2)
    fold = np.arange(400) % 4
    wide = y_prob.astype(float) ** np.array([1, 2, 4, 8])[fold][:, None]
    found = score(y_true, wide, NAMES, threshold=0.3, fold=fold)
    alone = [score(y_true[fold == k], wide[fold == k], NAMES, threshold=0.3) for k in range(4)]
    for key, function in (
        ("roc_auc", sklearn.metrics.roc_auc_score),
        ("pr_auc", sklearn.metrics.average_precision_score),
    ):
        each = [function(y_true[fold == k], y_prob[fold == k].astype(float), average=None) for k in range(4)]
        np.testing.assert_allclose(found.by_class[key], np.mean(each, axis=0), atol=1e-12)
        assert found.overall[key] == pytest.approx(np.mean(each), abs=1e-12)
        assert score(y_true, wide, NAMES).overall[key] < found.overall[key] - 0.02
    for metric in overall_metrics():
        expected = np.mean([one.overall[metric.key] for one in alone])
        assert found.overall[metric.key] == pytest.approx(expected, abs=1e-12), metric.key
    for key in ("f1", "mcc", "sensitivity", "precision", "brier", "f1_max"):
        np.testing.assert_allclose(
            found.by_class[key], np.mean([one.by_class[key] for one in alone], axis=0), atol=1e-12
        )
    assert found.by_class["tp"].tolist() == sum(one.by_class["tp"] for one in alone).tolist()
    assert found.overall["n_records"] == 400
    assert score(y_true, wide, NAMES, fold=[5] * 400).to_dict() == score(y_true, wide, NAMES).to_dict()


def test_a_fold_without_a_class_does_not_count_for_it():
    fold = [0, 0, 0, 0, 1, 1, 2, 2]
    y_true = np.array([[1, 1], [0, 0], [1, 0], [0, 0], [0, 1], [0, 1], [1, 0], [0, 0]])
    y_prob = np.array([[0.9, 0.9], [0.8, 0.1], [0.7, 0.1], [0.1, 0.1], [0.9, 0.2], [0.9, 0.3], [0.1, 0.2], [0.6, 0.4]])
    found = score(y_true, y_prob, ["MI", "HYP"], fold=fold)
    assert found.by_class["roc_auc"].tolist() == [(0.75 + 0.0) / 2, 1.0]  # of MI over two folds, of HYP over the first
    assert found.overall["roc_auc"] == (0.375 + 1.0) / 2
    assert found.by_class.at["HYP", "sensitivity"] == (1.0 + 0.0) / 2  # needs no negative record
    apart = score([[1], [1], [0], [0]], [[0.9], [0.8], [0.2], [0.3]], ["MI"], fold=[0, 0, 1, 1])
    assert apart.undefined == {"MI": "no fold with a positive and a negative record"}
    assert math.isnan(apart.overall["roc_auc"]) and apart.overall["n_defined_classes"] == 0
    with pytest.raises(DataError, match=r"fold must have shape \(4,\) like y_true, got \(1,\)"):
        score([[1], [1], [0], [0]], [[0.5]] * 4, ["MI"], fold=[0])
