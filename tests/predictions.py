"""Small predictions for tests, and whether two are the same."""

import numpy as np

from ecgcls.evaluation.predictions import Predictions

ARRAYS = ("ecg_id", "patient_id", "strat_fold", "split", "y_true", "y_prob")


def make(ecg_id=(3, 1, 2), split=("val", "test", "test"), class_names=("NORM", "MI"), seed=0, **changed):
    rng = np.random.default_rng(seed)
    n_records = len(ecg_id)
    values = {
        "ecg_id": np.array(ecg_id),
        "patient_id": np.arange(n_records) + 100,
        "strat_fold": np.full(n_records, 9),
        "split": np.array(split),
        "y_true": rng.integers(0, 2, (n_records, len(class_names))),
        "y_prob": rng.random((n_records, len(class_names)), dtype=np.float32),
        "class_names": class_names,
    }
    return Predictions(**(values | changed))


def assert_same(left, right):
    assert left.class_names == right.class_names
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
        assert getattr(left, name).dtype.kind == getattr(right, name).dtype.kind
    np.testing.assert_array_equal(left.y_logit, right.y_logit)
    np.testing.assert_array_equal(left.fold, right.fold)
