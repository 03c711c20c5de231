import numpy as np
import pytest

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.pooling import pool
from ecgcls.evaluation.predictions import PREFIXES, Predictions
from tests.predictions import assert_same, make


def test_values_are_kept_exactly_in_their_own_types():
    predictions = make(y_true=np.array([[True, False]] * 3), patient_id=np.array([7.0, 8.0, 9.0]))
    assert predictions.y_true.dtype == np.int8 and predictions.y_true.tolist() == [[1, 0]] * 3
    assert predictions.patient_id.dtype == np.int64 and predictions.patient_id.tolist() == [7, 8, 9]
    assert predictions.y_prob.dtype == np.float64
    assert len(predictions) == 3


def test_select_keeps_the_records_of_one_split_in_order():
    predictions = make()
    test = predictions.select("test")
    assert test.ecg_id.tolist() == [1, 2]
    np.testing.assert_array_equal(test.y_prob, predictions.y_prob[1:])
    assert set(test.split) == {"test"}


def test_select_refuses_an_unknown_and_an_absent_split():
    with pytest.raises(ConfigError, match="split must be one of val, test, got 'train'"):
        make().select("train")
    with pytest.raises(DataError, match="none of the 2 predictions is in split 'val'"):
        make((1, 2), ("test", "test")).select("val")


def test_pool_sorts_by_ecg_id_and_keeps_each_row_together():
    parts = [make((9, 2), ("test",) * 2, seed=1), make((5, 1), ("test",) * 2, seed=2)]
    pooled = pool(parts)
    assert pooled.ecg_id.tolist() == [1, 2, 5, 9]
    assert pooled.patient_id.tolist() == [101, 101, 100, 100]
    expected = [parts[1].y_prob[1], parts[0].y_prob[1], parts[1].y_prob[0], parts[0].y_prob[0]]
    np.testing.assert_array_equal(pooled.y_prob, expected)
    assert_same(pool(parts[::-1], [1, 0]), pooled)


def test_pool_refuses_a_record_that_occurs_twice():
    parts = [make((1, 2, 3), ("test",) * 3), make((4, 2), ("test", "val"))]
    with pytest.raises(DataError, match=r"ecg_id 2 occurs 2 times \(test of part 0, val of part 1\), expected once"):
        pool(parts)


@pytest.mark.parametrize(
    ("class_names", "message"),
    [
        (("NORM", "HYP"), "classes of part 1 differ from those of part 0: missing: MI; unexpected: HYP"),
        (("MI", "NORM"), "another order: class 0 is 'MI', expected 'NORM'"),
        (("NORM",), "missing: MI"),
        (("NORM", "MI", "CD"), "unexpected: CD"),
    ],
)
def test_pool_refuses_other_classes(class_names, message):
    with pytest.raises(DataError, match=message):
        pool([make((1, 2, 3)), make((4, 5, 6), class_names=class_names)])


def test_pool_refuses_nothing():
    with pytest.raises(DataError, match="no predictions to pool"):
        pool([])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"patient_id": [1, 2]}, r"patient_id must have shape \(3,\) like y_true, got \(2,\)"),
        ({"ecg_id": ["a", "", "c"]}, "ecg_id in row 2 must be a whole number or a name, got ''"),
        (
            {"ecg_id": [1.0, 1e30, 2.0]},
            r"ecg_id must hold whole numbers, got 1e\+30 \(float64 merges numbers of this size",
        ),
        ({"ecg_id": [1.0, 2.0**53, 2.0]}, r"ecg_id must hold whole numbers, got 9007199254740992\.0 \(float64 merges"),
        ({"patient_id": ["1", "1e30", "2"]}, "patient_id in row 2 must be a whole number or a name, got '1e30'"),
        ({"y_logit": [[0.0, np.inf]] * 3}, "y_logit of class 'MI' in ecg_id 3 must be finite, got inf"),
        (
            {"y_logit": [[50.0, 50.0]] * 3},
            "y_prob of class 'NORM' in ecg_id 3 must be the sigmoid of its y_logit, got 0",
        ),
        ({"y_logit": [[50.0]] * 3}, r"y_logit must hold numbers of shape \(3, 2\), got float64 \(3, 1\)"),
        ({"ecg_id": [1, 2, np.nan]}, "ecg_id must hold whole numbers, got nan"),
        ({"y_prob": [[0.1, np.nan]] * 3}, "y_prob of class 'MI' in ecg_id 3 must be finite, got nan"),
        ({"class_names": ("MI", "MI")}, "class_names must all be different, got twice: MI"),
        ({"class_names": "MI"}, "class_names must be a sequence of names, got the text 'MI'"),
    ],
)
def test_predictions_refuse_broken_arrays(changed, message):
    with pytest.raises(DataError, match=message):
        make(**changed)


