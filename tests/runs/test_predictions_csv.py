import numpy as np
import pandas as pd
import pytest

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.runs.predictions_csv import read_arrays, read_csv, read_predictions, write_csv
from tests.predictions import assert_same, make

AWKWARD = ("NORM", "LAFB/LPFB", "ISC_", "PRC(S)", 'a "b", c', "y_prob_X", "2AVB", "É")


@pytest.fixture
def csv_path(tmp_path):
    path = tmp_path / "predictions.csv"
    write_csv(make(), path)
    return path


def change(path, **columns):
    """Write other values into columns of a predictions file, as text."""
    frame = pd.read_csv(path, dtype=str)
    for name, values in columns.items():
        frame[name] = values
    frame.to_csv(path, index=False)


def test_csv_round_trip_with_awkward_class_names(tmp_path):
    predictions = make(class_names=AWKWARD)
    write_csv(predictions, tmp_path / "predictions.csv")
    assert_same(read_csv(tmp_path / "predictions.csv"), predictions)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_csv_round_trip_of_every_float(tmp_path, dtype):
    rng = np.random.default_rng(1)
    spread = rng.random(500) ** rng.integers(1, 40, 500)  # down to 1e-40, subnormal in float32
    edges = [
        0.0,
        1.0,
        0.5,
        np.finfo(dtype).tiny,
        np.nextafter(dtype(1), dtype(0)),
        np.finfo(dtype).smallest_subnormal,
    ]
    y_prob = np.concatenate([spread, edges]).astype(dtype)[:, None]
    n_records = len(y_prob)
    predictions = make(range(n_records), ["test"] * n_records, ("MI",), y_prob=y_prob)
    write_csv(predictions, tmp_path / "predictions.csv")
    read = read_csv(tmp_path / "predictions.csv").y_prob
    np.testing.assert_array_equal(read.astype(dtype).view(np.uint8), y_prob.view(np.uint8))
    np.testing.assert_array_equal(read, y_prob.astype(np.float64))


