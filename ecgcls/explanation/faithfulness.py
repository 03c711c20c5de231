"""Whether what a map ranks first matters to the net: deletion and insertion.

Take away (or give back) the cells of a record in the map's order; the probability must fall (or rise) sooner than in a
random order (Samek et al. 2017, Petsiuk et al. 2018). An ECG with pieces of baseline in it is unlike any that the net
was trained on, so that deletion measures in part how the net reacts to such breaks.

References
----------
- Samek et al. Evaluating the visualization of what a deep neural network has learned. IEEE Trans. Neural Netw. Learn.
  Syst. 28 (2017). https://doi.org/10.1109/TNNLS.2016.2599820
- Petsiuk, Das, Saenko. RISE: randomized input sampling for explanation of black-box models. BMVC 2018.
  arXiv:1806.07421
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgcls.errors import ConfigError
from ecgcls.explanation.method import BATCH_SIZE, Query, count_samples

CELL_S = 0.1
"""Length of a cell, s: a short window of one lead, the scale on which a map of ten seconds is read. Single samples
would reveal more of how a net samples its input than of what it looks at: one that shrinks the ECG to an image reads
every other sample, whatever its weights."""
_N_BOOTSTRAP = 2000  # how often the records are drawn for the interval


def sum_cells(values: NDArray, n_samples: int) -> NDArray[np.float64]:
    """Sum ``(record, lead, sample)`` over windows of `n_samples`; a last one that is shorter counts too.

    Examples
    --------
    >>> import numpy as np
    >>> sum_cells(np.arange(5)[None, None], 2)
    array([[[1., 5., 4.]]])
    """
    return np.add.reduceat(values, np.arange(0, values.shape[2], n_samples), axis=2, dtype=np.float64)


@dataclass(frozen=True)
class Curve:
    """A class's probability while the record is deleted or put together, in the map's order and in random ones.

    Attributes
    ----------
    name
        'deletion' or 'insertion'.
    share
        ``(step,)``: of the cells, 0 to 1.
    probability, random
        ``(record, step)``: in the map's order, and the mean over random orders.
    interval
        Bootstrap 95% interval of the mean `advantage` over the records.
    """

    name: str
    share: NDArray[np.float64]
    probability: NDArray[np.float64]
    random: NDArray[np.float64]
    interval: tuple[float, float]

    @property
    def advantage(self) -> NDArray[np.float64]:
        """``(record,)``: the area between the two curves, positive where the map's order is better than random."""
        gain = self.random - self.probability
        return np.asarray(np.trapezoid(gain if self.name == "deletion" else -gain, self.share, axis=1))

    @property
    def passes(self) -> bool:
        """Whether the map's order is better than random on more than this sample of records."""
        return len(self.probability) > 1 and self.interval[0] > 0

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON: means over the records."""
        return {
            "share": self.share.tolist(),
            "probability": self.probability.mean(axis=0).tolist(),
            "random": self.random.mean(axis=0).tolist(),
            "advantage": float(self.advantage.mean()),
            "interval": list(self.interval),
            "passes": self.passes,
        }

    def list_warnings(self) -> list[str]:
        """Return a sentence if something is wrong."""
        if self.passes:
            return []
        if len(self.probability) == 1:
            return [f"{self.name} was measured on one record, which says nothing about others"]
        act, change = {"deletion": ("deleting", "lower"), "insertion": ("inserting", "raise")}[self.name]
        return [
            f"{act} what it ranks first does not {change} the probability sooner than a random order (advantage "
            f"{self.advantage.mean():.3f}, 95% interval {self.interval[0]:.3f} to {self.interval[1]:.3f})"
        ]


def delete_and_insert(
    query: Query,
    values: NDArray,
    *,
    is_signed: bool,
    cell_s: float = CELL_S,
    n_steps: int = 20,
    n_random: int = 5,
    seed: int = 0,
) -> tuple[Curve, Curve]:
    """Take records apart, and put them together, in the order that their maps give.

    A cell's rank is that of the map's sum over it; ties are broken at random. Deletion replaces cells by the baseline,
    the highest ranks first; insertion starts from the baseline and puts them back, the highest ranks first.

    Parameters
    ----------
    values
        The maps, ``(record, lead, sample)``.
    is_signed
        Whether a negative value speaks against the class and so ranks last; where not, magnitudes are summed.
    n_steps
        In how many steps about equal numbers of cells are replaced.
    n_random
        How many random orders a record is compared with; each record has its own.

    Returns
    -------
    deletion, insertion
    """
    signal, baseline = query.signal_mv, query.baseline_mv
    if values.shape != signal.shape:
        raise ConfigError(f"values must have the signals' shape {tuple(signal.shape)}, got {values.shape}")
    cell = count_samples("cell_s", cell_s, sampling_rate_hz=query.sampling_rate_hz)
    score = sum_cells(values if is_signed else np.abs(values), cell)  # (record, lead, window)
    ranks = _rank_cells(score.reshape(len(query), -1), n_random=n_random, seed=seed)  # (order, record, cell)
    n_cells = ranks.shape[2]
    counts = np.unique(np.linspace(0, n_cells, n_steps + 1).round().astype(int))
    window = torch.arange(signal.shape[2], device=signal.device) // cell
    rank = torch.as_tensor(ranks, device=signal.device).unflatten(2, score.shape[1:])
    deleted, inserted = (np.empty((len(counts), *ranks.shape[:2])) for _ in range(2))  # (step, order, record)
    for step, count in enumerate(counts.tolist()):
        for order in range(len(ranks)):
            first = (rank[order] < count)[:, :, window]  # (record, lead, sample)
            deleted[step, order] = _predict(query, torch.where(first, baseline, signal))
            inserted[step, order] = _predict(query, torch.where(first, signal, baseline))
    share = counts / n_cells
    return _make_curve("deletion", share, deleted, seed=seed), _make_curve("insertion", share, inserted, seed=seed)


def _rank_cells(score: NDArray[np.float64], *, n_random: int, seed: int) -> NDArray[np.int64]:
    """(order, record, cell): the place of each cell, from 0, in the order of its score and in random ones."""
    places = np.empty((1 + n_random, *score.shape), np.int64)
    for record, scores in enumerate(score):
        draws = np.random.default_rng([seed, record]).random((1 + n_random, len(scores)))
        orders = [np.lexsort((draws[0], -scores)), *np.argsort(draws[1:], axis=1)]
        places[:, record] = np.argsort(orders, axis=1)  # the inverse permutations
    return places


def _predict(query: Query, signal_mv: Tensor) -> NDArray[np.float64]:
    """(record,): the probability of each record's class, for other signals than the query's."""
    with torch.no_grad():
        other = replace(query, signal_mv=signal_mv)
        logits = torch.cat([query.ask(batch.signal_mv, batch.metadata) for batch in other.split(BATCH_SIZE)])
    return query.to_probability(logits)


def _make_curve(name: str, share: NDArray[np.float64], probability: NDArray[np.float64], *, seed: int) -> Curve:
    """Make a curve of ``(step, order, record)``, whose first order is the map's."""
    curve = Curve(name, share, probability[:, 0].T, probability[:, 1:].mean(axis=1).T, (np.nan, np.nan))
    advantage = curve.advantage
    rows = np.random.default_rng(seed).integers(len(advantage), size=(_N_BOOTSTRAP, len(advantage)))
    low, high = np.percentile(advantage[rows].mean(axis=1), [2.5, 97.5]).tolist()
    return replace(curve, interval=(low, high))
