"""How often the intervals over folds and sites hold the truth: ``python -m benchmarks.folds``.

Two simulations. *Means*: five folds whose results share a part, as their training sets overlap (a correlation of
n_test / (n_test + n_train), as Nadeau and Bengio assume), normal on the logit's scale; the truth is their expectation.
*Sites*: their true values are normal on the logit's scale around one that is 0.92, with the standard deviation tau;
errors differ by the size of the site and are themselves estimated. The truth of the prediction interval is the value of
one more site.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit, logit

from ecgcls.evaluation.folds import correct_folds
from ecgcls.evaluation.sites import combine_sites

_RESULTS = Path(__file__).parent / "folds.json"
_ERRORS, _DEGREES = (0.05, 0.30), 40  # of sites: least and largest, and the degrees of freedom of their estimates


def simulate_means(value: float, sd: float, *, repeats: int, generator: np.random.Generator) -> dict[str, float]:
    """Say how often the two intervals of five folds' mean hold the truth, and leave [0, 1]."""
    n_train, n_test = 700, 200
    shared = n_test / (n_test + n_train)
    parts = generator.normal(size=(repeats, 6))
    logits = np.sqrt(shared) * parts[:, :1] + np.sqrt(1 - shared) * parts[:, 1:]  # (repeat, fold)
    folds = expit(logit(value) + sd * logits)
    truth = expit(logit(value) + sd * stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)).mean()
    row: dict[str, float] = {}
    for name, bounds in (("plain", (-np.inf, np.inf)), ("logit", (0.0, 1.0))):
        mean, spread = folds.mean(axis=1), folds.std(axis=1, ddof=1)
        low, high = correct_folds(mean, spread, 5, n_train=n_train, n_test=n_test, bounds=bounds)
        row[f"{name}_covered"] = float(((low <= truth) & (truth <= high)).mean())
        row[f"{name}_outside"] = float(((low < 0) | (high > 1)).mean())
    return row


def simulate_sites(n_sites: int, tau: float, *, repeats: int, generator: np.random.Generator) -> dict[str, float]:
    """Say how often the mean's interval holds the mean, and the prediction interval the value of one more site."""
    held = {"mean_covered": 0, "new_covered": 0}
    widths = []
    for _ in range(repeats):
        truth = logit(0.92) + tau * generator.normal(size=n_sites + 1)
        error = stats.loguniform.rvs(*_ERRORS, size=n_sites, random_state=generator)
        values = expit(truth[:-1] + error * generator.normal(size=n_sites))
        estimated = error * np.sqrt(generator.chisquare(_DEGREES, n_sites) / _DEGREES)
        found = combine_sites(values, estimated, bounds=(0.0, 1.0))
        held["mean_covered"] += found["low"] <= 0.92 <= found["high"]
        held["new_covered"] += found["new_low"] <= expit(truth[-1]) <= found["new_high"]
        widths.append(found["new_high"] - found["new_low"])
    return {name: count / repeats for name, count in held.items()} | {"new_width": float(np.median(widths))}


def main() -> None:
    """Simulate and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.folds", description=__doc__)
    parser.add_argument("--repeats", type=int, default=4000, help="of each kind of sites (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    arguments = parser.parse_args()
    generator, repeats = np.random.default_rng(0), arguments.repeats
    means = [
        {"value": value, "sd_logit": sd} | simulate_means(value, sd, repeats=10 * repeats, generator=generator)
        for value in (0.8, 0.95, 0.98)
        for sd in (0.1, 0.3, 0.8)
    ]
    sites = [
        {"n_sites": n_sites, "tau": tau} | simulate_sites(n_sites, tau, repeats=repeats, generator=generator)
        for n_sites in (4, 5, 7, 10)
        for tau in (0.0, 0.1, 0.3, 0.6)
    ]
    for rows in (means, sites):
        print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format))
    error = {"means": (0.95 * 0.05 / repeats / 10) ** 0.5, "sites": (0.95 * 0.05 / repeats) ** 0.5}
    content = {"repeats": {"means": 10 * repeats, "sites": repeats}, "level": 0.95, "standard_error": error}
    arguments.results.write_text(json.dumps(content | {"means": means, "sites": sites}, indent=2) + "\n")


if __name__ == "__main__":
    main()
