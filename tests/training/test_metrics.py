import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ecgcls.training.metrics import MacroAUROC, MacroAveragePrecision, MacroF1, MicroF1, spread_logits


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


def test_logits_whose_probabilities_tie_are_ranked(scored):
    y_true, y_prob = scored
    logits = torch.tensor(40 + 20 * y_prob, dtype=torch.float32)  # of each of which the sigmoid is 1
    assert (logits.sigmoid() == 1).all()
    expected = roc_auc_score(y_true, logits.numpy(), average="macro")
    metric = MacroAUROC(num_labels=5)
    metric.update(spread_logits(logits), torch.tensor(y_true))
    assert metric.compute().item() == pytest.approx(expected, abs=1e-6)


def test_spread_logits_keep_their_order_and_differ_where_logits_do():
    extreme = [
        -3.4e38,
        -60.0,
        np.nextafter(np.float32(-60), np.float32(0)),
        -1e-45,
        0.0,
        1e-45,
        1.0,
        88.0,
        1e30,
        3.4e38,
    ]
    spread = spread_logits(torch.tensor(extreme, dtype=torch.float32))
    assert (spread.diff() > 0).all()
    assert spread[4] == spread_logits(torch.tensor([-0.0]))[0] == 0.5
    assert 0 <= spread.min() < spread.max() <= 1


@pytest.mark.parametrize("metric", [MacroAveragePrecision, MacroAUROC, MacroF1, MicroF1])
def test_a_class_that_nobody_has_annotated_for_a_record_takes_no_part(metric, scored):
    y_true, y_prob = scored
    unknown = y_true.copy()
    unknown[::3] = -1  # the same for all classes, so that the others can be scored without them
    kept = np.arange(len(y_true)) % 3 > 0
    assert compute(metric(num_labels=5), unknown, y_prob) == pytest.approx(
        compute(metric(num_labels=5), y_true[kept], y_prob[kept]), abs=1e-7
    )
    unknown[:] = np.where(np.arange(5) == 2, -1, y_true)  # a class of which nothing is known
    others = [0, 1, 3, 4]
    assert compute(metric(num_labels=5), unknown, y_prob) == pytest.approx(
        compute(metric(num_labels=4), y_true[:, others], y_prob[:, others]), abs=1e-7
    )


def test_a_class_is_predicted_at_its_threshold():
    assert compute(MicroF1(num_labels=1), np.array([[1]]), np.array([[0.5]])) == 1.0


def test_a_single_class_is_scored_as_by_scikit_learn():
    y_true, y_prob = torch.tensor([[1], [0], [1], [0]]), torch.tensor([[0.9], [0.8], [0.7], [0.1]])
    expected = {MacroAveragePrecision: average_precision_score, MacroAUROC: roc_auc_score}
    for metric, function in expected.items():
        assert metric(num_labels=1)(y_prob, y_true).item() == pytest.approx(function(y_true, y_prob))
    assert MacroF1(num_labels=1)(y_prob, y_true).item() == pytest.approx(f1_score(y_true, y_prob >= 0.5))
    assert MicroF1(num_labels=1)(y_prob, y_true).item() == pytest.approx(f1_score(y_true, y_prob >= 0.5))
