import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ecgcls.training.metrics import MacroAUROC, MacroAveragePrecision, MacroF1, MicroF1


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    y_true = (rng.random((200, 5)) < [0.6, 0.3, 0.2, 0.1, 0.05]).astype(int)
    y_prob = np.round(rng.random((200, 5)) * 0.7 + 0.3 * y_true, 2)  # rounded: ties
    return y_true, y_prob


def compute(metric, y_true, y_prob, batch=32):
    for start in range(0, len(y_true), batch):
        part = slice(start, start + batch)
        metric.update(torch.tensor(y_prob[part], dtype=torch.float32), torch.tensor(y_true[part]))
    return metric.compute().item()


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (MacroAveragePrecision, lambda y, p: average_precision_score(y, p, average="macro")),
        (MacroAUROC, lambda y, p: roc_auc_score(y, p, average="macro")),
        (MacroF1, lambda y, p: f1_score(y, p >= 0.5, average="macro")),
        (MicroF1, lambda y, p: f1_score(y, p >= 0.5, average="micro")),
    ],
)
def test_metric_equals_scikit_learn_over_batches(metric, expected, scored):
    y_true, y_prob = scored
    y_prob = y_prob.astype(np.float32)
    y_prob[y_prob == 0.5] = 0.51  # torchmetrics predicts above the threshold, scikit-learn was given 'at least'
    assert compute(metric(num_labels=5), y_true, y_prob) == pytest.approx(expected(y_true, y_prob), abs=1e-6)


@pytest.mark.parametrize("constant", [0, 1])
@pytest.mark.parametrize("metric", [MacroAveragePrecision, MacroAUROC, MacroF1])
def test_a_class_that_cannot_be_scored_takes_no_part(metric, constant, scored):
    y_true, y_prob = scored
    with_constant = y_true.copy()
    with_constant[:, 2] = constant
    others = [0, 1, 3, 4]
    expected = compute(metric(num_labels=4), y_true[:, others], y_prob[:, others])
    assert compute(metric(num_labels=5), with_constant, y_prob) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("metric", [MacroAveragePrecision, MacroAUROC, MacroF1])
def test_without_any_scorable_class_the_metric_is_nan(metric, scored):
    _, y_prob = scored
    assert np.isnan(compute(metric(num_labels=5), np.zeros((200, 5), dtype=int), y_prob))
