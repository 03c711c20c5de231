"""One contract for the ways to fit."""

import json

import numpy as np
import pytest

from ecgcls.jobs.build import build_job
from ecgcls.runs.directory import RunDirectory
from ecgcls.training.fitters import BaselineFitter, NetFitter
from tests.in_process import configure

FITTERS = {"cnn1d": NetFitter, "age_sex": BaselineFitter, "prevalence": BaselineFitter}
COLUMNS = {"epoch", "train/loss", "val/loss", "val/pr_auc", "val/roc_auc", "val/f1_macro", "val/f1_micro"}


@pytest.fixture(scope="module", params=FITTERS)
def fitted(request, synthetic_root, tmp_path_factory):
    """The name of a model, its job, and the history of fitting it for two epochs."""
    folder = tmp_path_factory.mktemp(request.param)
    config = configure(synthetic_root, f"model={request.param}", "trainer.max_epochs=2")
    job = build_job(config, RunDirectory(folder), model=request.param)
    return request.param, job, job.fitter.fit(job.data, folder, resume=True)


def test_the_model_decides_how_it_is_fitted(fitted):
    model, job, _ = fitted
    assert type(job.fitter) is FITTERS[model]
    assert job.fitter.kind == job.info.kind == ("net" if model == "cnn1d" else "baseline")
    assert job.fitter.n_parameters == {"cnn1d": 46_757, "age_sex": 15, "prevalence": 5}[model]


def test_the_history_has_a_row_per_epoch(fitted):
    model, _, history = fitted
    assert set(history.columns) == COLUMNS
    assert history["epoch"].tolist() == ([0, 1] if model == "cnn1d" else [0])
    assert np.isfinite(history.to_numpy()).all()
    assert (history.filter(like="loss") > 0).all(axis=None)
    assert history.filter(regex="pr_auc|roc_auc|f1").apply(lambda values: values.between(0, 1)).all(axis=None)


def test_the_validation_and_the_test_part_are_predicted(fitted):
    _, job, _ = fitted
    predicted = job.fitter.predict(job.data, job.run.path)
    assert list(predicted) == ["val", "test"]
    for part, found in predicted.items():
        np.testing.assert_array_equal(found.rows, job.data.cohort.find_part(part))
        assert found.y_prob.shape == (len(found.rows), len(job.data.class_names))
        assert ((found.y_prob >= 0) & (found.y_prob <= 1)).all()
        assert found.y_prob.dtype == np.float64
        if job.fitter.kind == "net":
            np.testing.assert_allclose(1 / (1 + np.exp(-found.y_logit)), found.y_prob, rtol=1e-12)


def test_what_it_learned_from_is_described(fitted):
    model, job, history = fitted
    described = job.fitter.describe(job.run.path)
    assert set(described) == {"best_epoch", "standardized_on", "pos_weight", "fingerprints"}
    fitted_on = job.data.standardization.sha256 if model == "cnn1d" else job.data.cohort.hash_part("train")
    assert described["standardized_on"] == fitted_on
    assert list(described["fingerprints"]) == (["net"] if model == "cnn1d" else [])
    assert described["best_epoch"] == (history["val/pr_auc"].idxmax())
    weights = job.data.pos_weight.double().clamp(max=20).tolist()
    assert described["pos_weight"] == (pytest.approx(weights) if model == "cnn1d" else None)
    assert json.loads(json.dumps(dict(described))) == described
