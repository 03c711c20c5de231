"""How often the limits of calibration slope, intercept and O:E, and the bands of the smooth curve, hold the truth.

``python -m benchmarks.calibration``: simulated patients with one to six records. The logit z of a record shares a part
with the patient's other records, and so does the chance by which it is positive, so that records of a patient are alike
in both while P(positive | z) is exactly known. What is predicted is that of three truths:

- *calibrated*: the probability itself;
- *line*: probabilities that are too extreme (slope 0.7) and 1.3 times too high on average;
- *bend*: these, with a curve that no line follows (0.15 z^2 more on the logit).
"""

import argparse
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit

from benchmarks.population import RECORDS, count_mean
from ecgcls.evaluation.calibration import measure_calibration
from ecgcls.evaluation.logistic import fit_logistic
from ecgcls.evaluation.smooth_calibration import smooth_curves

_N_PATIENTS, _SPREAD, _SHARED = 1000, 1.5, 0.5
_TRUTHS = {"calibrated": (1.0, 0.0, 1.0), "line": (0.7, 0.0, 1.3), "bend": (0.7, 0.15, 1.3)}  # slope, bend, E:O
_RESULTS = Path(__file__).parent / "calibration.json"


@lru_cache
def solve(truth: str, prevalence: float) -> dict[str, float]:
    """Return the offsets of the true and of the predicted logits, and the population's slope, intercept and O:E."""
    slope, bend, too_high = _TRUTHS[truth]
    z = _SPREAD * stats.norm.ppf((np.arange(8001) + 0.5) / 8001)

    def find(log_odds: np.ndarray, mean: float) -> float:
        return float(brentq(lambda offset: expit(log_odds + offset).mean() - mean, -40, 40))

    true = find(slope * z + bend * z**2, prevalence)
    predicted = find(z, too_high * prevalence)
    share = expit(true + slope * z + bend * z**2)
    line = fit_logistic(np.stack([np.ones_like(z), z], axis=1), share)
    assert line is not None
    return {
        "true": true,
        "predicted": predicted,
        "slope": float(line[1]),
        "intercept": find(z + predicted, prevalence),
        "oe": 1 / too_high,
    }


def draw(kind: str, truth: str, prevalence: float, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Draw labels, logits and patients, ``(record,)`` each."""
    n_records = generator.choice([1, 2, 3, 6], p=RECORDS[kind], size=_N_PATIENTS)
    patient = np.repeat(np.arange(_N_PATIENTS), n_records)

    def normal() -> np.ndarray:
        shared = np.sqrt(_SHARED) * generator.normal(size=_N_PATIENTS)[patient]
        return np.asarray(shared + np.sqrt(1 - _SHARED) * generator.normal(size=len(patient)))

    slope, bend, _ = _TRUTHS[truth]
    found, z = solve(truth, prevalence), _SPREAD * normal()
    y_true = stats.norm.cdf(normal()) < expit(found["true"] + slope * z + bend * z**2)
    return y_true.astype(int), z + found["predicted"], patient


def try_once(kind: str, truth: str, n_positive: int, seed: int) -> dict[str, float] | None:
    """Draw a data set and say which limits and bands hold the truth; None where none are given."""
    prevalence = n_positive / _N_PATIENTS / count_mean(kind)
    y_true, logits, patient = draw(kind, truth, prevalence, np.random.default_rng([n_positive, seed]))
    arrays = y_true[:, None], expit(logits)[:, None]
    measured = measure_calibration(*arrays, ["class"], y_logit=logits[:, None], patient_id=patient)
    curve = smooth_curves(*arrays, patient, ["class"], y_logit=logits[:, None])
    row: Any = measured.loc["class"]
    found = solve(truth, prevalence)
    if curve.empty or np.isnan(row["slope_low"]):
        return None
    slope, bend, _ = _TRUTHS[truth]
    z = np.log(curve["prob"] / (1 - curve["prob"])) - found["predicted"]
    share = expit(found["true"] + slope * z + bend * z**2)
    result = {
        f"{name}_covered": float(row[f"{name}_low"] <= found[name] <= row[f"{name}_high"])
        for name in ("slope", "intercept", "oe")
    }
    return result | {
        "pointwise_covered": float(share.between(curve["low"], curve["high"]).mean()),
        "everywhere_covered": float(share.between(curve["low_everywhere"], curve["high_everywhere"]).all()),
        "rejected": float(row["p_calibrated"] < 0.05),
        "slope_width": row["slope_high"] - row["slope_low"],
        "oe_width": row["oe_high"] - row["oe_low"],
        "ici": row["ici"],
        "ici_by_chance": row["ici_by_chance"],
    }


def main() -> None:
    """Simulate and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("--repeats", type=int, default=300, help="data sets of each kind (default: %(default)s)")
    parser.add_argument("--positives", type=int, nargs="*", default=[20, 50, 200, 500], help="expected records")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    arguments = parser.parse_args()
    found = []
    for truth in _TRUTHS:
        for kind in RECORDS:
            for n_positive in arguments.positives:
                tried = [try_once(kind, truth, n_positive, seed) for seed in range(arguments.repeats)]
                table = pd.DataFrame([each for each in tried if each is not None])
                error = (table.std(ddof=1) / np.sqrt(len(table))).add_suffix("_se")
                cell = {"truth": truth, "records": kind, "positives": n_positive, "n_defined": len(table)}
                found.append(cell | table.mean().round(4).to_dict() | error.round(4).to_dict())
                print(pd.Series(cell | table.mean().round(3).to_dict()).to_frame().T.to_string(header=len(found) == 1))
    content = {"repeats": arguments.repeats, "level": 0.95, "n_patients": _N_PATIENTS, "found": found}
    arguments.results.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
