import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.metrics import measure, score
from ecgcls.evaluation.settings import Bootstrap
from ecgcls.evaluation.weighted import Records

CLASSES = ("NORM", "MI", "HYP")


@pytest.fixture(scope="module")
def arrays():
    """150 records of 150 patients, three classes, some probabilities equal."""
    generator = np.random.default_rng(0)
    y_true = (generator.random((150, 3)) < [0.5, 0.3, 0.2]).astype(int)
    y_prob = np.round(1 / (1 + np.exp(-generator.normal(1.2 * y_true - 0.6))), 2)
    return y_true, y_prob


@pytest.mark.parametrize("n_folds", [1, 3])
def test_weighted_records_score_as_repeated_ones(arrays, n_folds):
    y_true, y_prob = arrays
    weights = np.random.default_rng(1).multinomial(150, np.full(150, 1 / 150), 20).T  # (record, resample)
    fold = np.arange(150) // 50 if n_folds > 1 else None
    found = measure(Records.check(y_true, y_prob, CLASSES, threshold=0.4, fold=fold), weights.astype(float))
    for resample in range(20):
        rows = np.repeat(np.arange(150), weights[:, resample])
        of_rows = None if fold is None else fold[rows]
        expected = score(y_true[rows], y_prob[rows], CLASSES, threshold=0.4, fold=of_rows)
        for key, values in found.by_class.items():
            np.testing.assert_allclose(values[:, resample], expected.by_class[key], rtol=1e-12)
        for key, values in found.average().items():
            np.testing.assert_allclose(values[resample], expected.overall[key], rtol=1e-12)


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize(("metric", "expected"), [("pr_auc", average_precision_score), ("roc_auc", roc_auc_score)])
def test_patients_with_one_record_have_the_limits_that_scipy_finds(arrays, method, metric, expected):
    y_true, y_prob = arrays[0][:, 1], arrays[1][:, 1]
    settings = Bootstrap(n_resamples=1500, method=method)
    found = bootstrap(y_true[:, None], y_prob[:, None], np.arange(150), ["MI"], settings=settings).loc[("MI", metric)]
    theirs = stats.bootstrap(
        (np.arange(150),),
        lambda rows: expected(y_true[rows], y_prob[rows]),
        n_resamples=1500,
        method={"bca": "BCa", "percentile": "percentile"}[method],
        vectorized=False,
        rng=np.random.default_rng(5),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found["value"] == pytest.approx(expected(y_true, y_prob))
    assert found["low"] == pytest.approx(theirs.low, abs=0.12 * width)
    assert found["high"] == pytest.approx(theirs.high, abs=0.12 * width)


def test_copies_of_a_patients_record_add_nothing(arrays):
    y_true, y_prob = arrays
    settings = Bootstrap(n_resamples=200)
    single = bootstrap(y_true, y_prob, np.arange(150), CLASSES, settings=settings)
    copied = bootstrap(
        np.repeat(y_true, 4, axis=0), np.repeat(y_prob, 4, axis=0), np.repeat(np.arange(150), 4), CLASSES,
        settings=settings,
    )  # fmt: skip
    np.testing.assert_allclose(copied[["value", "low", "high"]], single[["value", "low", "high"]], rtol=1e-9)
    naive = bootstrap(
        np.repeat(y_true, 4, axis=0), np.repeat(y_prob, 4, axis=0), np.arange(600), CLASSES, settings=settings
    )
    ratio = (naive["high"] - naive["low"]) / (copied["high"] - copied["low"])
    assert ratio.between(0.35, 0.65).all()  # one half, as if there were four times as many patients


def test_the_values_are_those_of_score(arrays):
    y_true, y_prob = arrays
    found = bootstrap(y_true, y_prob, np.arange(150), CLASSES, threshold=[0.3, 0.4, 0.5], settings=Bootstrap(50))
    scores = score(y_true, y_prob, CLASSES, threshold=[0.3, 0.4, 0.5])
    for (name, metric), row in found.iterrows():
        expected = scores.overall[metric] if name == "overall" else scores.by_class.loc[name, metric]
        assert row["value"] == expected
        assert row["low"] <= row["value"] <= row["high"]
        assert row["contains_value"]
    assert found.loc[("MI", "f1"), "n_positive"] == y_true[:, 1].sum()


def test_a_class_of_one_patient_is_lost_in_a_third_of_the_resamples(arrays):
    y_true, y_prob = arrays[0].copy(), arrays[1]
    y_true[:, 2] = 0
    y_true[7, 2] = 1
    settings = {"n_resamples": 1000, "method": "percentile", "min_positives": 20}
    kept = bootstrap(y_true, y_prob, np.arange(150), CLASSES, settings=Bootstrap(**settings))
    out = bootstrap(y_true, y_prob, np.arange(150), CLASSES, settings=Bootstrap(**settings, lost_class="nan"))
    for found in (kept, out):
        row = found.loc[("HYP", "pr_auc")]
        assert row["n_lost"] == pytest.approx(1000 * (149 / 150) ** 150, abs=60)
        assert not row["is_supported"]
        assert found.loc[("NORM", "pr_auc"), "is_supported"]
        assert not found.loc[("overall", "pr_auc"), "is_supported"]  # HYP is a third of it
        assert found.loc[[("overall", "f1_micro"), ("overall", "brier")], "is_supported"].all()
        assert np.isfinite(row[["low", "high"]].astype(float)).all()


def test_an_undefined_class_has_no_interval_and_is_left_out_of_the_mean(arrays):
    y_true, y_prob = arrays[0].copy(), arrays[1]
    y_true[:, 2] = 0
    found = bootstrap(y_true, y_prob, np.arange(150), CLASSES, settings=Bootstrap(100))
    assert found.loc["HYP"][["value", "low", "high"]].isna().all(axis=None)
    two = bootstrap(y_true[:, :2], y_prob[:, :2], np.arange(150), CLASSES[:2], settings=Bootstrap(100))
    for metric in ("pr_auc", "roc_auc", "f1_macro"):
        rows = [
            table.loc[("overall", metric), ["value", "low", "high"]].to_numpy(dtype=float) for table in (found, two)
        ]
        np.testing.assert_allclose(*rows)


def test_few_patients_expand_the_limits_as_students_t_does():
    generator = np.random.default_rng(3)
    y_true = (np.arange(80) < 10).astype(int)[:, None]  # ten patients show the class
    y_prob = generator.random((80, 1)) * 0.7 + 0.3 * y_true
    arrays = (y_true, y_prob, np.arange(80), ["MI"])
    expanded = bootstrap(*arrays, settings=Bootstrap(500)).loc["MI"]
    # sqrt(10 / 9) t(0.975, 9) = 1.0541 * 2.2622 = 2.3845, where the normal distribution leaves 0.855% on a side
    plain = bootstrap(*arrays, settings=Bootstrap(500, method="percentile", level=1 - 2 * 0.008551)).loc["MI"]
    np.testing.assert_allclose(expanded[["low", "high"]], plain[["low", "high"]], atol=1e-4)
    narrow = bootstrap(*arrays, settings=Bootstrap(500, method="percentile")).loc["MI"]
    assert (expanded["high"] - expanded["low"] > narrow["high"] - narrow["low"]).all()


def test_the_seed_determines_the_limits(arrays):
    one, same, other = (
        bootstrap(*arrays, np.arange(150), CLASSES, settings=Bootstrap(100, seed=seed)) for seed in (0, 0, 1)
    )
    assert one.equals(same)
    assert not np.allclose(one["low"], other["low"])


def test_a_perfect_class_has_a_perfect_interval():
    y_true = np.array([[0], [1]] * 20)
    found = bootstrap(y_true, y_true * 0.8 + 0.1, np.arange(40), ["MI"], settings=Bootstrap(100))
    assert found.loc[("MI", "roc_auc"), ["value", "low", "high"]].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"n_resamples": 1}, "n_resamples must be at least 2, got 1"),
        ({"level": 95}, "level must be between 0 and 1, got 95"),
        ({"method": "normal"}, "intervals.method must be one of expanded, percentile, bca, got 'normal'"),
        ({"lost_class": "drop"}, "intervals.lost_class must be one of redraw, nan, got 'drop'"),
        ({"min_positives": -1}, "min_positives must be at least 0, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, match):
    with pytest.raises(ConfigError, match=match):
        Bootstrap(**settings)


def test_patients_are_needed(arrays):
    with pytest.raises(DataError, match=r"patient_id must have shape \(150,\)"):
        bootstrap(*arrays, np.arange(10), CLASSES)
    with pytest.raises(DataError, match="at least two patients, got 1"):
        bootstrap(*arrays, np.zeros(150, dtype=int), CLASSES)


def test_patients_are_drawn_within_folds(arrays):
    """A fold that a net ranks perfectly and one that it ranks wrongly: every resample has both, half and half."""
    y_true = np.tile([[1], [0]], (30, 1))
    y_prob = np.where(np.arange(60)[:, None] < 20, y_true, 1 - y_true) * 0.5 + 0.2
    fold = np.repeat([0, 1], [20, 40])
    found = bootstrap(y_true, y_prob, np.arange(60) // 2, ["MI"], fold=fold, settings=Bootstrap(200))
    assert found.loc[("MI", "roc_auc"), ["value", "low", "high"]].tolist() == [0.5, 0.5, 0.5]
    together = bootstrap(y_true, y_prob, np.arange(60) // 2, ["MI"], settings=Bootstrap(200)).loc[("MI", "roc_auc")]
    assert together["low"] < together["value"] < together["high"]
