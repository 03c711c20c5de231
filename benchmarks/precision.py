"""Whether scores vary as much as `ecgcls.evaluation.precision` expects: ``python -m benchmarks.precision``.

Binormal scores of a calibrated model are drawn anew for the same numbers of positive and negative patients; compared
are the standard deviation over the draws and the standard error that was expected.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from ecgcls.evaluation.precision import expect_average_precision, oe_error, roc_auc_error, slope_error

_RESULTS = Path(__file__).parent / "precision.json"
_N_RECORDS = 2000


def measure(roc_auc: float, n_positive: int, repeats: int) -> list[dict[str, float | str]]:
    """Simulate one setting."""
    generator = np.random.default_rng([n_positive, round(100 * roc_auc)])
    n_negative, distance = _N_RECORDS - n_positive, np.sqrt(2) * stats.norm.ppf(roc_auc)
    prevalence = n_positive / _N_RECORDS
    drawn: dict[str, list[float]] = {"roc_auc": [], "pr_auc": [], "slope": [], "log_oe": []}
    for _ in range(repeats):
        y_true = np.repeat([1, 0], [n_positive, n_negative])
        logits = logit(prevalence) + distance * (generator.normal(size=_N_RECORDS) + distance * (y_true - 0.5))
        drawn["roc_auc"].append(roc_auc_score(y_true, logits))
        drawn["pr_auc"].append(average_precision_score(y_true, logits))
        drawn["slope"].append(LogisticRegression(C=np.inf).fit(logits[:, None], y_true).coef_[0, 0])
        n_drawn = max(generator.binomial(_N_RECORDS, prevalence), 1)
        drawn["log_oe"].append(np.log(n_drawn / n_positive))
    grid = np.linspace(-30, 30, 6001)
    density = prevalence * stats.norm.pdf(grid, logit(prevalence) + distance**2 / 2, distance)
    density += (1 - prevalence) * stats.norm.pdf(grid, logit(prevalence) - distance**2 / 2, distance)
    expected = {
        "roc_auc": roc_auc_error(roc_auc, n_positive, n_negative),
        "pr_auc": expect_average_precision(roc_auc, n_positive, n_negative)[1],
        "slope": slope_error(grid, density, _N_RECORDS),
        "log_oe": oe_error(n_positive, n_negative),
    }
    return [
        {
            "metric": name,
            "roc_auc": roc_auc,
            "positives": n_positive,
            "expected": expected[name],
            "simulated": float(np.std(values, ddof=1)),
            "ratio": expected[name] / float(np.std(values, ddof=1)),
            "ratio_se": expected[name] / float(np.std(values, ddof=1)) / np.sqrt(2 * (repeats - 1)),
        }
        for name, values in drawn.items()
    ]


def main() -> None:
    """Simulate and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000, help="draws of each setting (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    arguments = parser.parse_args()
    rows = [
        row
        for roc_auc in (0.8, 0.9, 0.95, 0.98)
        for n_positive in (20, 50, 200)
        for row in measure(roc_auc, n_positive, arguments.repeats)
    ]
    table = pd.DataFrame(rows)
    print(table.pivot_table("ratio", ["roc_auc", "positives"], "metric").to_string(float_format="{:.2f}".format))
    content = {"repeats": arguments.repeats, "records": _N_RECORDS, "found": rows}
    arguments.results.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
