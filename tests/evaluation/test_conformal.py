import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.conformal import SETS, can_be_stated, form_sets, learn_conformal, measure_sets


def learn(positive, negative, patients=None):
    """One class with these scores; without `patients` each record is of another one."""
    scores = np.array([*positive, *negative], dtype=float)[:, None]
    y_true = np.array([1] * len(positive) + [0] * len(negative))[:, None]
    return learn_conformal(y_true, scores, np.arange(len(scores)) if patients is None else patients)


def name_sets(known, scores, error_rate):
    sets = form_sets(known.find_p(np.array(scores)[:, None]), known.n_patients, error_rate)
    return [SETS[number] for number in sets[:, 0]]


def test_the_limits_are_those_worked_out_by_hand():
    """Nine positive patients: at 0.1 a score below the lowest lacks *yes*, at 0.2 one below the second."""
    known = learn(positive=range(1, 10), negative=range(-20, -1))
    assert known.n_patients.tolist() == [[19, 9]]
    assert known.find_p([[0.5], [1.0], [1.5], [20.0]])[:, 0, 1].tolist() == [0.1, 0.2, 0.2, 1.0]
    assert name_sets(known, [0.5, 1.0], 0.1) == ["neither", "yes"]
    assert name_sets(known, [1.5, 2.0], 0.2) == ["neither", "yes"]
    # At 0.1 the highest of 19 negative ones, -2, has p = 2 / 20, the second 3 / 20.
    assert name_sets(known, [-2.0, -3.0], 0.1) == ["neither", "no"]


def test_overlapping_scores_are_not_certain():
    known = learn(positive=range(9), negative=range(9))
    assert name_sets(known, [-1.0, 4.0, 9.0], 0.1) == ["no", "not certain", "yes"]


def test_too_few_patients_state_no_error_rate():
    """1 / 0.1 - 1 = 9 are needed."""
    known = learn(positive=range(8), negative=range(-100, 0))
    assert set(name_sets(known, [-200.0, 0.0, 200.0], 0.1)) == {"not certain"}
    assert name_sets(known, [-200.0, 200.0], 0.2) == ["no", "yes"]
    assert can_be_stated([[9, 9], [9, 8], [8, 9], [500, 500]], 0.1).tolist() == [True, False, False, True]


def test_records_of_a_patient_share_the_weight_of_one():
    """Of patient 7, two of four records are below 2.5, and of patient 8 the only one: p = (1 + 2/4 + 1) / (2 + 1)."""
    known = learn([1, 2, 3, 4, 0], [9], patients=[7, 7, 7, 7, 8, 7])
    assert known.n_patients.tolist() == [[1, 2]]
    assert known.find_p([[2.5]])[0, 0].tolist() == pytest.approx([1.0, 2.5 / 3])


def test_what_is_not_annotated_takes_no_part():
    known = learn_conformal([[1], [-1], [0]], [[1.0], [5.0], [0.0]], [1, 2, 3])
    assert known.n_patients.tolist() == [[1, 1]]


def test_the_limit_is_the_order_statistic_of_split_conformal_prediction():
    """Of n exchangeable scores it is number floor(alpha (n + 1)) from below (Angelopoulos and Bates, 2023)."""
    generator = np.random.default_rng(0)
    for n in (9, 10, 37, 99):
        scores, error_rate = np.sort(generator.normal(size=n)), 0.1
        known = learn(scores, [])
        is_kept = known.find_p(scores[:, None])[:, 0, 1] > error_rate + 1e-12
        assert scores[is_kept].min() == scores[int(np.floor(error_rate * (n + 1) + 1e-9)) - 1]


def test_new_patients_are_covered_as_stated():
    """A label is kept with probability 1 - floor(alpha (n + 1)) / (n + 1) on average over known patients."""
    generator, covered = np.random.default_rng(0), []
    for _ in range(400):
        scores = generator.normal(size=(30, 2))  # two records of a patient, which are of his own
        scores += 2 * generator.normal(size=(30, 1))
        known = learn(scores.ravel(), [], patients=np.repeat(np.arange(30), 2))
        p = known.find_p(np.linspace(-12, 4, 4000)[:, None])[:, 0, 1]
        limit = np.linspace(-12, 4, 4000)[np.argmax(p > 0.1 + 1e-12)]
        covered.append(stats.norm.sf(limit, scale=np.sqrt(5)))
    assert 0.9 <= np.mean(covered) < 0.93


def test_sets_are_measured_against_the_labels():
    """Of four positive records three hold yes, of two that are yes or no and positive one is right."""
    y_true = np.array([[1], [1], [1], [1], [0], [0], [-1]])
    sets = np.array([["yes"], ["not certain"], ["not certain"], ["no"], ["no"], ["neither"], ["yes"]])
    numbers = np.vectorize(SETS.index)(sets)
    (row,) = measure_sets(y_true, numbers, np.arange(7), ["MI"]).to_dict(orient="records")
    assert (row["n_positive"], row["n_negative"]) == (4, 2)
    assert (row["coverage_positive"], row["coverage_negative"]) == (0.75, 0.5)
    assert (row["not_certain_positive"], row["not_certain_negative"]) == (0.5, 0.0)
    shares = {key: row[key] for key in ("yes", "no", "not_certain", "neither")}
    assert shares == pytest.approx({"yes": 1 / 6, "no": 2 / 6, "not_certain": 2 / 6, "neither": 1 / 6})
    assert row["error_certain"] == pytest.approx(1 / 3)
    low, high = proportion_confint(3, 4, method="wilson")
    assert (row["coverage_positive_low"], row["coverage_positive_high"]) == pytest.approx((low, high))


def test_records_of_a_patient_count_once_in_the_intervals():
    """Each patient's two records are alike: as many patients with one record."""
    y_true, sets = np.ones((40, 1), int), np.repeat([2] * 14 + [1] * 6, 2)[:, None]
    row = measure_sets(y_true, sets, np.repeat(np.arange(20), 2), ["MI"]).iloc[0]
    low, high = proportion_confint(14, 20, method="wilson")
    assert (row["coverage_positive_low"], row["coverage_positive_high"]) == pytest.approx((low, high))
    perfect = measure_sets(y_true, np.full((40, 1), 2), np.repeat(np.arange(20), 2), ["MI"]).iloc[0]
    assert perfect["coverage_positive_low"] == pytest.approx(proportion_confint(20, 20, method="wilson")[0])
    assert np.isnan(perfect["coverage_negative"])


@pytest.mark.parametrize("error_rate", [0.0, 0.5, float("nan")])
def test_an_error_rate_that_says_nothing_is_refused(error_rate):
    with pytest.raises(ConfigError, match=r"error_rate must be above 0 and below 0\.5"):
        form_sets(np.ones((1, 1, 2)), [[100, 100]], error_rate)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"got \(2, 1\), \(1, 1\) and \(2,\)"):
        learn_conformal([[1], [0]], [[1.0]], [1, 2])
