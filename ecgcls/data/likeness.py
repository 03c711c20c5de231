r"""Whether a window looks like the records that a net was trained on.

For each group of features of `ecgcls.data.quality` the training records have a mean and a covariance; a window's
distance in a group is its squared Mahalanobis distance [1]_ over the 0.995 quantile of the training records' own, and
its distance the largest of all groups, so that what is odd in one respect is found however many others there are. The
run's validation records, which none of this was fitted on, turn the distance into a p-value [2]_:

.. math:: p = \frac{1 + \sum_k \frac{1}{n_k} \sum_i [d_{ki} \ge d]}{K + 1}

over K patients with :math:`n_k` records each. Of new patients from the same source, at most a share :math:`\alpha` has
:math:`p \le \alpha`; with fewer than :math:`1 / \alpha - 1` patients nothing has. It says that a window is unusual, not
that the prediction is wrong, and it finds nothing odd in what only the nets' own layers could tell.

References
----------
.. [1] K. Lee, K. Lee, H. Lee, J. Shin, "A simple unified framework for detecting out-of-distribution samples and
       adversarial attacks", NeurIPS 2018, arXiv:1807.03888, measure it in the layers of a net.
.. [2] S. Bates, E. Candes, L. Lei, Y. Romano, M. Sesia, "Testing for outliers with conformal p-values", The Annals of
       Statistics 51(1), 2023, doi:10.1214/22-AOS2244.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ecgcls.data.quality import Features, describe_windows
from ecgcls.data.store import SignalStore
from ecgcls.errors import DataError
from ecgcls.files import check_archive, write_arrays

_QUANTILE = 0.995
_MAX_TRAINING, _MAX_VALIDATION = 3000, 3000  # records: enough, and about a second
_RIDGE = 1e-4  # of the variance: keeps features apart that are nearly the same

UNLIKE = {
    "amplitude": "the amplitudes of the leads",
    "spectrum": "the frequencies in them",
    "shape": "the shape of the beats",
    "leads": "how the leads go together",
    "rhythm": "the rhythm",
}
"""What is unlike the training data where a group of features is."""


@dataclass(frozen=True, eq=False)
class Likeness:
    """What records were trained on, in a few numbers; see `learn_likeness`.

    By group of features its mean ``(feature,)``, and ``(feature, feature)`` what makes its distances: the inverse of a
    Cholesky factor, scaled; and of the validation records the sorted distances, the weights of each, and how many
    patients they are of.
    """

    means: dict[str, NDArray[np.float64]]
    whitening: dict[str, NDArray[np.float64]]
    distances: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def n_patients(self) -> int:
        """Validation patients."""
        return round(float(self.weights.sum()))

    def measure(self, features: Features) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
        """Return the distance of each window, and the group of features in which it is largest."""
        names = list(self.means)
        by_group = np.stack(
            [(((features[name] - self.means[name]) @ self.whitening[name].T) ** 2).sum(axis=1) for name in names]
        )
        return by_group.max(axis=0), np.array(names)[by_group.argmax(axis=0)]

    def find_p(self, distances: ArrayLike) -> NDArray[np.float64]:
        """Return the p-values of distances; they are small where these are large."""
        above = np.concatenate([np.cumsum(self.weights[::-1])[::-1], [0.0]])
        found: NDArray[np.float64] = (1 + above[np.searchsorted(self.distances, distances)]) / (self.n_patients + 1)
        return found

    def can_state(self, rate: float) -> bool:
        """Whether there are enough validation patients to flag a share `rate` of new ones."""
        return (self.n_patients + 1) * rate >= 1 - 1e-9

    def write(self, path: Path) -> None:
        """Write everything as an npz file of plain arrays."""
        arrays = {f"mean_{name}": mean for name, mean in self.means.items()}
        arrays |= {f"whitening_{name}": matrix for name, matrix in self.whitening.items()}
        write_arrays(path, {"distances": self.distances, "weights": self.weights} | arrays)


def learn_likeness(training: Features, validation: Features, validation_patients: ArrayLike) -> Likeness:
    """Learn what training records look like, and how far validation records are from it; each has one window."""
    means, whitening = {}, {}
    for name, values in training.items():
        mean, sd = values.mean(axis=0), values.std(axis=0) + 1e-3
        scaled = (values - mean) / sd
        covariance = scaled.T @ scaled / max(len(scaled), 1)
        # With few records, features look dependent that are not: as if there were as many again that are independent.
        share = min(values.shape[1] / max(len(values), 1), 1.0)
        covariance = (1 - share) * covariance + (share + _RIDGE) * np.eye(len(covariance))
        inverse = np.linalg.inv(np.linalg.cholesky(covariance)) / sd
        scale = np.quantile((((values - mean) @ inverse.T) ** 2).sum(axis=1), _QUANTILE)
        means[name], whitening[name] = mean, inverse / np.sqrt(scale)
    patients = np.asarray(validation_patients)
    _, patient, counts = np.unique(patients, return_inverse=True, return_counts=True)
    empty = Likeness(means, whitening, np.empty(0), np.empty(0))
    distances, _ = empty.measure(validation)
    order = np.argsort(distances, kind="stable")
    return Likeness(means, whitening, distances[order], (1 / counts)[patient][order])


def learn_from_store(store: SignalStore, training_ids: ArrayLike, validation: pd.DataFrame) -> Likeness:
    """Learn from the signals of a data set, of at most 3,000 training and 3,000 validation records, evenly chosen.

    `validation` is indexed by ecg_id and has the column ``patient_id``.
    """
    rate_hz = store.manifest["sampling_rate_hz"]
    training = _choose(np.asarray(training_ids), _MAX_TRAINING)
    chosen = validation.loc[_choose(validation.index.to_numpy(), _MAX_VALIDATION)]
    return learn_likeness(
        _describe(store, training, rate_hz),
        _describe(store, chosen.index.to_numpy(), rate_hz),
        chosen["patient_id"].to_numpy(),
    )


def _choose(ids: NDArray, most: int) -> NDArray:
    return ids[np.unique(np.linspace(0, len(ids) - 1, min(len(ids), most)).astype(int))]


def _describe(store: SignalStore, ids: NDArray, rate_hz: float) -> Features:
    rows = store.find_rows(ids)
    batches = np.array_split(rows, max(len(rows) // 512, 1))
    parts = [describe_windows(store.read_mv(batch), rate_hz, store.lead_names) for batch in batches]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def read_likeness(path: Path) -> Likeness:
    """Read what `Likeness.write` wrote; anything else is a `DataError`."""
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except (ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"{path}: damaged ({str(error).splitlines()[0]}); retrain with overwrite=true") from error


def _read(path: Path, file: IO[bytes]) -> Likeness:
    check_archive(path)
    with np.load(file, allow_pickle=False) as arrays:
        means = {name: arrays[f"mean_{name}"].astype(np.float64) for name in UNLIKE}
        whitening = {name: arrays[f"whitening_{name}"].astype(np.float64) for name in UNLIKE}
        distances, weights = (arrays[name].astype(np.float64) for name in ("distances", "weights"))
    for name, mean in means.items():
        if mean.ndim != 1 or whitening[name].shape != (len(mean), len(mean)):
            raise ValueError(f"the shapes of {name} do not fit")
    every = [*means.values(), *whitening.values(), distances, weights]
    if distances.ndim != 1 or weights.shape != distances.shape or not all(np.isfinite(each).all() for each in every):
        raise ValueError("the distances and their weights do not fit")
    if (np.diff(distances) < 0).any() or (weights <= 0).any():
        raise ValueError("the distances are not sorted, or a weight is not above 0")
    return Likeness(means, whitening, distances, weights)
