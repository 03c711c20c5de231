import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ecgcls.errors import ConfigError, DataError
from ecgcls.jobs.load import load_run
from ecgcls.models.cnn1d import CNN1D
from ecgcls.models.random_features import RandomFeatures
from ecgcls.training.baselines import MetadataBaseline
from tests.in_process import fit


def simulate(n_records=400):
    generator = np.random.default_rng(0)
    records = pd.DataFrame({"age": generator.uniform(20, 89, n_records), "sex": generator.integers(0, 2, n_records)})
    odds = np.exp(0.08 * (records["age"].to_numpy() - 60) + records["sex"].to_numpy())
    y_true = generator.random(n_records) < odds / (1 + odds)
    return records, np.column_stack([y_true, generator.random(n_records) < 0.25])


def test_without_columns_everyone_gets_the_training_prevalence():
    records, y_true = simulate()
    baseline = MetadataBaseline()
    baseline.fit(records, y_true)
    np.testing.assert_allclose(baseline.predict(records.iloc[:3]), np.tile(y_true.mean(axis=0), (3, 1)))
    assert baseline.n_parameters == 2


def test_age_and_sex_are_a_logistic_regression_of_standardized_columns():
    records, y_true = simulate()
    baseline = MetadataBaseline(columns=["age", "sex"])
    baseline.fit(records, y_true)
    values = (records - records.mean()) / records.std(ddof=0)
    expected = LogisticRegression(max_iter=1000).fit(values, y_true[:, 0]).predict_proba(values)[:, 1]
    np.testing.assert_allclose(baseline.predict(records)[:, 0], expected, atol=1e-4)
    assert baseline.n_parameters == 6
    fitted = json.loads(json.dumps(baseline.describe(["MI", "CD"])))["classes"]
    assert fitted["MI"]["coefficients"][0] > 0.5 > abs(fitted["CD"]["coefficients"][0])


def test_ages_of_300_count_as_90_and_missing_ones_have_a_column():
    records, y_true = simulate()
    records.loc[:49, "age"] = np.nan
    baseline = MetadataBaseline(columns=["age", "sex"])
    baseline.fit(records, y_true)
    old = pd.DataFrame({"age": [300.0, 90.0], "sex": [1, 1]})
    assert np.ptp(baseline.predict(old), axis=0).tolist() == [0.0, 0.0]
    assert baseline.n_parameters == 2 * (2 + 1 + 1)  # age, sex, whether the age is missing, intercept


def test_a_column_that_is_not_there_is_named():
    records, y_true = simulate()
    with pytest.raises(DataError, match=r"model\.columns: the data set's table has no column weight; it has age, sex"):
        MetadataBaseline(columns=["weight"]).fit(records, y_true)
    with pytest.raises(DataError, match="age holds no number in the training set"):
        MetadataBaseline(columns=["age"]).fit(records.assign(age="unknown"), y_true)


def test_random_features_learn_in_the_head_alone():
    torch.manual_seed(0)
    net = RandomFeatures(12, 100, 3)
    learning = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    assert learning == ["head.0.weight", "head.0.bias"]
    torch.manual_seed(0)
    same = CNN1D(12, 100, 3).features.state_dict()
    for name, value in net.features.state_dict().items():
        assert torch.equal(value, same[name])


def test_a_baseline_run_is_scored_as_any_other_and_has_no_net(synthetic_root, tmp_path):
    run = fit(tmp_path / "fold_0", synthetic_root, "model=age_sex")
    info = run.read_info()
    assert info.is_finished
    assert info.kind == "baseline"
    assert run.read_metrics()["test"]["overall"]["n_records"] == info.data["parts"]["test"]["n_records"]
    assert info.n_parameters == 15
    assert list(json.loads((run.path / "baseline.json").read_text())["classes"]) == list(info.class_names)
    with pytest.raises(ConfigError, match="a baseline has no net that could be applied or explained"):
        load_run(run.path)
