"""Whether an attribution method may be believed for a net: three checks on a few records.

Task: a map that looks plausible may say nothing about the net. Each check asks for something that a useful map must do
and a useless one need not:

- Randomisation: shuffle the net's weights, layer after layer from the output down; a map whose magnitudes stay the same
  does not show what the net learned. It fails maps that repeat the input (Adebayo et al. 2018). Some of a map always
  stays, and is not learned: what is multiplied by the distance from the baseline keeps the outline of the ECG (rank
  correlations of 0.6 to 0.9 for small nets on PTB-XL), what is told in logit/mV favours leads of low voltage (0.2 to
  0.7).
- Deletion and insertion: take away (or give back) first what the map ranks first; the probability must fall (or rise)
  sooner than in a random order (Samek et al. 2017, Petsiuk et al. 2018).
- Completeness, integrated gradients only: the values must sum to what they claim to explain (Sundararajan et al. 2017).

All of them work on cells, short windows of one lead: that is the scale on which a map of ten seconds is read, and
single samples would tell more of how a net samples its input (one that shrinks the ECG to an image reads every other
sample, whatever its weights).

To pass is not to be right. An ECG with pieces of baseline in it is none that the net was trained on, so that deletion
measures in part how the net takes to such breaks; and each limit is a convention.

References
----------
- Adebayo et al. Sanity checks for saliency maps. NeurIPS 2018. arXiv:1810.03292
- Samek et al. Evaluating the visualization of what a deep neural network has learned. IEEE Trans. Neural Netw. Learn.
  Syst. 28 (2017). https://doi.org/10.1109/TNNLS.2016.2599820
- Petsiuk, Das, Saenko. RISE: randomized input sampling for explanation of black-box models. BMVC 2018.
  arXiv:1806.07421
- Sundararajan, Taly, Yan. Axiomatic attribution for deep networks. ICML 2017. arXiv:1703.01365
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from ecgcls.errors import ConfigError
from ecgcls.explanation.attribution import attribute, find_device, get_method, to_tensor

_BATCH = 32  # signals that go through the net at once
_CELL_S = 0.1
_HARDLY_CHANGED = 0.75  # rank correlation from which on a warning puts it that way
_ROUGH_STEPS = 64  # of integrated gradients of shuffled nets: ranks need no more


@dataclass(frozen=True)
class Randomisation:
    """How like itself a map stays while the net's weights are shuffled.

    Attributes
    ----------
    layers
        ``(stage,)``: the layer down to which the weights are shuffled, from the output layer.
    similarity
        ``(stage, seed, record)``: Spearman's rank correlation, over the cells, of the summed magnitudes of the trained
        and the shuffled net's map; nan where one of them is the same everywhere, which has no ranks.
    sign_similarity
        ``(stage, seed, record)``: the same of the sums with their signs; None if the method's signs mean nothing.
    limit
        The mean similarity must be below it once every weight is shuffled. 0.5 is a convention.
    """

    layers: tuple[str, ...]
    similarity: NDArray[np.float64]
    sign_similarity: NDArray[np.float64] | None
    limit: float

    @property
    def mean_similarity(self) -> list[float | None]:
        """``(stage,)``: over seeds and records, without those that are undefined; None where all are."""
        return [_mean_defined(stage) for stage in self.similarity]

    @property
    def passes(self) -> bool:
        """Whether the map has changed; False where that cannot be said."""
        final = self.mean_similarity[-1]
        return final is not None and final < self.limit

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON."""
        return {
            "layers": list(self.layers),
            "similarity": self.mean_similarity,
            "limit": self.limit,
            "passes": self.passes,
        }

    def warn(self) -> list[str]:
        """Say what is wrong in plain words."""
        final, found = self.mean_similarity[-1], []
        if final is None:
            found.append("the map is the same everywhere, so nothing can be said about it with shuffled weights")
        elif not self.passes:
            change = "hardly changes" if final >= _HARDLY_CHANGED else "changes too little"
            found.append(
                f"the map {change} when the weights are shuffled (rank correlation {final:.2f}, limit "
                f"{self.limit:.2f}): {self._advise()}"
            )
        n_undefined = int(np.isnan(self.similarity).sum())
        if n_undefined and final is not None:
            found.append(
                f"in {n_undefined} of {self.similarity.size} comparisons with shuffled weights a map is the same "
                "everywhere and has no rank correlation; they are left out"
            )
        return found

    def _advise(self) -> str:
        """Say what not to read into the map, and what is left if its signs do change."""
        signs = None if self.sign_similarity is None else _mean_defined(self.sign_similarity[-1])
        if signs is None or signs >= self.limit:
            return "do not read it as what the net learned"
        return (
            "do not read the size of its values as what the net learned, which comes from the ECG; their signs do "
            f"change ({signs:.2f})"
        )


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

    def warn(self) -> list[str]:
        """Say what is wrong in plain words."""
        if self.passes:
            return []
        if len(self.probability) == 1:
            return [f"{self.name} was tried on one record, which says nothing about others"]
        act, change = {"deletion": ("deleting", "lower"), "insertion": ("inserting", "raise")}[self.name]
        return [
            f"{act} what it ranks first does not {change} the probability sooner than a random order (advantage "
            f"{self.advantage.mean():.3f}, 95 % interval {self.interval[0]:.3f} to {self.interval[1]:.3f})"
        ]


