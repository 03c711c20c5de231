"""Checks of arrays and settings from which numbers are computed; each error names what is wrong and where."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from ecgcls.errors import ConfigError, DataError

UNKNOWN = -1
"""The label of a record that nobody has annotated for a class."""
_TOLERANCE = 1e-3  # of a probability from its logit's: both may be rounded, but not of different nets
_LARGEST = 2**53 - 1  # float64 merges whole numbers beyond
_WHOLE, _CANONICAL = re.compile(r"\s*[+-]?\d+(\.0*)?\s*"), re.compile(r"-?[1-9]\d{0,18}|0")


def check_arrays(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    class_names: Sequence[str],
    *,
    ecg_id: NDArray | None = None,
    name: str = "y_true",
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Refuse labels (0 or 1) and probabilities that no number should be computed from; return them as int8 and float64.

    Parameters
    ----------
    y_true, y_prob
        `(record, class)`, with at least one record and one class. A `y_true` of -1 or nan is not annotated, and
        returned as -1.
    class_names
        One per class, all different.
    ecg_id
        Names the records in messages; without it they are named by row, from 0.
    name
        What the first array is, for messages.
    """
    labels, probabilities = np.asarray(y_true), np.asarray(y_prob)
    _check_shapes(labels, probabilities, class_names, name)
    probabilities = probabilities.astype(np.float64)
    good, hint = (labels == 0) | (labels == 1), ""
    if name == "y_true":
        if (is_unknown := (labels == UNKNOWN) | np.isnan(labels)).any():
            labels = np.where(is_unknown, UNKNOWN, labels)
        good, hint = good | is_unknown, "; not annotated is -1, nan or an empty cell"
    _refuse(~good, name, labels, f"0 or 1, got {{}}{hint}", class_names, ecg_id)
    _refuse(~np.isfinite(probabilities), "y_prob", probabilities, "finite, got {}", class_names, ecg_id)
    outside = (probabilities < 0) | (probabilities > 1)
    wanted = (
        "in [0, 1], got {}: apply the sigmoid to logits first, or say values=logits (of a CSV file: y_logit_<CLASS>)"
    )
    _refuse(outside, "y_prob", probabilities, wanted, class_names, ecg_id)
    return labels.astype(np.int8), probabilities


def check_logits(
    y_logit: ArrayLike, y_prob: NDArray[np.float64], class_names: Sequence[str], *, ecg_id: NDArray | None = None
) -> NDArray[np.float64]:
    """Refuse logits that are not finite, or not those of the probabilities; return them as float64.

    Both are `(record, class)`; a probability may be rounded, by up to 0.001.
    """
    logits = np.asarray(y_logit)
    if logits.dtype.kind not in "biuf" or logits.shape != y_prob.shape:
        raise DataError(f"y_logit must hold numbers of shape {y_prob.shape}, got {logits.dtype} {logits.shape}")
    logits = logits.astype(np.float64)
    _refuse(~np.isfinite(logits), "y_logit", logits, "finite, got {}", class_names, ecg_id)
    differs = np.abs(expit(logits) - y_prob) > _TOLERANCE
    _refuse(differs, "y_prob", y_prob, "the sigmoid of its y_logit, got {}", class_names, ecg_id)
    return logits


