"""A training part of a chosen size, for learning curves: whole patients, nested, and stratified by the labels.

The patients of a training part are put into one random order that depends on a seed alone, and are taken from its
beginning until they have enough records. So the records of a smaller part are among those of a larger one, and a
patient is taken with all records or with none: what is left out is as unseen as a test record.

The order is stratified. It begins with a patient for each class who has it and one who does not, the rarest first, so
that a part of a few dozen records can teach all classes that have any. Patients with the same rarest class (the label
that [1]_ distributes first, too) are spread evenly over the rest, so any beginning has about the prevalences of the
whole.

References
----------
.. [1] Sechidis, Tsoumakas, Vlahavas. On the Stratification of Multi-label Data. ECML PKDD 2011, 145-158.
   doi:10.1007/978-3-642-23808-6_10
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.errors import ConfigError


@dataclass(frozen=True)
class TrainingSize:
    """How many records to train on, at least: `n_records`; `seed` draws them."""

    n_records: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_records < 1:
            raise ConfigError(f"data.n_train must be at least 1, or null, got {self.n_records}")
        if self.seed < 0:
            raise ConfigError(f"data.n_train_seed must be at least 0, got {self.seed}")

    def choose(self, patient_id: pd.Series, y_true: NDArray[np.integer], *, fold: int) -> NDArray[np.bool_]:
        """Return which records of a training part to take, ``(record,)``: the fewest patients of the order that do.

        `y_true` is ``(record, class)``: 1, 0, or anything else where nobody has said. More records than there are is a
        `ConfigError`.
        """
        if self.n_records > len(patient_id):
            raise ConfigError(
                f"data.n_train={self.n_records}: the training part of fold {fold} has {len(patient_id)} records; "
                "data.n_train=null takes all"
            )
        patient = pd.factorize(patient_id)[0]
        order = order_patients(patient, y_true, np.random.default_rng(self.seed))
        n_taken = np.bincount(patient)[order].cumsum()
        taken = order[: int(np.searchsorted(n_taken, self.n_records)) + 1]
        return np.isin(patient, taken)


def order_patients(
    patient: NDArray[np.integer], y_true: NDArray[np.integer], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Put the patients of records into a random order that is stratified by their labels.

    Parameters
    ----------
    patient
        The number of each record's patient, ``(record,)``, 0 to n - 1.
    y_true
        ``(record, class)``.

    Returns
    -------
    ndarray
        ``(patient,)``: each number once.
    """
    shows = np.zeros((patient.max() + 1, 2 * y_true.shape[1]), dtype=np.bool_)  # (patient, class present; absent)
    np.logical_or.at(shows, patient, np.hstack([y_true == 1, y_true == 0]))
    order, counts = rng.permutation(len(shows)), shows.sum(axis=0)
    first: list[int] = []
    for column in np.argsort(counts, kind="stable"):
        if counts[column] and not shows[first, column].any():
            first.append(int(order[shows[order, column]][0]))
    order = np.concatenate([np.array(first, dtype=np.int64), order[~np.isin(order, first)]])
    has, n_having = shows[:, : y_true.shape[1]], counts[: y_true.shape[1]]
    rarest = np.where(has.any(axis=1), np.where(has, n_having, len(shows) + 1).argmin(axis=1), has.shape[1])[order]
    rank = pd.Series(rarest).groupby(rarest).cumcount().to_numpy()
    offset, size = rng.random(has.shape[1] + 1), np.bincount(rarest, minlength=has.shape[1] + 1)
    place = (rank + offset[rarest]) / size[rarest]  # evenly over 0 to 1, each stratum with its own beginning
    place[: len(first)] = -1
    return order[np.argsort(place, kind="stable")]
