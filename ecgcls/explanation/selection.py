"""Which records to explain: per class a true positive, a false positive and a false negative, or chosen ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ecgcls.evaluation.predictions import Predictions

OUTCOMES = {
    "TP": "true positive", "FP": "false positive", "FN": "false negative", "TN": "true negative", "": "not annotated",
}  # fmt: skip


@dataclass(frozen=True)
class Example:
    """One record and the class, a column of the predictions, whose probability is to be explained.

    The `outcome` is 'TP', 'FP', 'FN' or 'TN' at the class's threshold; '' where nobody annotated the class.
    """

    ecg_id: int | str
    class_index: int
    class_name: str
    outcome: str
    y_prob: float
    true_classes: tuple[str, ...]


def describe_example(
    *, ecg_id: int | str, class_name: str, y_prob: float, outcome: str, true_classes: Sequence[str]
) -> str:
    """Return the title of an explained ECG.

    Examples
    --------
    >>> describe_example(ecg_id=9, class_name="MI", y_prob=0.912, outcome="FP", true_classes=["CD", "HYP"])
    'ECG 9: MI, predicted probability 0.91 (false positive); actual: CD, HYP'
    """
    actual = ", ".join(true_classes) or "none"
    return f"ECG {ecg_id}: {class_name}, predicted probability {y_prob:.2f} ({OUTCOMES[outcome]}); actual: {actual}"


def choose_examples(
    predictions: Predictions, *, thresholds: Mapping[str, float], class_names: Sequence[str]
) -> tuple[list[Example], list[str]]:
    """Choose for each of these classes the most confident true positive, false positive and false negative.

    Returns
    -------
    examples
        At most three per class; equal probabilities are decided by the order of the records.
    absent
        An entry for each class and outcome that no record has.
    """
    examples, absent = [], []
    for class_name in class_names:
        column = predictions.class_names.index(class_name)
        prob, label = predictions.y_prob[:, column], predictions.y_true[:, column]  # -1: not annotated
        predicted = prob >= thresholds[class_name]
        for outcome, held, confidence in (
            ("TP", (label == 1) & predicted, prob),
            ("FP", (label == 0) & predicted, prob),
            ("FN", (label == 1) & ~predicted, -prob),
        ):
            rows = np.flatnonzero(held)
            if len(rows):
                examples.append(_make_example(predictions, int(rows[confidence[rows].argmax()]), column, thresholds))
            else:
                absent.append(f"{class_name}: no {OUTCOMES[outcome]}")
    return examples, absent


def list_examples(
    predictions: Predictions, *, thresholds: Mapping[str, float], class_names: Sequence[str] | None
) -> list[Example]:
    """Take every record of the predictions, with the requested classes.

    None requests for each record the classes that it has or is predicted to have, or else the most probable one.
    """
    examples = []
    for row in range(len(predictions)):
        if class_names is not None:
            columns = [predictions.class_names.index(name) for name in class_names]
        else:
            at = np.array([thresholds[name] for name in predictions.class_names])
            columns = np.flatnonzero((predictions.y_true[row] == 1) | (predictions.y_prob[row] >= at)).tolist()
            columns = columns or [int(predictions.y_prob[row].argmax())]
        examples += [_make_example(predictions, row, column, thresholds) for column in columns]
    return examples


def draw_sample(
    predictions: Predictions, *, class_name: str, thresholds: Mapping[str, float], n_records: int, seed: int
) -> list[Example]:
    """Draw at most `n_records` records that have a class, those that are predicted to have it first."""
    column = predictions.class_names.index(class_name)
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(predictions.y_true[:, column] == 1))
    is_missed = predictions.y_prob[rows, column] < thresholds[class_name]
    rows = rows[np.argsort(is_missed, kind="stable")][:n_records]
    return [_make_example(predictions, int(row), column, thresholds) for row in rows]


def _make_example(predictions: Predictions, row: int, column: int, thresholds: Mapping[str, float]) -> Example:
    class_name = predictions.class_names[column]
    y_prob, y_true = float(predictions.y_prob[row, column]), predictions.y_true[row]
    is_predicted = y_prob >= thresholds[class_name]
    outcome = ("T" if is_predicted == y_true[column] else "F") + ("P" if is_predicted else "N")
    true_classes = tuple(name for name, label in zip(predictions.class_names, y_true, strict=True) if label == 1)
    outcome = "" if y_true[column] < 0 else outcome
    return Example(predictions.ecg_id[row].item(), column, class_name, outcome, y_prob, true_classes)