def check_whole_numbers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    """Refuse what is not a whole number, such as text, 1.5 or nan, or no exact one; return the values as int64."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name} must hold whole numbers, got {array.dtype}")
    largest = _LARGEST if array.dtype.kind == "f" else np.iinfo(np.int64).max
    broken = array[~np.isfinite(array) | (array != np.floor(array)) | (array > largest) | (array < -largest)]
    if broken.size:
        hint = (
            f" ({array.dtype} merges numbers of this size: write them as text)" if abs(broken.flat[0]) > largest else ""
        )
        raise DataError(f"{name} must hold whole numbers, got {broken.flat[0]}{hint}")
    return array.astype(np.int64)


def check_ids(name: str, values: ArrayLike) -> NDArray:
    """Return ids as int64, or as text if they are text that holds more than whole numbers.

    Text is kept as it was typed, unless every id of the column is a plain whole number: ``017`` and numbers above 2**63
    stay text. A missing id is refused, and a number that is no whole one, such as ``1.5`` or ``1e30``.

    Examples
    --------
    >>> check_ids("ecg_id", ["7", "12"]), check_ids("ecg_id", ["JS01", "12"]), check_ids("ecg_id", ["007", "12"])
    (array([ 7, 12]), array(['JS01', '12'], dtype='<U4'), array(['007', '12'], dtype='<U3'))
    """
    array = np.asarray(values)
    if array.dtype.kind not in "OSUT" or array.ndim != 1:
        return check_whole_numbers(name, array)
    if not all(isinstance(each, str) for each in array.tolist()):
        return check_whole_numbers(name, np.asarray(array.tolist()))
    texts: list[str] = array.tolist()
    missing = [row for row, text in enumerate(texts, start=1) if text.strip().lower() in ("", "nan")]
    if missing:
        raise DataError(f"{name} in row {missing[0]} must be a whole number or a name, got {texts[missing[0] - 1]!r}")
    if all(map(_CANONICAL.fullmatch, texts)) and all(abs(int(text)) < 2**63 for text in texts):
        return np.array(list(map(int, texts)), dtype=np.int64)
    if not all(map(_is_number, texts)):
        return np.array(texts, dtype=np.str_)
    for row, text in enumerate(texts, start=1):
        if not _WHOLE.fullmatch(text):
            raise DataError(f"{name} in row {row} must be a whole number or a name, got {text!r}")
    if any("." in text for text in texts):  # a column of whole numbers that a program wrote as floats
        return check_whole_numbers(name, np.array(list(map(float, texts))))
    return np.array(texts, dtype=np.str_)


def check_names(name: str, values: NDArray) -> NDArray:
    """Return ids as `check_ids`; an array of text stays one, also where all of it is numbers: it may be a part."""
    ids = check_ids(name, values)
    return ids.astype(np.str_) if isinstance(values, np.ndarray) and values.dtype.kind == "U" else ids


def check_threshold(threshold: ArrayLike, class_names: Sequence[str]) -> NDArray[np.float64]:
    """Refuse anything but one threshold in [0, 1], or one per class."""
    thresholds = np.asarray(threshold, dtype=np.float64)
    if thresholds.shape not in {(), (len(class_names),)}:
        raise ConfigError(f"threshold must be one number or one per class ({len(class_names)}), got {thresholds.shape}")
    outside = thresholds[~((thresholds >= 0) & (thresholds <= 1))]  # nan is outside
    if outside.size:
        raise ConfigError(f"threshold must be in [0, 1], got {outside.flat[0]:g}")
    return thresholds


def check_pos_weight(pos_weight: ArrayLike, n_classes: int) -> NDArray[np.float64]:
    """Refuse anything but one finite weight above 0, or one per class."""
    weights = np.asarray(pos_weight, dtype=np.float64)
    if weights.shape not in {(), (1,), (n_classes,)}:
        raise ConfigError(f"pos_weight must be one number or one per class ({n_classes}), got {weights.shape}")
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise ConfigError(f"pos_weight must be finite and above 0, got {weights.tolist()}")
    return weights


def describe_difference(got: Sequence[str], expected: Sequence[str]) -> str:
    """Describe how one list of class names differs from another.

    Examples
    --------
    >>> describe_difference(["NORM", "HYP"], ["NORM", "MI"])
    'missing: MI; unexpected: HYP'
    >>> describe_difference(["MI", "NORM"], ["NORM", "MI"])
    "another order: class 0 is 'MI', expected 'NORM'"
    """
    missing = [name for name in expected if name not in set(got)]
    unexpected = [name for name in got if name not in set(expected)]
    if missing or unexpected:
        differences = {"missing": missing, "unexpected": unexpected}
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in differences.items() if names)
    for position, (ours, theirs) in enumerate(zip(got, expected, strict=False)):
        if ours != theirs:
            return f"another order: class {position} is {ours!r}, expected {theirs!r}"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _refuse(
    is_bad: NDArray, what: str, array: NDArray, wanted: str, class_names: Sequence[str], ecg_id: NDArray | None
) -> None:
    """Name the first bad cell; `wanted` has a place for what it holds."""
    if is_bad.any():
        row, column = np.argwhere(is_bad)[0]
        where = f"row {row}" if ecg_id is None or len(ecg_id) <= row else f"ecg_id {ecg_id[row]}"
        text = wanted.format(array[row, column])
        raise DataError(f"{what} of class {class_names[column]!r} in {where} must be {text}")


def _check_shapes(labels: NDArray, probabilities: NDArray, class_names: Sequence[str], name: str) -> None:
    if isinstance(class_names, str):
        raise DataError(f"class_names must be a sequence of names, got the text {class_names!r}")
    twice = sorted({name for name in class_names if list(class_names).count(name) > 1})
    if twice:
        raise DataError(f"class_names must all be different, got twice: {', '.join(twice)}")
    n_classes = len(class_names)
    for what, array in ((name, labels), ("y_prob", probabilities)):
        if array.dtype.kind not in "biuf":
            raise DataError(f"{what} must hold numbers, got {array.dtype}")
        if array.ndim != 2 or array.shape[1] != n_classes:
            raise DataError(
                f"{what} must have shape (n_records, {n_classes}) for {n_classes} classes, got {array.shape}"
            )
    if labels.shape != probabilities.shape:
        raise DataError(f"{name} and y_prob differ in shape: {labels.shape} and {probabilities.shape}")
    if not labels.size:
        raise DataError(f"there must be at least one record and one class, got shape {labels.shape}")
