"""Which records to explain: per class a true positive, a false positive and a false negative, or chosen ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ecgcls.errors import ConfigError
from ecgcls.evaluation.predictions import Predictions

OUTCOMES = {"TP": "true positive", "FP": "false positive", "FN": "false negative", "TN": "true negative"}


@dataclass(frozen=True)
class Example:
    """One record and the class whose probability is to be explained.

    Attributes
    ----------
    class_index
        Column of the predictions.
    outcome
        'TP', 'FP', 'FN' or 'TN' at the class's threshold.
    """

    ecg_id: int
    class_index: int
    class_name: str
    outcome: str
    y_prob: float
    true_classes: tuple[str, ...]


def choose_examples(
    predictions: Predictions, *, thresholds: Mapping[str, float], class_names: Sequence[str]
) -> tuple[list[Example], list[str]]:
    """Choose for each class the most confident true positive, false positive and false negative.

    Parameters
    ----------
    predictions
        Of one split.
    thresholds
        By class: the lowest probability at which it is predicted.
    class_names
        The classes to choose for.

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
        prob, truth = predictions.y_prob[:, column], predictions.y_true[:, column] == 1
        predicted = prob >= thresholds[class_name]
        for outcome, where, confidence in (
            ("TP", truth & predicted, prob),
            ("FP", ~truth & predicted, prob),
            ("FN", truth & ~predicted, -prob),
        ):
            rows = np.flatnonzero(where)
            if len(rows):
                examples.append(_make_example(predictions, int(rows[confidence[rows].argmax()]), column, thresholds))
            else:
                absent.append(f"{class_name}: no {OUTCOMES[outcome]}")
    return examples, absent


def list_examples(
    predictions: Predictions, *, thresholds: Mapping[str, float], class_names: Sequence[str] | None
) -> list[Example]:
    """Take every record of the predictions, with the requested classes.

    Parameters
    ----------
    class_names
        None: for each record the classes that it has or is predicted to have, or else the most probable one.
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


def check_classes(class_names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a class that the net does not have.

    Raises
    ------
    ConfigError
        Naming it.
    """
    unknown = [name for name in class_names if name not in known]
    if unknown:
        raise ConfigError(f"classes: this run has no class {', '.join(unknown)}; it has {', '.join(known)}")


def _make_example(predictions: Predictions, row: int, column: int, thresholds: Mapping[str, float]) -> Example:
    class_name = predictions.class_names[column]
    y_prob, is_true = float(predictions.y_prob[row, column]), predictions.y_true[row, column] == 1
    is_right = is_true == (y_prob >= thresholds[class_name])
    return Example(
        ecg_id=int(predictions.ecg_id[row]),
        class_index=column,
        class_name=class_name,
        outcome=("T" if is_right else "F") + ("P" if y_prob >= thresholds[class_name] else "N"),
        y_prob=y_prob,
        true_classes=tuple(
            name for name, truth in zip(predictions.class_names, predictions.y_true[row], strict=True) if truth
        ),
    )
