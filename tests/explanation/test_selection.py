import pytest

from ecgcls.evaluation.predictions import Predictions
from ecgcls.explanation.selection import choose_examples, draw_sample, list_examples

AT = {"NORM": 0.5, "MI": 0.3}


@pytest.fixture
def predictions():
    """Six records; for MI at 0.3: 11 and 12 are hits, 13 a false alarm, 14 and 15 missed, 16 a true negative."""
    return Predictions(
        [11, 12, 13, 14, 15, 16],
        [1, 2, 3, 4, 5, 6],
        [1] * 6,
        ["test"] * 6,
        [[0, 1], [1, 1], [1, 0], [1, 1], [0, 1], [1, 0]],
        [[0.1, 0.4], [0.9, 0.9], [0.8, 0.6], [0.7, 0.2], [0.4, 0.1], [0.6, 0.0]],
        ("NORM", "MI"),
    )


def test_each_class_shows_its_most_confident_hit_false_alarm_and_miss(predictions):
    examples, absent = choose_examples(predictions, thresholds=AT, class_names=["MI", "NORM"])
    assert [(example.class_name, example.outcome, example.ecg_id) for example in examples] == [
        ("MI", "TP", 12),
        ("MI", "FP", 13),
        ("MI", "FN", 15),
        ("NORM", "TP", 12),
    ]
    assert absent == ["NORM: no false positive", "NORM: no false negative"]
    assert examples[1].true_classes == ("NORM",)
    assert (examples[2].y_prob, examples[2].class_index) == (0.1, 1)


def test_a_chosen_record_is_explained_for_what_it_has_and_what_is_predicted(predictions):
    examples = list_examples(predictions, thresholds=AT, class_names=None)
    shown = [(example.ecg_id, example.class_name, example.outcome) for example in examples]
    assert shown[:2] == [(11, "MI", "TP"), (12, "NORM", "TP")]
    assert [(name, outcome) for ecg_id, name, outcome in shown if ecg_id == 14] == [("NORM", "TP"), ("MI", "FN")]


def test_a_record_without_any_class_is_explained_for_the_likeliest():
    nothing = Predictions([1], [1], [1], ["test"], [[0, 0]], [[0.2, 0.25]], ("NORM", "MI"))
    (example,) = list_examples(nothing, thresholds=AT, class_names=None)
    assert (example.class_name, example.outcome) == ("MI", "TN")


def test_a_class_that_nobody_annotated_is_neither_right_nor_wrong(predictions):
    y_true = predictions.y_true.copy()
    y_true[2, 1] = -1  # of the only false alarm of MI
    object.__setattr__(predictions, "y_true", y_true)
    examples, absent = choose_examples(predictions, thresholds=AT, class_names=["MI"])
    assert [example.outcome for example in examples] == ["TP", "FN"] and absent == ["MI: no false positive"]
    found = {
        one.class_name: one for one in list_examples(predictions, thresholds=AT, class_names=None) if one.ecg_id == 13
    }
    assert (found["MI"].outcome, found["MI"].true_classes) == ("", ("NORM",))


def test_classes_can_be_requested(predictions):
    examples = list_examples(predictions, thresholds=AT, class_names=["MI"])
    assert [example.ecg_id for example in examples] == [11, 12, 13, 14, 15, 16]


def test_a_sample_has_the_class_and_starts_with_what_is_predicted(predictions):
    def draw(n_records, seed):
        sample = draw_sample(predictions, class_name="MI", thresholds=AT, n_records=n_records, seed=seed)
        return [example.ecg_id for example in sample]

    drawn = draw(9, 0)
    assert (set(drawn[:2]), set(drawn[2:])) == ({11, 12}, {14, 15})  # of those with MI, the hits before the misses
    assert drawn[:3] == draw(3, 0)
    assert len({tuple(draw(9, seed)) for seed in range(10)}) > 1