def test_a_record_of_both_splits_is_taken_from_both():
    predictions = make((3, 1, 3), ("val", "test", "test")).take(np.array([3.0]))
    assert predictions.ecg_id.tolist() == [3, 3] and predictions.split.tolist() == ["val", "test"]


@pytest.mark.parametrize(
    ("ecg_ids", "message"),
    [
        ([], "no ecg_id is wanted, expected at least one"),
        (["JS1"], "1 of the 1 wanted ecg_ids are not among the 3 predictions: JS1"),
        ([1.5], "ecg_ids must hold whole numbers, got 1.5"),
        (range(1, 20), r"16 of the 19 wanted ecg_ids .* 3 predictions: 4, 5, 6, 7, 8, \.\.\.$"),
    ],
)
def test_records_that_cannot_be_taken_are_refused(ecg_ids, message):
    with pytest.raises(DataError, match=message):
        make().take(list(ecg_ids))


def test_ids_are_kept_as_they_were_typed():
    def ids(*ecg_id):
        return make(np.array(ecg_id, dtype=object)).ecg_id.tolist()  # as a table has them

    assert ids("7", "12", "-3") == [7, 12, -3] and ids("7.0", "12", "3") == [7, 12, 3]
    for kept in (("JS00001", "12", "3"), ("007", "12", "7"), ("12345678901234567890", "12345678901234567891", "1")):
        assert ids(*kept) == list(kept)
    assert ids(2**53 + 1, 2**53 + 2, 1) == ids(str(2**53 + 1), str(2**53 + 2), "1") == [2**53 + 1, 2**53 + 2, 1]
    assert make(np.array(["7", "12", "3"])).decide(0.5).ecg_id.tolist() == ["7", "12", "3"]  # a part of named records
    named = make(("JS3", "JS1", "2"), patient_id=("p1", "p1", "p2"))
    assert named.take(["JS1", "2"]).ecg_id.tolist() == ["JS1", "2"] and named.take([2]).patient_id.tolist() == ["p2"]
    assert pool([named, make((4, 5), ("test", "val"))]).ecg_id.tolist() == ["2", "4", "5", "JS1", "JS3"]
    assert_same(Predictions.from_table(named.to_table()), named)