@dataclass(frozen=True)
class Completeness:
    """How well integrated gradients sum to the difference that they explain.

    Attributes
    ----------
    relative_error, n_steps
        ``(record,)``: as in `attribution.Attribution`.
    limit
        The median relative error must not be above it.
    """

    relative_error: NDArray[np.float64]
    n_steps: NDArray[np.int64]
    limit: float

    @property
    def passes(self) -> bool:
        """Whether the median record is within the limit."""
        return bool(np.median(self.relative_error) <= self.limit)

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON; `n_steps` is the largest."""
        return {
            "relative_error": self.relative_error.tolist(),
            "limit": self.limit,
            "n_steps": int(self.n_steps.max()),
            "passes": self.passes,
        }

    def warn(self) -> list[str]:
        """Say what is wrong in plain words."""
        missed = ~(self.relative_error <= self.limit)
        if not missed.any():
            return []
        return [
            f"the values do not sum to the logit's difference in {missed.sum()} of {len(missed)} records (relative "
            f"error above {self.limit:.2f}, median {np.median(self.relative_error):.3f}, {self.n_steps.max()} steps)"
        ]


def score_method(
    net: nn.Module,
    signal_mv: Tensor | ArrayLike,
    class_index: ArrayLike,
    *,
    method: str,
    baseline_mv: Tensor | ArrayLike,
    sd_mv: Tensor | ArrayLike,
    sampling_rate_hz: float,
    seed: int = 0,
    n_randomised: int = 4,
    **settings: Any,
) -> dict[str, Any]:
    """Put one attribution method to every check that applies to it.

    Parameters
    ----------
    net, signal_mv, class_index, method, baseline_mv, sd_mv, sampling_rate_hz
        As in `attribution.attribute`.
    seed
        Of the method's noise, the shuffles, the random orders and the bootstrap.
    n_randomised
        How many of the records the randomisation takes, spread evenly over them; it attributes each of them up to 25
        times.
    settings
        Further settings of `attribution.attribute`.

    Returns
    -------
    dict
        Ready for JSON: 'randomisation', 'deletion' and 'insertion' as the ``to_dict`` of `Randomisation` and `Curve`
        gives them, 'completeness' as `Completeness` does, or None for other methods, and 'warnings', a list of plain
        sentences that begin with the method's name.

    Raises
    ------
    ConfigError
        As in `attribution.attribute`.
    """
    signal, classes = to_tensor(signal_mv, find_device(net)), np.asarray(class_index)
    fixed: dict[str, Any] = {
        "method": method,
        "baseline_mv": baseline_mv,
        "sd_mv": sd_mv,
        "sampling_rate_hz": sampling_rate_hz,
        "seed": seed,
        **settings,
    }
    found = attribute(net, signal, classes, **fixed)
    few = np.unique(np.linspace(0, len(signal) - 1, min(n_randomised, len(signal))).round().astype(int))
    rough = {"max_steps": min(_ROUGH_STEPS, settings.get("max_steps", _ROUGH_STEPS))}

    def explain(any_net: nn.Module) -> NDArray[np.float32]:
        return attribute(any_net, signal[few], classes[few], **fixed | rough).values

    is_signed = get_method(method).is_signed
    randomisation = randomise(net, explain, is_signed=is_signed, sampling_rate_hz=sampling_rate_hz, seed=seed)
    deletion, insertion = delete_and_insert(
        net,
        signal,
        classes,
        found.values,
        is_signed=is_signed,
        baseline_mv=baseline_mv,
        sampling_rate_hz=sampling_rate_hz,
        seed=seed,
    )
    checks: dict[str, Randomisation | Curve | Completeness | None] = {
        "randomisation": randomisation,
        "deletion": deletion,
        "insertion": insertion,
        "completeness": None,
    }
    if found.relative_error is not None and found.n_steps is not None:
        checks["completeness"] = Completeness(found.relative_error, found.n_steps, settings.get("tolerance", 0.05))
    card: dict[str, Any] = {name: check and check.to_dict() for name, check in checks.items()}
    sentences = [sentence for check in checks.values() if check for sentence in check.warn()]
    return {**card, "warnings": [f"{method}: {sentence}" for sentence in sentences]}


def randomise(
    net: nn.Module,
    explain: Callable[[nn.Module], NDArray],
    *,
    is_signed: bool,
    sampling_rate_hz: float,
    cell_s: float = _CELL_S,
    n_seeds: int = 3,
    max_stages: int = 8,
    limit: float = 0.5,
    seed: int = 0,
) -> Randomisation:
    """Shuffle a net's weights layer after layer from the output down, and see whether its maps change.

    The values within each parameter tensor are permuted, which keeps their distribution; buffers, such as a batch
    norm's statistics, stay. The net itself is not touched.

    Parameters
    ----------
    net
        Any net with parameters. Its output layer is taken to be the one that it registers last.
    explain
        Takes a net and returns its maps ``(record, lead, sample)``, of the same records each time.
    is_signed
        Whether the maps' signs mean something.
    sampling_rate_hz
        Of the maps.
    cell_s
        Length of a cell; a record's last one may be shorter.
    n_seeds
        How often the cascade is run.
    max_stages
        How many stages the layers are gathered into at most.
    limit
        See `Randomisation`.
    seed
        Of the shuffles.

    Raises
    ------
    ConfigError
        The net has no parameters.
    """
    layers = [name for name, module in net.named_modules() if list(module.parameters(recurse=False))][::-1]
    if not layers:
        raise ConfigError("the net has no parameters: there is nothing to shuffle")
    stages = [part.tolist() for part in np.array_split(np.array(layers), min(max_stages, len(layers)))]
    cell = _count_cell_samples(cell_s, sampling_rate_hz)
    trained = explain(net)
    similarity, sign_similarity = (np.empty((len(stages), n_seeds, len(trained))) for _ in range(2))
    for repeat in range(n_seeds):
        shuffled = copy.deepcopy(net)
        generator = torch.Generator().manual_seed(seed * n_seeds + repeat)
        for stage, names in enumerate(stages):
            for name in names:
                _shuffle(shuffled.get_submodule(name), generator)
            found = explain(shuffled)
            similarity[stage, repeat] = correlate_ranks(*(sum_cells(np.abs(maps), cell) for maps in (trained, found)))
            sign_similarity[stage, repeat] = correlate_ranks(*(sum_cells(maps, cell) for maps in (trained, found)))
    layers_reached = tuple(names[-1] for names in stages)
    return Randomisation(layers_reached, similarity, sign_similarity if is_signed else None, limit)


def delete_and_insert(
    net: nn.Module,
    signal_mv: Tensor | ArrayLike,
    class_index: ArrayLike,
    values: NDArray,
    *,
    is_signed: bool,
    baseline_mv: Tensor | ArrayLike,
    sampling_rate_hz: float,
    cell_s: float = _CELL_S,
    n_steps: int = 20,
    n_random: int = 5,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> tuple[Curve, Curve]:
    """Take records apart, and put them together, in the order that their maps give.

    A cell is a short window of one lead, and its rank is that of the map's sum over it; ties are broken at random.
    Deletion replaces cells by the baseline, the highest ranks first; insertion starts from the baseline and puts them
    back, the highest ranks first.

    Parameters
    ----------
    net, signal_mv, class_index, baseline_mv, sampling_rate_hz
        As in `attribution.attribute`.
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
    n_bootstrap
        How often the records are drawn for the interval.
    seed
        Of the ties, the random orders and the bootstrap.

    Returns
    -------
    deletion, insertion
    """
    device = find_device(net)
    signal, baseline = to_tensor(signal_mv, device), to_tensor(baseline_mv, device)
    classes = torch.as_tensor(np.asarray(class_index), dtype=torch.int64, device=device)
    n_records, n_leads, n_samples = signal.shape
    if values.shape != (n_records, n_leads, n_samples):
        raise ConfigError(f"values must have the signals' shape {(n_records, n_leads, n_samples)}, got {values.shape}")

    cell = _count_cell_samples(cell_s, sampling_rate_hz)
    score = sum_cells(values if is_signed else np.abs(values), cell)  # (record, lead, window)
    ranks = _rank_cells(score.reshape(n_records, -1), n_random=n_random, seed=seed)  # (order, record, cell)
    n_cells = ranks.shape[2]
    counts = np.unique(np.linspace(0, n_cells, n_steps + 1).round().astype(int))
    window = torch.arange(n_samples, device=device) // cell
    rank = torch.as_tensor(ranks, device=device).unflatten(2, score.shape[1:])
    deleted, inserted = (np.empty((len(counts), *ranks.shape[:2])) for _ in range(2))  # (step, order, record)
    for step, count in enumerate(counts.tolist()):
        for order in range(len(ranks)):
            first = (rank[order] < count)[:, :, window]  # (record, lead, sample)
            deleted[step, order] = _predict(net, torch.where(first, baseline, signal), classes)
            inserted[step, order] = _predict(net, torch.where(first, signal, baseline), classes)
    deletion, insertion = (
        _make_curve(name, counts / n_cells, probability, n_bootstrap=n_bootstrap, seed=seed)
        for name, probability in (("deletion", deleted), ("insertion", inserted))
    )
    return deletion, insertion


def sum_cells(values: NDArray, n_samples: int) -> NDArray[np.float64]:
    """Sum each lead over windows of `n_samples`; a last one that is shorter counts too.

    Parameters
    ----------
    values
        ``(record, lead, sample)``.
    n_samples
        Length of a window.

    Returns
    -------
    numpy.ndarray
        ``(record, lead, window)``.

    Examples
    --------
    >>> import numpy as np
    >>> sum_cells(np.arange(5)[None, None], 2)
    array([[[1., 5., 4.]]])
    """
    starts = np.arange(0, values.shape[2], n_samples)
    return np.add.reduceat(values, starts, axis=2, dtype=np.float64)


def correlate_ranks(values: NDArray, others: NDArray) -> NDArray[np.float64]:
    """Correlate the ranks of two maps, record by record (Spearman).

    Parameters
    ----------
    values, others
        ``(record, ...)``.

    Returns
    -------
    numpy.ndarray
        ``(record,)``, -1 to 1; nan where one of the maps is the same everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> correlate_ranks(np.array([[1, 2, 3]]), np.array([[1, 4, 9]]))
    array([1.])
    """
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (values, others)]
    first, second = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    size = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.asarray((first * second).sum(axis=1) / np.where(size > 0, size, np.nan))


def _mean_defined(values: NDArray[np.float64]) -> float | None:
    """The mean of what is not nan; None where everything is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else None


