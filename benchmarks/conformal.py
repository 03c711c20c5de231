"""How often 'yes', 'no' and 'not certain' miss the true label: ``python -m benchmarks.conformal``.

Simulated patients have one to six records, whose labels are mostly alike and whose scores share a part; the scores of
either label are normal, so how often a new patient's record is missed follows from the limits without sampling. Several
nets, and several windows of a recording, share a part of their scores too; there new records are drawn.
"""

import argparse
import json
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ecgcls.evaluation.conformal import Conformal, learn_conformal

_SEPARATION, _SHARED, _ALIKE = 1.5, 0.6, 0.8
_RECORDS = {  # shares of patients with 1, 2, 3 and 6 records
    "1.2 records a patient": (0.89, 0.08, 0.02, 0.01),  # PTB-XL: 21,799 records of 18,869 patients
    "2 records a patient": (0.5, 0.25, 0.15, 0.1),
}
_N_NEW = 400  # of either label, in each data set
_RESULTS = Path(__file__).parent / "conformal.json"


def draw(
    kind: str, n_patients: int, prevalence: float, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Draw labels, scores and patients, ``(record,)`` each."""
    patient = np.repeat(np.arange(n_patients), generator.choice([1, 2, 3, 6], p=_RECORDS[kind], size=n_patients))
    usual = generator.random(n_patients) < prevalence
    is_alike = generator.random(len(patient)) < _ALIKE
    y_true = np.where(is_alike, usual[patient], generator.random(len(patient)) < prevalence).astype(int)
    shared = generator.normal(scale=np.sqrt(_SHARED), size=n_patients)[patient]
    scores = _SEPARATION * y_true + shared + generator.normal(scale=np.sqrt(1 - _SHARED), size=len(patient))
    return y_true, scores, patient


def find_coverage(known: Conformal, y_true: NDArray, scores: NDArray, error_rate: float) -> dict[str, float]:
    """Return which shares of new positive and negative records keep their label, exactly."""
    found = {}
    for label, sign, mean in (("positive", 1, _SEPARATION), ("negative", -1, 0.0)):
        own = np.sort(sign * scores[y_true == (label == "positive")])
        column = int(label == "positive")
        p = known.find_p(sign * np.concatenate([[-np.inf], own])[:, None])[:, 0, column]
        first = int(np.argmax(p > error_rate + 1e-12))
        found[label] = 1.0 if first == 0 else float(stats.norm.sf(own[first - 1] - sign * mean))
    return found


def try_sizes(repeats: int) -> list[dict[str, Any]]:
    """Learn from few and many positive patients, each patient counted once, or each record."""
    rows = []
    for kind in _RECORDS:
        for n_positive in (12, 20, 50, 200):
            for seed in range(repeats):
                generator = np.random.default_rng([n_positive, seed])
                y_true, scores, patient = draw(kind, 1000, n_positive / 1000, generator)
                for counted, who in (("patient", patient), ("record", np.arange(len(patient)))):
                    known = learn_conformal(y_true[:, None], scores[:, None], who)
                    for error_rate in (0.1, 0.2):
                        covered = find_coverage(known, y_true, scores, error_rate)
                        rows.append(
                            {"what": kind, "positive_patients": n_positive, "counted": counted,
                             "error_rate": error_rate, **covered}
                        )  # fmt: skip
    return rows


def draw_alike(
    label: int, n: int, n_alike: int, correlation: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Draw scores ``(one of several, record)`` of one label that share a part."""
    shared = generator.normal(scale=np.sqrt(correlation), size=n)
    return _SEPARATION * label + shared + generator.normal(scale=np.sqrt(1 - correlation), size=(n_alike, n))


def try_several(repeats: int) -> list[dict[str, Any]]:
    """Average the p-values of five nets, each with its own known patients, and of six windows of one net."""
    rows = []
    for correlation in (0.95, 0.8, 0.5):
        for seed in range(repeats):
            generator = np.random.default_rng([seed, round(100 * correlation)])
            drawn = [draw("1.2 records a patient", 1000, 0.1, generator) for _ in range(5)]
            nets = [learn_conformal(y_true[:, None], scores[:, None], who) for y_true, scores, who in drawn]
            for error_rate in (0.1, 0.2):
                for what, several in (("five nets", nets), ("six windows", nets[:1] * 6)):
                    kept = {}
                    for label, name in enumerate(("negative", "positive")):
                        new = draw_alike(label, _N_NEW, len(several), correlation, generator)
                        each = [
                            net.find_p(scores[:, None])[:, 0, label] for net, scores in zip(several, new, strict=True)
                        ]
                        kept[name] = float((np.mean(each, axis=0) > error_rate + 1e-12).mean())
                    rows.append({"what": what, "correlation": correlation, "error_rate": error_rate, **kept})
    return rows


def summarize(rows: list[dict[str, Any]]) -> list[dict[Hashable, Any]]:
    """Return mean and standard error of the coverages, by what was simulated."""
    table = pd.DataFrame(rows)
    keys = [name for name in table if name not in ("positive", "negative")]
    by = table.groupby(keys, sort=False)[["positive", "negative"]]
    found = by.mean().join(by.sem().add_suffix("_se")).reset_index()
    return found.round(4).to_dict(orient="records")


def main() -> None:
    """Simulate, add what was measured of real records, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformal", description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000, help="data sets of each kind (default: %(default)s)")
    parser.add_argument("--evaluated", type=Path, nargs="*", default=[], help="conformal.csv of evaluate error_rate=")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    arguments = parser.parse_args()
    content: dict[str, Any] = {
        "repeats": arguments.repeats,
        "one_net": summarize(try_sizes(arguments.repeats)),
        "several": summarize(try_several(max(arguments.repeats // 4, 2))),
    }
    for key in ("one_net", "several"):
        print(pd.DataFrame(content[key]).to_string(index=False), file=sys.stderr)
    measured = [pd.read_csv(path).round(4) for path in arguments.evaluated]
    content["measured"] = [row for table in measured for row in table.to_dict(orient="records")]
    arguments.results.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
