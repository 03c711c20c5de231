"""Checks of arrays and settings from which numbers are computed; each error names what is wrong and where."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgcls.errors import ConfigError, DataError


def check_arrays(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    class_names: Sequence[str],
    *,
    ecg_id: NDArray[np.int64] | None = None,
    name: str = "y_true",
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Refuse labels (0 or 1) and probabilities that no number should be computed from; return them as int8 and float64.

    Parameters
    ----------
    y_true, y_prob
        `(record, class)`, with at least one record and one class.
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
    good_values = (
        (name, labels, (labels == 0) | (labels == 1), "0 or 1"),
        ("y_prob", probabilities, np.isfinite(probabilities), "finite"),
        ("y_prob", probabilities, (probabilities >= 0) & (probabilities <= 1), "in [0, 1]"),
    )
    for what, array, good, wanted in good_values:
        if not good.all():
            row, column = np.argwhere(~good)[0]
            where = f"row {row}" if ecg_id is None or len(ecg_id) <= row else f"ecg_id {ecg_id[row]}"
            got = array[row, column]
            hint = ": apply the sigmoid to logits first" if wanted == "in [0, 1]" else ""
            raise DataError(f"{what} of class {class_names[column]!r} in {where} must be {wanted}, got {got}{hint}")
    return labels.astype(np.int8), probabilities


def check_whole_numbers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    """Refuse what is not a whole number, such as text, 1.5 or nan; return the values as int64."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name} must hold whole numbers, got {array.dtype}")
    broken = array[~np.isfinite(array) | (array != np.floor(array))]
    if broken.size:
        raise DataError(f"{name} must hold whole numbers, got {broken.flat[0]}")
    return array.astype(np.int64)


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
