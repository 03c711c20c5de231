"""How often the intervals of `ecgcls.evaluation.intervals` hold the truth: ``python -m benchmarks.coverage``.

Records of simulated patients: a patient has one to six records, whose labels are mostly alike and whose scores share a
part. The label does not depend on the shared part, so the scores of positive and negative records are normal
distributions with one spread, and the true ROC-AUC and average precision are known in closed form.
"""

import argparse
import json
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, cpu_count, delayed
from scipy import integrate, stats

from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.settings import Bootstrap

_N_PATIENTS, _SEPARATION, _SHARED, _ALIKE = 1000, 1.5, 0.6, 0.8
_RECORDS = {  # shares of patients with 1, 2, 3 and 6 records
    "1.2 records a patient": (0.89, 0.08, 0.02, 0.01),  # PTB-XL: 21,799 records of 18,869 patients
    "2 records a patient": (0.5, 0.25, 0.15, 0.1),
}
_RESULTS = Path(__file__).parent / "coverage.json"


@lru_cache
def true_values(prevalence: float) -> dict[str, float]:
    """Return the ROC-AUC and the average precision of the population."""
    normal = stats.norm

    def precision(recall: float) -> float:
        at = normal.isf(recall, loc=_SEPARATION)
        hits, misses = prevalence * recall, (1 - prevalence) * normal.sf(at)
        return float(hits / (hits + misses))

    average_precision = integrate.quad(precision, 1e-12, 1, limit=500)[0]
    return {"roc_auc": float(normal.cdf(_SEPARATION / np.sqrt(2))), "pr_auc": average_precision}


def find_prevalence(kind: str, n_positive: int) -> float:
    """Return the prevalence at which so many positive records are to be expected."""
    return n_positive / _N_PATIENTS / float(np.dot([1, 2, 3, 6], _RECORDS[kind]))


def draw(kind: str, prevalence: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw labels, probabilities and patients, ``(record,)`` each."""
    n_records = generator.choice([1, 2, 3, 6], p=_RECORDS[kind], size=_N_PATIENTS)
    patient = np.repeat(np.arange(_N_PATIENTS), n_records)
    usual = generator.random(_N_PATIENTS) < prevalence
    is_alike = generator.random(len(patient)) < _ALIKE
    y_true = np.where(is_alike, usual[patient], generator.random(len(patient)) < prevalence)
    shared = generator.normal(scale=np.sqrt(_SHARED), size=_N_PATIENTS)[patient]
    scores = _SEPARATION * y_true + shared + generator.normal(scale=np.sqrt(1 - _SHARED), size=len(patient))
    return y_true.astype(int), stats.norm.cdf(scores / 3), patient


def try_once(kind: str, n_positive: int, seed: int, n_resamples: int) -> list[dict[str, object]]:
    """Draw a data set and say which intervals hold the truth."""
    prevalence = find_prevalence(kind, n_positive)
    generator = np.random.default_rng([n_positive, seed])
    y_true, y_prob, patient = draw(kind, prevalence, generator)
    while not y_true.any():
        y_true, y_prob, patient = draw(kind, prevalence, generator)
    rows: list[dict[str, object]] = []
    for resampled, method in (
        ("patients", "expanded"), ("patients", "percentile"), ("patients", "bca"), ("records", "percentile"),
    ):  # fmt: skip
        settings = Bootstrap(n_resamples, method=method, seed=seed)  # type: ignore[arg-type]
        who = patient if resampled == "patients" else np.arange(len(patient))
        table = bootstrap(y_true[:, None], y_prob[:, None], who, ["class"], settings=settings)
        limits = dict(zip(table.index, table[["low", "high"]].to_numpy().tolist(), strict=True))
        for metric, truth in true_values(prevalence).items():
            low, high = limits[("class", metric)]
            rows.append(
                {
                    "metric": metric, "records": kind, "positives": n_positive, "resampled": resampled,
                    "method": method,
                    "covered": low <= truth <= high, "below": high < truth, "above": truth < low, "width": high - low,
                }
            )  # fmt: skip
    return rows


def main() -> None:
    """Simulate and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000, help="data sets of each kind (default: %(default)s)")
    parser.add_argument("--resamples", type=int, default=1000, help="of each bootstrap (default: %(default)s)")
    parser.add_argument("--positives", type=int, nargs="*", default=[10, 20, 50, 200], help="expected records")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    arguments = parser.parse_args()
    jobs = [
        delayed(try_once)(kind, n_positive, seed, arguments.resamples)
        for kind in _RECORDS
        for n_positive in arguments.positives
        for seed in range(arguments.repeats)
    ]
    print(f"{len(jobs)} data sets on {cpu_count()} cores", file=sys.stderr)
    rows = [row for found in Parallel(n_jobs=-1, verbose=1)(jobs) for row in found]
    keys = ["metric", "records", "positives", "resampled", "method"]
    table = pd.DataFrame(rows).groupby(keys, sort=True)[["covered", "below", "above", "width"]].mean()
    print(table.to_string(float_format="{:.3f}".format))
    content = {"repeats": arguments.repeats, "resamples": arguments.resamples, "level": 0.95}
    found = table.reset_index().to_dict(orient="records")
    arguments.results.write_text(json.dumps(content | {"found": found}, indent=2) + "\n")


if __name__ == "__main__":
    from benchmarks import coverage  # by its name, so that other processes find its functions

    coverage.main()
