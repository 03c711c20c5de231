"""Whether a map depends on what the net learned: shuffle its weights, layer after layer from the output down.

A map whose magnitudes stay the same does not show what the net learned. The check fails maps that repeat the input
(Adebayo et al. 2018). Some of a map always stays, and is not learned: what is multiplied by the distance from the
baseline keeps the outline of the ECG (rank correlations of 0.6 to 0.9 for small nets on PTB-XL), what is given in
logit/mV favors leads of low voltage (0.2 to 0.7).

References
----------
Adebayo et al. Sanity checks for saliency maps. NeurIPS 2018. arXiv:1810.03292
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import nn

from ecgcls.errors import ConfigError
from ecgcls.explanation.faithfulness import CELL_S, sum_cells
from ecgcls.explanation.method import count_samples

_LIMIT = 0.5
_HARDLY_CHANGED = 0.75  # rank correlation from which on a warning puts it that way


@dataclass(frozen=True)
class Randomization:
    """How similar to itself a map stays while the net's weights are shuffled.

    Attributes
    ----------
    layers
        ``(stage,)``: the layer down to which the weights are shuffled.
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
        """Whether the map has changed; False where that cannot be determined."""
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

    def list_warnings(self) -> list[str]:
        """Return a sentence for each thing that is wrong."""
        final, found = self.mean_similarity[-1], []
        if final is None:
            found.append("the map is the same everywhere, so shuffled weights cannot be compared with it")
        elif not self.passes:
            change = "hardly changes" if final >= _HARDLY_CHANGED else "changes too little"
            signs = None if self.sign_similarity is None else _mean_defined(self.sign_similarity[-1])
            advice = "do not read it as what the net learned"
            if signs is not None and signs < self.limit:
                advice = (
                    "do not read the size of its values as what the net learned, which comes from the ECG; their signs "
                    f"do change ({signs:.2f})"
                )
            found.append(
                f"the map {change} when the weights are shuffled (rank correlation {final:.2f}, limit "
                f"{self.limit:.2f}): {advice}"
            )
        n_undefined = int(np.isnan(self.similarity).sum())
        if n_undefined and final is not None:
            found.append(
                f"in {n_undefined} of {self.similarity.size} comparisons with shuffled weights a map is the same "
                "everywhere and has no rank correlation; they are left out"
            )
        return found


def randomize(
    net: nn.Module,
    explain: Callable[[nn.Module], NDArray],
    *,
    is_signed: bool,
    sampling_rate_hz: float,
    n_seeds: int = 3,
    max_stages: int = 8,
    seed: int = 0,
) -> Randomization:
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
    n_seeds
        How often the cascade is run.
    max_stages
        How many stages the layers are gathered into at most.
    """
    layers = [name for name, module in net.named_modules() if list(module.parameters(recurse=False))][::-1]
    if not layers:
        raise ConfigError("the net has no parameters: there is nothing to shuffle")
    stages = [stage.tolist() for stage in np.array_split(np.array(layers), min(max_stages, len(layers)))]
    cell = count_samples("cell_s", CELL_S, sampling_rate_hz=sampling_rate_hz)
    trained = explain(net)
    similarity, sign_similarity = (np.empty((len(stages), n_seeds, len(trained))) for _ in range(2))
    for repeat in range(n_seeds):
        shuffled = copy.deepcopy(net)
        generator = torch.Generator().manual_seed(seed * n_seeds + repeat)
        for stage, names in enumerate(stages):
            for name in names:
                for parameter in shuffled.get_submodule(name).parameters(recurse=False):
                    order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                    parameter.data.copy_(parameter.data.flatten()[order].view_as(parameter))
            found = explain(shuffled)
            similarity[stage, repeat] = correlate_ranks(*(sum_cells(np.abs(maps), cell) for maps in (trained, found)))
            sign_similarity[stage, repeat] = correlate_ranks(*(sum_cells(maps, cell) for maps in (trained, found)))
    layers_reached = tuple(names[-1] for names in stages)
    return Randomization(layers_reached, similarity, sign_similarity if is_signed else None, _LIMIT)


def correlate_ranks(values: NDArray, others: NDArray) -> NDArray[np.float64]:
    """Correlate the ranks of two maps ``(record, ...)``, record by record (Spearman).

    Returns ``(record,)``, -1 to 1; nan where one of the maps is the same everywhere.

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