def test_csv_columns_and_bytes(tmp_path):
    predictions = make((5,), ("test",), ("LAFB/LPFB",), y_true=[[1]], y_prob=np.array([[0.1]], dtype=np.float32))
    write_csv(predictions, tmp_path / "new" / "a.csv")
    write_csv(predictions, tmp_path / "b.csv")
    expected = (
        b"ecg_id,patient_id,strat_fold,split,y_true_LAFB/LPFB,y_prob_LAFB/LPFB,y_pred_LAFB/LPFB\n"
        b"5,100,9,test,1,0.10000000149011612,0\n"
    )
    assert (tmp_path / "new" / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes() == expected


def test_a_file_with_a_byte_order_mark_is_read(csv_path):
    expected = read_csv(csv_path)
    csv_path.write_bytes(b"\xef\xbb\xbf" + csv_path.read_bytes())
    assert_same(read_csv(csv_path), expected)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"y_true_MI": ["0", "2", "1"]}, r"y_true of class 'MI' in ecg_id 1 must be 0 or 1, got 2"),
        ({"y_true_MI": ["0", "0.5", "1"]}, r"y_true of class 'MI' in ecg_id 1 must be 0 or 1, got 0.5"),
        ({"y_true_MI": ["0", "yes", "1"]}, r"y_true_MI in row 2 must be 0 or 1, got 'yes'"),
        ({"y_true_MI": ["True", "False", "True"]}, r"y_true_MI in row 1 must be 0 or 1, got 'True'"),
        ({"y_prob_NORM": ["0.1", "0.2", "nan"]}, r"y_prob_NORM in row 3 must be in \[0, 1\], got 'nan'"),
        ({"y_prob_NORM": ["0.1", "0.2", ""]}, r"y_prob_NORM in row 3 must be in \[0, 1\], got ''"),
        ({"y_prob_NORM": ["inf", "0.2", "0"]}, r"y_prob_NORM in row 1 must be in \[0, 1\], got 'inf'"),
        (
            {"y_prob_NORM": ["0", "1.25", "0"]},
            r"y_prob of class 'NORM' in ecg_id 1 must be in \[0, 1\], got 1.25",
        ),
        (
            {"y_prob_NORM": ["0", "1", "-0.5"]},
            r"y_prob of class 'NORM' in ecg_id 2 must be in \[0, 1\], got -0.5",
        ),
        ({"ecg_id": ["1", "", "3"]}, r"ecg_id in row 2 must be a whole number or a name, got ''"),
        ({"patient_id": ["1", "2.5", "3"]}, r"patient_id in row 2 must be a whole number or a name, got '2.5'"),
        ({"split": ["val", "train", "test"]}, r"split must be 'val' or 'test', got 'train' for ecg_id 1"),
        ({"split": ["val", "test", ""]}, r"split must be 'val' or 'test', got '' for ecg_id 2"),
        ({"ecg_id": ["1", "2", "2"]}, r"ecg_id 2 is more than once in split 'test', expected once"),
        ({"y_prob_HYP": "0"}, r"the classes of the y_prob_ and y_true_ columns differ: unexpected: HYP"),
        ({"y_true_HYP": "0"}, r"the classes of the y_prob_ and y_true_ columns differ: missing: HYP"),
        ({"model": "cnn1d"}, r"unknown column 'model', expected ecg_id, patient_id"),
    ],
)
def test_read_csv_names_the_file_and_what_is_wrong(csv_path, columns, message):
    change(csv_path, **columns)
    with pytest.raises(DataError, match=message) as caught:
        read_csv(csv_path)
    assert str(caught.value).startswith(f"{csv_path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty, expected a header: ecg_id, patient_id, strat_fold, split"),
        ("ecg_id,patient_id,strat_fold,split,y_true_A,y_prob_A\n", "there is no record below the header"),
        ("patient_id,strat_fold,split,y_true_A,y_prob_A\n1,1,val,1,1\n", "column 'ecg_id' is missing"),
        ("ecg_id,patient_id,strat_fold,split\n1,1,1,val\n", "there is no column y_true_<CLASS>"),
        ("ecg_id,ecg_id,patient_id,strat_fold,split\n", "column 'ecg_id' is more than once in the header"),
        (
            "ecg_id,patient_id,strat_fold,split,y_true_A,y_prob_A\n1,1,1,val,1,1,5\n",
            "not a readable CSV file: .*Expected 6 fields in line 2, saw 7",
        ),
        (
            "ecg_id,patient_id,strat_fold,split,y_true_A,y_prob_A\n1,1,1,val,1,1\n2,1,1,val,1,1,5\n",
            "not a readable CSV file: .*line 3",
        ),
        (
            "ecg_id,patient_id,strat_fold,split,y_true_A,y_prob_A\n1,1,1,val,1,1\n2,1,1,val,1\n",
            "y_prob_A in row 2 must be in",
        ),
        (
            "ecg_id,patient_id,strat_fold,split,y_true_A,y_true_B,y_prob_B,y_prob_A\n1,1,1,val,1,1,1,1\n",
            "columns differ: another order: class 0 is 'B', expected 'A'",
        ),
    ],
)
def test_read_csv_refuses_a_malformed_file(tmp_path, text, message):
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_csv(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_read_csv_refuses_a_missing_and_a_binary_file(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: no such predictions file"):
        read_csv(tmp_path / "none.csv")
    (tmp_path / "net.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(DataError, match=r"net\.csv: not a readable CSV file"):
        read_csv(tmp_path / "net.csv")


def test_predictions_of_any_origin_are_read_and_assumptions_reported(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("y_prob_MI,note,y_true_MI\n0.75,a,1\n0.25,b,0\n")
    found, assumptions = read_predictions(path)
    assert (found.ecg_id.tolist(), found.patient_id.tolist()) == ([1, 2], [1, 2])
    assert found.split.tolist() == ["test", "test"]
    assert found.y_prob.tolist() == [[0.75], [0.25]]
    assert [sentence.split(":")[0] for sentence in assumptions] == [
        "columns that are not known were ignored",
        "column ecg_id is missing",
        "column patient_id is missing",
        "column strat_fold is missing",
        "column split is missing",
        "columns y_pred_<CLASS> are missing",
    ]


def test_a_whole_file_needs_no_assumption(tmp_path):
    predictions = Predictions([7, 8], [1, 2], [9, 10], ["val", "test"], [[1], [0]], [[0.9], [0.2]], ("MI",))
    write_csv(predictions, tmp_path / "p.csv")
    found, assumptions = read_predictions(tmp_path / "p.csv")
    assert assumptions == []
    assert found.ecg_id.tolist() == [7, 8]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("y_true_MI,y_prob_CD\n1,0.5\n", "the classes of the y_prob_ and y_true_ columns differ"),
        ("y_true_MI,y_prob_MI\n1,3.2\n", r"must be in \[0, 1\], got 3\.2: apply the sigmoid to logits first"),
        ("y_true_MI,note\n1,3.2\n", "there is no column y_prob_<CLASS>"),
        ("y_true_MI,y_prob_MI,y_prob_MI\n1,0,0\n", "column 'y_prob_MI' is more than once in the header"),
        ("y_true_MI,y_prob_MI\n", "there is no record below the header"),
        ("ecg_id,y_true_MI,y_prob_MI\nnan,1,0.5\n", "ecg_id in row 1 must be a whole number or a name, got 'nan'"),
        ("ecg_id,y_true_MI,y_prob_MI\n4,1,0.5\n4,1,0.5\n", "ecg_id 4 is more than once in split 'test'"),
        ("split,y_true_MI,y_prob_MI\ntrain,1,0.5\n", "split must be 'val' or 'test', got 'train'"),
        ("y_true_MI,y_prob_MI\n2,0.5\n", "must be 0 or 1"),
        ("a,b\n1,2\n", "there is no column y_true_<CLASS>"),
        ("y_true_MI,y_prob_MI\n1,nan\n", "must be in \\[0, 1\\], got 'nan'"),
    ],
)
def test_files_without_predictions_are_refused(tmp_path, content, message):
    path = tmp_path / "p.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_predictions(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_columns_of_the_file_are_kept_and_classes_are_matched_by_name(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("split,ecg_id,y_prob_CD,y_prob_MI,y_true_MI,y_true_CD\nval,7,0.1,0.9,1,0\ntest,7,0.2,0.8,1,0\n")
    found, assumptions = read_predictions(path)
    assert found.class_names == ("MI", "CD") and found.split.tolist() == ["val", "test"]
    assert found.y_prob.tolist() == [[0.9, 0.1], [0.8, 0.2]] and found.y_true.tolist() == [[1, 0]] * 2
    assert found.ecg_id.tolist() == found.patient_id.tolist() == [7, 7]  # one record is one patient in both splits
    assert found.strat_fold.tolist() == [0, 0]
    assert assumptions == [
        "column patient_id is missing: each record counts as a patient of its own",
        "column strat_fold is missing: it is taken as 0 for all records",
        "columns y_pred_<CLASS> are missing: a class is predicted from 0.5 on",
    ]


def test_ignored_columns_are_reported(tmp_path):
    path = tmp_path / "mine.csv"
    write_csv(make(), path)
    change(path, model="cnn1d", **{"my note": "x"})
    found, assumptions = read_predictions(path)
    assert_same(found, make())
    assert assumptions == ["columns that are not known were ignored: 'model', 'my note'"]


def test_arrays_are_read_with_their_class_names(tmp_path):
    np.save(tmp_path / "t.npy", [[1, 0], [0, 1]])
    np.save(tmp_path / "p.npy", [[0.9, 0.1], [0.3, 0.6]])
    found, assumptions = read_arrays(tmp_path / "t.npy", tmp_path / "p.npy", ["MI", "CD"])
    assert found.class_names == ("MI", "CD")
    assert found.y_prob.tolist() == [[0.9, 0.1], [0.3, 0.6]]
    assert (found.ecg_id.tolist(), found.patient_id.tolist(), found.strat_fold.tolist()) == ([1, 2], [1, 2], [0, 0])
    assert set(found.split) == {"test"}
    assert [sentence.split(":")[0] for sentence in assumptions] == [
        f"arrays have no {name}" for name in ("ecg_id", "patient_id", "strat_fold", "split")
    ]


def test_an_array_of_one_class_may_be_flat(tmp_path):
    np.save(tmp_path / "t.npy", [True, False])
    np.save(tmp_path / "p.npy", np.array([[0.5], [0.25]], np.float16))
    found, _ = read_arrays(tmp_path / "t.npy", tmp_path / "p.npy", ["MI"])
    assert found.y_true.tolist() == [[1], [0]] and found.y_prob.tolist() == [[0.5], [0.25]]


@pytest.mark.parametrize(
    ("y_prob", "class_names", "error", "message"),
    [
        (
            [[0.9, 3.2], [0.1, 0.1]],
            ["MI", "CD"],
            DataError,
            r"p\.npy: y_prob of class 'CD' in row 0 must be in \[0, 1\], got 3\.2: apply the sigmoid to logits first",
        ),
        ([[0.9, 0.2]], ["MI", "CD"], DataError, r"y_true and y_prob differ in shape: \(2, 2\).*t\.npy, \(1, 2\)"),
        (np.zeros((2, 2, 1)), ["MI", "CD"], DataError, r"p\.npy: expected an array \(record, class\), got shape"),
        ([["a", "b"]] * 2, ["MI", "CD"], DataError, "y_prob must hold numbers, got <U1"),
        ([[0.9, 0.2], [0.1, 0.1]], ["MI"], ConfigError, r"must name the 2 columns of .*p\.npy in their order, as in"),
        ([[0.9, 0.2], [0.1, 0.1]], None, ConfigError, "class_names must name the 2 columns .*got None"),
        ([[0.9, 0.2], [0.1, 0.1]], "MI", ConfigError, "class_names must name the 2 columns .*got 'MI'"),
        ([[0.9, 0.2], [0.1, 0.1]], ["MI", ""], ConfigError, "class_names must name the 2 columns"),
        ([[0.9, 0.2], [0.1, 0.1]], ["MI", "MI"], DataError, "class_names must all be different, got twice: MI"),
    ],
)
def test_arrays_that_disagree_are_refused(tmp_path, y_prob, class_names, error, message):
    np.save(tmp_path / "t.npy", [[1, 0], [0, 1]])
    np.save(tmp_path / "p.npy", y_prob)
    with pytest.raises(error, match=message):
        read_arrays(tmp_path / "t.npy", tmp_path / "p.npy", class_names)


def test_a_file_that_is_no_array_is_refused(tmp_path):
    (tmp_path / "t.npy").write_text("1,0\n")
    with pytest.raises(DataError, match=r"t\.npy"):
        read_arrays(tmp_path / "t.npy", tmp_path / "t.npy", ["MI"])


@pytest.mark.parametrize("kind", ["empty", "npz", "pickled", "cut", "folder"])
def test_only_whole_npy_files_of_numbers_are_read(tmp_path, kind):
    path = tmp_path / "p.npy"
    np.save(tmp_path / "t.npy", [1.0, 0.0])
    if kind == "empty":
        path.touch()
    elif kind == "npz":
        np.savez(tmp_path / "p.npz", y_prob=[0.5, 0.5])
        (tmp_path / "p.npz").rename(path)
    elif kind == "pickled":
        np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    elif kind == "cut":
        path.write_bytes((tmp_path / "t.npy").read_bytes()[:-3])
    else:
        path.mkdir()
    with pytest.raises(DataError, match=r"p\.npy: not a \.npy file of numbers, as numpy\.save writes it"):
        read_arrays(tmp_path / "t.npy", path, ["MI"])


def test_a_missing_array_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.npy: no such file"):
        read_arrays(tmp_path / "none.npy", tmp_path / "none.npy", ["MI"])


def test_logits_and_patients_of_other_projects_are_read(tmp_path):
    generator = np.random.default_rng(0)
    y_true, logits = generator.integers(0, 2, (40, 2)), generator.normal(0, 4, (40, 2))
    for name, array in (("t", y_true), ("p", logits), ("who", np.arange(40) // 2)):
        np.save(tmp_path / f"{name}.npy", array)
    paths = tmp_path / "t.npy", tmp_path / "p.npy", ["NORM", "MI"]
    predictions, assumptions = read_arrays(*paths, patient_id_path=tmp_path / "who.npy", values="logits")
    np.testing.assert_allclose(predictions.y_prob, 1 / (1 + np.exp(-logits)))
    np.testing.assert_array_equal(predictions.y_logit, logits)
    assert predictions.patient_id.tolist() == (np.arange(40) // 2).tolist()
    assert not any("patient" in sentence for sentence in assumptions)
    with pytest.raises(DataError, match="apply the sigmoid to logits first"):
        read_arrays(*paths)
    np.save(tmp_path / "who.npy", np.arange(39))
    with pytest.raises(DataError, match=r"who\.npy: expected 40 rows like .*t\.npy, got 39"):
        read_arrays(*paths, patient_id_path=tmp_path / "who.npy", values="logits")
    np.save(tmp_path / "p.npy", np.where(np.arange(40)[:, None] == 3, np.inf, logits))
    with pytest.raises(DataError, match=r"p\.npy: y_logit of class 'NORM' in row 3 must be finite, got inf"):
        read_arrays(*paths, values="logits")
    np.save(tmp_path / "p.npy", logits + 50)  # probabilities of 1
    np.save(tmp_path / "t.npy", np.where(np.arange(40)[:, None] < 9, np.nan, y_true))
    predictions, _ = read_arrays(*paths, values="logits")
    np.testing.assert_array_equal(predictions.y_score, logits + 50)
    assert predictions.n_unknown.tolist() == [9, 9]


def test_logits_unknown_labels_and_names_survive_a_file(tmp_path):
    y_logit = np.array([[41.123456789012345, -3.0], [60.0, 0.1], [50.0, 1e-300]])
    names = {"ecg_id": ("=JS2", "007", "'@x"), "patient_id": ("p1", "p1", "p2")}
    y_prob = 1 / (1 + np.exp(-y_logit))
    predictions = make(**names, y_true=[[1, -1], [np.nan, 0], [0, 1]], y_prob=y_prob, y_logit=y_logit)
    write_csv(predictions, tmp_path / "p.csv")
    header, first, *_ = (tmp_path / "p.csv").read_text().splitlines()
    assert header.endswith("y_prob_NORM,y_prob_MI,y_logit_NORM,y_logit_MI,y_pred_NORM,y_pred_MI")
    assert first.startswith("'=JS2,p1,9,val,1,,1.0,") and "41.123456789012344,-3.0" in first
    assert_same(read_csv(tmp_path / "p.csv"), predictions)
    change(tmp_path / "p.csv", y_logit_MI=["-3.0", "inf", "0"])
    with pytest.raises(DataError, match=r"p\.csv: y_logit_MI in row 2 must be finite, got 'inf'"):
        read_csv(tmp_path / "p.csv")
    change(tmp_path / "p.csv", y_logit_MI=["-3.0", "3.0", "0"])
    with pytest.raises(DataError, match="of class 'MI' in ecg_id 007 must be the sigmoid of its y_logit, got"):
        read_csv(tmp_path / "p.csv")


def test_a_file_of_logits_alone_is_read(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("ecg_id,y_true_A,y_logit_A\nJS00001,1,55\nJS00002,0,45\nJS00003,nan,0\n")
    found, assumptions = read_predictions(path)
    assert found.ecg_id.tolist() == found.patient_id.tolist() == ["JS00001", "JS00002", "JS00003"]
    assert found.y_logit.tolist() == [[55.0], [45.0], [0.0]] and found.y_prob[2] == 0.5
    assert found.y_true.tolist() == [[1], [0], [-1]] and len(assumptions) == 4


def test_the_fold_that_predicted_a_record_is_read_from_any_file(tmp_path):
    path = tmp_path / "theirs.csv"
    path.write_text("y_true_MI,y_prob_MI,fold\n1,0.9,3\n0,0.2,0\n")
    predictions, assumptions = read_predictions(path)
    assert predictions.fold.tolist() == [3, 0] and not any(
        "fold" in each.replace("strat_fold", "") for each in assumptions
    )
    write_csv(predictions, path)
    assert read_csv(path).fold.tolist() == [3, 0]
    path.write_text("y_true_MI,y_prob_MI,fold\n1,0.9,A\n")
    with pytest.raises(DataError, match="fold in row 1 must be a whole number, got 'A'"):
        read_predictions(path)