def test_logits_and_labels_that_nobody_annotated_travel_with_the_records():
    y_logit = np.array([[40.0, -3.0], [60.0, 0.1], [50.0, 2.0]])
    labels = [[1, -1], [np.nan, 0], [0, 1]]
    predictions = make(y_true=labels, y_logit=y_logit, y_prob=1 / (1 + np.exp(-y_logit)))
    assert predictions.y_true.tolist() == [[1, -1], [-1, 0], [0, 1]] and predictions.n_unknown.tolist() == [1, 1]
    assert predictions.select("test").y_score.tolist() == y_logit[1:].tolist()
    assert predictions.annotated("MI").y_logit.tolist() == [[0.1], [2.0]]
    assert predictions.take([3]).take_classes(["MI"]).y_logit.tolist() == [[-3.0]]
    table = predictions.to_table()
    assert [*table][4:] == [f"{prefix}{name}" for prefix in PREFIXES for name in ("NORM", "MI")]
    assert table["y_true_MI"].isna().tolist() == [True, False, False]
    for written in (table, table.astype(str), table.drop(columns=["y_prob_NORM", "y_prob_MI"])):
        assert_same(Predictions.from_table(written), predictions)
    halves = [predictions.take([3]), predictions.take([1, 2])]
    assert pool(halves).y_logit.tolist() == y_logit[[1, 2, 0]].tolist()
    assert pool([halves[0], make((1, 2), ("test",) * 2)]).y_logit is None
    with pytest.raises(DataError, match="no record is annotated for MI"):
        halves[0].annotated("MI")


def test_records_are_taken_in_the_order_of_the_table():
    predictions = Predictions(
        [7, 8, 9], [1, 2, 3], [9] * 3, ["test"] * 3, [[1], [0], [1]], [[0.9], [0.2], [0.4]], ("MI",)
    )
    assert predictions.take([9, 7, 9]).ecg_id.tolist() == [7, 9]
    with pytest.raises(DataError, match="2 of the 3 wanted ecg_ids are not among the 3 predictions: 4, 5"):
        predictions.take([5, 7, 4])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_table_survives_exactly(dtype):
    predictions = make(y_prob=np.random.default_rng(3).random((3, 2)).astype(dtype))
    assert_same(Predictions.from_table(predictions.to_table()), predictions)
    narrow = predictions.to_table().astype({"y_prob_MI": dtype})
    np.testing.assert_array_equal(Predictions.from_table(narrow).y_prob, predictions.y_prob)
    assert_same(Predictions.from_table(predictions.to_table().astype(str)), predictions)


def test_a_table_keeps_its_decisions():
    predictions = make().decide([0.1, 0.9])
    np.testing.assert_array_equal(Predictions.from_table(predictions.to_table()).y_pred, predictions.y_pred)
    without = predictions.to_table().drop(columns=["y_pred_NORM", "y_pred_MI"])
    np.testing.assert_array_equal(Predictions.from_table(without).y_pred, make().y_pred)
    with pytest.raises(DataError, match="the classes of the y_pred_ and y_true_ columns differ: missing: MI"):
        Predictions.from_table(predictions.to_table().drop(columns="y_pred_MI"))


def test_each_record_keeps_the_fold_that_predicted_it():
    parts = [make((9, 2), ("test",) * 2, seed=1), make((5, 1), ("test",) * 2, seed=2)]
    assert pool(parts).fold.tolist() == [1, 0, 1, 0]
    pooled = pool(parts, folds=[3, 7])
    assert pooled.fold.tolist() == [7, 3, 7, 3] and pooled.fold.dtype == np.int64
    assert pooled.take([2, 5]).take_classes(["MI"]).decide(0.3).select("test").fold.tolist() == [3, 7]
    assert [*pooled.to_table()][:5] == ["ecg_id", "patient_id", "strat_fold", "split", "fold"]
    assert_same(Predictions.from_table(pooled.to_table().astype(str)), pooled)
    assert pooled.merge_folds().fold is None
    assert pool(parts[:1]).fold is None and "fold" not in pool(parts[:1]).to_table()


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        ([0, 1], r"fold must have shape \(3,\) like y_true, got \(2,\)"),
        ([0.5, 1, 2], "fold must hold whole numbers, got 0.5"),
    ],
)
def test_folds_that_are_none_are_refused(fold, message):
    with pytest.raises(DataError, match=message):
        make(fold=fold)
    table = make(fold=[0, 1, 2]).to_table().astype(str)
    with pytest.raises(DataError, match="fold in row 2 must be a whole number, got ''"):
        Predictions.from_table(table.assign(fold=["0", "", "1"]))
