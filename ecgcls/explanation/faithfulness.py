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

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgcls.errors import ConfigError
from ecgcls.explanation.cells import CELL_S, sum_cells
from ecgcls.explanation.query import BATCH_SIZE, Query, count_samples

_N_BOOTSTRAP = 2000  # how often the records are drawn for the interval


@dataclass(frozen=True)
class Curve:
    """A class's probability while the record is deleted or put together, in the map's order and in random ones.

    Attributes
    ----------
    name
        'deletion' or 'insertion'.
    share
        ``(step,)``: of the cells that are deleted or inserted, 0 to 1.
    probability, random
        ``(record, step)``: in the map's order, and the mean over random orders.
    interval
        Bootstrap 95 % interval of the mean `advantage` over the records.
    """

    name: str
    share: NDArray[np.float64]
    probability: NDArray[np.float64]
    random: NDArray[np.float64]
    interval: tuple[float, float]

    @property
    def advantage(self) -> NDArray[np.float64]:
        """``(record,)``: the area between the two curves, positive where the map's order is better than random."""
        return _measure_advantage(self.name, self.share, self.probability, self.random)

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
            f"{self.advantage.mean():.3f}, 95 % interval {self.interval[0]:.3f} to {self.interval[1]:.3f})"
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
    query
        The net, the records and their classes.
    values
        ``(record, lead, sample)``: the maps.
    is_signed
        Whether a negative value speaks against the class and so ranks last; where not, magnitudes are summed.
    cell_s
        Length of a cell; a record's last one may be shorter.
    n_steps
        In how many steps about equal numbers of cells are replaced.
    n_random
        How many random orders a record is compared with; each record has its own.
    seed
        Of the ties, the random orders and the bootstrap.

    Returns
    -------
    deletion, insertion

    Raises
    ------
    ConfigError
        The maps do not have the signals' shape, or a cell is shorter than a sample.
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
    deletion, insertion = (
        _make_curve(name, counts / n_cells, probability, seed=seed)
        for name, probability in (("deletion", deleted), ("insertion", inserted))
    )
    return deletion, insertion


def _rank_cells(score: NDArray[np.float64], *, n_random: int, seed: int) -> NDArray[np.int64]:
    """(order, record, cell): the place of each cell, from 0, in the order of its score and in random ones."""
    places = np.empty((1 + n_random, *score.shape), np.int64)
    for record, scores in enumerate(score):
        draws = np.random.default_rng([seed, record]).random((1 + n_random, len(scores)))
        orders = [np.lexsort((draws[0], -scores)), *np.argsort(draws[1:], axis=1)]
        for place, order in zip(places[:, record], orders, strict=True):
            place[order] = np.arange(len(order))
    return places


def _predict(query: Query, signal_mv: Tensor) -> NDArray[np.float64]:
    """(record,): the probability of each record's class, for other signals than the query's."""
    with torch.no_grad():
        logits = torch.cat([query.net(batch) for batch in signal_mv.split(BATCH_SIZE)])
    return logits.gather(1, query.class_index[:, None])[:, 0].double().sigmoid().cpu().numpy()


def _make_curve(name: str, share: NDArray[np.float64], probability: NDArray[np.float64], *, seed: int) -> Curve:
    """Make a curve of ``(step, order, record)``, whose first order is the map's."""
    by_map, by_chance = probability[:, 0].T, probability[:, 1:].mean(axis=1).T  # (record, step)
    advantage = _measure_advantage(name, share, by_map, by_chance)
    rng = np.random.default_rng(seed)
    means = advantage[rng.integers(len(advantage), size=(_N_BOOTSTRAP, len(advantage)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5]).tolist()
    return Curve(name, share, by_map, by_chance, (low, high))


def _measure_advantage(
    name: str, share: NDArray[np.float64], by_map: NDArray[np.float64], by_chance: NDArray[np.float64]
) -> NDArray[np.float64]:
    gain = by_chance - by_map if name == "deletion" else by_map - by_chance
    return np.asarray(np.trapezoid(gain, share, axis=1))
