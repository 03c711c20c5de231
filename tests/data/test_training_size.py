"""A training part of a chosen size: whole patients, nested, with the prevalences of the whole."""

import numpy as np
import pandas as pd
import pytest

from ecgcls.data.training_size import TrainingSize
from ecgcls.errors import ConfigError
from tests.data.modules import make

N = 3000


@pytest.fixture(scope="module")
def patients() -> pd.Series:
    """1 to 4 records of each patient, of text names in no order."""
    names = np.random.default_rng(0).permutation(np.repeat([f"P{n}" for n in range(1200)], 1 + np.arange(1200) % 4))[:N]
    return pd.Series(names)


@pytest.fixture(scope="module")
def y_true(patients) -> np.ndarray:
    """Frequent, less frequent, rare (15 records), and one that most records have; some are not annotated."""
    rng = np.random.default_rng(1)
    y_true = (rng.random((N, 4)) < (0.3, 0.1, 0, 0.98)).astype(np.int8)
    y_true[rng.choice(N, 15, replace=False), 2] = 1
    y_true[rng.random((N, 4)) < 0.1] = -1
    return y_true


def choose(patients, y_true, n, seed=0):
    return TrainingSize(n, seed).choose(patients, y_true, fold=0)


@pytest.mark.parametrize("seed", range(5))
def test_smaller_parts_are_in_larger_ones_and_no_patient_is_split(patients, y_true, seed):
    before = np.zeros(N, dtype=bool)
    for n in (30, 100, 350, 1000, N):
        taken = choose(patients, y_true, n, seed)
        assert n <= taken.sum() < n + 4, "at most one patient's records more than needed"
        assert taken[before].all()
        assert not set(patients[taken]) & set(patients[~taken])
        before = taken
    assert before.all()


def test_classes_are_as_frequent_as_in_the_whole(patients, y_true):
    """Over seeds, within what drawing patients at random would give; a plain draw of 300 varies by 0.026 in class 0."""
    shares = np.array([(y_true[choose(patients, y_true, 300, seed)] == 1).mean(axis=0) for seed in range(40)])
    whole = (y_true == 1).mean(axis=0)
    np.testing.assert_allclose(shares.mean(axis=0), whole, atol=0.012)
    plain = np.sqrt(whole * (1 - whole) / 300)
    assert (shares.std(axis=0)[:3] < plain[:3]).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_small_part_has_both_kinds_of_every_class(patients, y_true, seed):
    taken = y_true[choose(patients, y_true, 12, seed)]
    assert (taken == 1).any(axis=0).all() and (taken == 0).any(axis=0).all()


def test_a_seed_gives_one_draw_and_another_seed_another(patients, y_true):
    first, again, other = (choose(patients, y_true, 300, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert 0.05 < (first & other).sum() / 300 < 0.25  # by chance a tenth, but the rare class is in both


def test_more_than_there_are_is_refused(patients, y_true):
    with pytest.raises(ConfigError, match=r"data\.n_train=3001: the training part of fold 0 has 3000 records; .*null"):
        choose(patients, y_true, N + 1)


def test_classes_that_nobody_has_are_no_stratum():
    taken = choose(pd.Series([1, 2, 3]), np.zeros((3, 2), dtype=np.int8), 2)
    assert taken.sum() == 2


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"n_train": 0}, r"data\.n_train must be at least 1, or null, got 0"),
        ({"n_train": 9, "n_train_seed": -1}, r"data\.n_train_seed must be at least 0, got -1"),
        ({"n_train_seed": 1}, r"data\.n_train_seed=1 draws nothing without data\.n_train"),
    ],
)
def test_impossible_settings_are_refused(synthetic_root, tmp_path, changed, match):
    with pytest.raises(ConfigError, match=match):
        make(synthetic_root, tmp_path, **changed)


def test_a_module_trains_on_the_part_alone(synthetic_root, tmp_path, caplog):
    caplog.set_level("INFO")
    whole, small = (make(synthetic_root, tmp_path, n_train=n) for n in (None, 20))
    records = small.cohort.records
    trained, full = records[records["part"] == "train"], whole.cohort.records
    untrained = full[(full["part"] == "train") & ~full.index.isin(trained.index)]
    assert 20 <= len(trained) < 25 and len(trained) + len(untrained) == (full["part"] == "train").sum()
    for part in ("val", "test"):
        pd.testing.assert_frame_equal(records[records["part"] == part], full[full["part"] == part])
    described, n_patients = small.describe(), untrained["patient_id"].nunique()
    assert described["parts"]["train"]["n_records"] == len(trained)
    assert described["n_untrained"] == len(untrained)
    assert described["n_untrained_patients"] == n_patients
    assert "n_untrained" not in whole.describe()
    assert (
        f"data.n_train left out {len(untrained)} records of {untrained['patient_id'].nunique()} others" in caplog.text
    )
    y_train = small.cohort.y_true[small.cohort.find_part("train")]
    expected = (y_train == 0).sum(axis=0) / (y_train == 1).sum(axis=0)
    np.testing.assert_allclose(small.pos_weight, expected, rtol=1e-6)
    signals_mv = small.store.signals_uv[small.store.find_rows(trained.index)] / 1000
    np.testing.assert_allclose(small.standardization.mean_mv, signals_mv.mean(axis=(0, 2)), atol=1e-6)
    # nothing was learned from those who were left out, nor from their records without a label
    seen = {ecg_id for group in small.seen.groups.values() for ecg_id in group.ecg_ids.tolist()}
    every = pd.read_csv(synthetic_root / "ptbxl_database.csv", index_col="ecg_id")
    assert seen == set(every.index[~every["patient_id"].isin(untrained["patient_id"])])
    assert set(small.seen.groups["train"].ecg_ids) == set(trained.index)