def _count_cell_samples(cell_s: float, sampling_rate_hz: float) -> int:
    cell = round(cell_s * sampling_rate_hz)
    if cell < 1:
        raise ConfigError(f"cell_s must be at least one sample, {1 / sampling_rate_hz:g} s, got {cell_s:g}")
    return cell


def _shuffle(layer: nn.Module, generator: torch.Generator) -> None:
    """Permute the values within each parameter that the layer itself holds."""
    with torch.no_grad():
        for parameter in layer.parameters(recurse=False):
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))


def _rank_cells(score: NDArray[np.float64], *, n_random: int, seed: int) -> NDArray[np.int64]:
    """(order, record, cell): the place of each cell, from 0, in the order of its score and in random ones."""
    places = np.empty((1 + n_random, *score.shape), np.int64)
    for record, scores in enumerate(score):
        draws = np.random.default_rng([seed, record]).random((1 + n_random, len(scores)))
        orders = [np.lexsort((draws[0], -scores)), *np.argsort(draws[1:], axis=1)]
        for place, order in zip(places[:, record], orders, strict=True):
            place[order] = np.arange(len(order))
    return places


def _predict(net: nn.Module, signal_mv: Tensor, class_index: Tensor) -> NDArray[np.float64]:
    """(record,): the probability of each record's class."""
    with torch.no_grad():
        logits = torch.cat([net(part) for part in signal_mv.split(_BATCH)])
    return logits.gather(1, class_index[:, None])[:, 0].double().sigmoid().cpu().numpy()


def _make_curve(
    name: str, share: NDArray[np.float64], probability: NDArray[np.float64], *, n_bootstrap: int, seed: int
) -> Curve:
    """Make a curve of ``(step, order, record)``, whose first order is the map's."""
    by_map, by_chance = probability[:, 0].T, probability[:, 1:].mean(axis=1).T  # (record, step)
    advantage = _measure_advantage(name, share, by_map, by_chance)
    rng = np.random.default_rng(seed)
    means = advantage[rng.integers(len(advantage), size=(n_bootstrap, len(advantage)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5]).tolist()
    return Curve(name, share, by_map, by_chance, (low, high))


def _measure_advantage(
    name: str, share: NDArray[np.float64], by_map: NDArray[np.float64], by_chance: NDArray[np.float64]
) -> NDArray[np.float64]:
    gain = by_chance - by_map if name == "deletion" else by_map - by_chance
    return np.asarray(np.trapezoid(gain, share, axis=1))
