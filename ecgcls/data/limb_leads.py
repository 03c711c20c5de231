"""How the six limb leads follow from one another, and what it looks like where they do not.

Of I, II and III any two give the third (Einthoven), and aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2
(Goldberger [1]_). All are differences of the potentials of three electrodes. Two reversed electrodes leave every
relation intact, so no check of relations can find that.

References
----------
.. [1] Kligfield et al. Recommendations for the standardization and interpretation of the electrocardiogram, part I.
   Circulation 115 (2007) 1306-1324. doi:10.1161/CIRCULATIONAHA.106.180200
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

LIMB_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF")
MAX_RESIDUAL_MV = 0.02
"""Root mean square of a relation's residual in one second."""
MAX_RELATIVE_RESIDUAL = 0.1
"""The same, divided by the root mean square of the limb leads."""

_RELATIONS = {
    "III and II - I": {"III": 1.0, "II": -1.0, "I": 1.0},
    "aVR and -(I + II) / 2": {"aVR": 1.0, "I": 0.5, "II": 0.5},
    "aVL and (I - III) / 2": {"aVL": 1.0, "I": -0.5, "III": 0.5},
    "aVF and (II + III) / 2": {"aVF": 1.0, "II": -0.5, "III": -0.5},
    "aVR + aVL + aVF and 0": {"aVR": 1.0, "aVL": 1.0, "aVF": 1.0},
}


_WEIGHTS = {
    ("I", "II"): {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)},
    ("I", "III"): {"II": (1.0, 1.0)},
    ("II", "III"): {"I": (1.0, -1.0)},
}  # of two limb leads, in those that follow from them


def derive_limb_leads(rows: Mapping[str, NDArray[np.floating]]) -> dict[str, NDArray[np.floating]]:
    """Return all leads that follow from those that are given, and these."""
    found = dict(rows)
    for pair in (("I", "III"), ("II", "III"), ("I", "II")):
        if pair[0] in found and pair[1] in found:
            one, two = (found[name].astype(np.float64) for name in pair)
            found = {name: a * one + b * two for name, (a, b) in _WEIGHTS[pair].items()} | found
    return found


def solve_limb_leads(names: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the weights ``(2, lead)`` of some limb leads in I and II; None if these do not follow from them.

    Examples
    --------
    >>> solve_limb_leads(["II", "III"])
    array([[ 1., -1.],
           [ 1.,  0.]])
    """
    if len(names) < 2:
        return None
    one, two = np.eye(2)
    weights = {"I": one, "II": two} | {name: np.array(each) for name, each in _WEIGHTS["I", "II"].items()}
    found = np.zeros((2, len(names)))
    found[:, :2] = np.linalg.inv(np.stack([weights[name] for name in names[:2]])) + 0.0  # no -0
    return found


def describe_contradictions(seconds: Mapping[str, NDArray[np.floating]]) -> str:
    """Say by how much limb leads contradict one another, and which single swap or inversion would explain it.

    Parameters
    ----------
    seconds
        By lead, ``(second, sample)`` in mV; others than the limb leads are ignored.

    Returns
    -------
    The relation that is violated most, and by how much; empty if all hold, or if fewer than three leads are related.
    """
    names = [name for name in LIMB_LEADS if name in seconds]
    relations = [relation for relation, weights in _RELATIONS.items() if weights.keys() <= {*names}]
    if not relations:
        return ""
    weights = np.array([[_RELATIONS[relation].get(name, 0.0) for name in names] for relation in relations])
    limb = np.stack([seconds[name] for name in names], axis=1, dtype=np.float64)  # (second, lead, sample)
    # The mean square of a weighted sum of leads is a quadratic form of the leads' products.
    products = limb @ limb.transpose(0, 2, 1) / limb.shape[2]  # (second, lead, lead)
    typical = float(np.sqrt(np.median(products.trace(axis1=1, axis2=2)) / len(names)))
    bound = max(MAX_RESIDUAL_MV, MAX_RELATIVE_RESIDUAL * typical)
    residual = _measure(weights, products)
    worst = int(residual.argmax())
    if residual[worst] <= bound:
        return ""
    changed = [text for text, matrix in _list_changes(names) if (_measure(weights @ matrix, products) <= bound).all()]
    guess = f": as if {changed[0]}" if len(changed) == 1 else ""
    return (
        f"limb leads contradict one another: {relations[worst]} differ by {residual[worst]:.3f} mV (root mean "
        f"square; the bound is {bound:.3f} mV){guess}"
    )


def _measure(weights: NDArray[np.float64], products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the root mean square of each weighted sum, ``(relation,)``, in the median second."""
    squares = (weights @ products * weights).sum(axis=2)  # (second, relation)
    return np.median(np.sqrt(squares.clip(0)), axis=0)


def _list_changes(names: list[str]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield what may have happened to the leads, in words, and the matrix that undoes it."""
    one = np.eye(len(names))
    for first, second in combinations(range(len(names)), 2):
        swapped = one.copy()
        swapped[[first, second]] = one[[second, first]]
        yield f"{names[first]} and {names[second]} had been swapped", swapped
    for number, name in enumerate(names):
        inverted = one.copy()
        inverted[number, number] = -1
        yield f"{name} had been inverted", inverted
    for three in combinations(range(len(names)), 3):
        for order in list(permutations(three))[3:5]:  # the two rotations
            rotated = one.copy()
            rotated[list(three)] = one[list(order)]
            text = ", ".join(names[number] for number in three)
            yield f"{text} had the names {', '.join(names[number] for number in order)}", rotated
