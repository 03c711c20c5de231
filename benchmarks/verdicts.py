"""How often a comparison claims what is not so, and how often it finds what is: ``python -m benchmarks.verdicts``.

Two models are simulated whose scores resemble one another on the same patients, once equal and once apart by the
margin (0.05 in ROC-AUC), and compared by the commands' own functions. Each rate stands with the number of simulated
comparisons and its standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ecgcls.evaluation.comparison import compare
from ecgcls.evaluation.folds import compare_folds
from ecgcls.evaluation.metrics import OVERALL
from ecgcls.evaluation.paired_tests import mcnemar
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap

_RESULTS = Path(__file__).parent / "verdicts.json"
_N_PATIENTS, _N_CLASSES, _FAMILY = 400, 50, 10
_RECORDS = {"1.2": [0.85, 0.11, 0.03, 0.01], "2": [0.4, 0.35, 0.15, 0.1]}  # chances of 1, 2, 3 and 6 records
_POSITIVES = (5, 10, 20, 50, 200)
_ALIKE = 0.8  # how often a record's label is the patient's
_SEPARATION, _MARGIN = 1.5, 0.05
_OFFSETS = np.array([-2.0, 2.0, -1.0, 1.0, 0.0])  # of the nets of five folds
_OWN = 0.4  # the share of a score's variance that a model has for itself

Rates = dict[tuple[str, str, str, int], list[bool]]


def separate(area: float) -> float:
    """Return how far scores of variance 1 must lie apart for a ROC-AUC."""
    return float(np.sqrt(2) * stats.norm.ppf(area))


def draw_patients(kind: str, generator: np.random.Generator) -> np.ndarray:
    """Draw how many records each patient has; whose each record is, ``(record,)``."""
    return np.repeat(np.arange(_N_PATIENTS), generator.choice([1, 2, 3, 6], p=_RECORDS[kind], size=_N_PATIENTS))


def draw_labels(patient: np.ndarray, n_positive: int, generator: np.random.Generator) -> np.ndarray:
    """Draw the labels of unrelated classes with so many positive records expected, of two patients at least."""
    prevalence = n_positive / len(patient)
    usual = generator.random((_N_PATIENTS, _N_CLASSES)) < prevalence
    is_alike = generator.random((len(patient), _N_CLASSES)) < _ALIKE
    y_true = np.where(is_alike, usual[patient], generator.random(is_alike.shape) < prevalence)
    for column in np.flatnonzero([len(np.unique(patient[truth])) < 2 for truth in y_true.T]):
        y_true[np.searchsorted(patient, generator.choice(_N_PATIENTS, 2, replace=False)), column] = True
    return y_true.astype(int)


def draw_noise(patient: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw noise of variance 1, half of it the patient's, ``(record, class)``."""
    of_patient, of_record = (generator.normal(size=(n, _N_CLASSES)) for n in (_N_PATIENTS, len(patient)))
    return np.sqrt(0.5) * (of_patient[patient] + of_record)


def predict(patient: np.ndarray, y_true: np.ndarray, scores: np.ndarray, fold: np.ndarray | None = None) -> Predictions:
    """Decide where as many are expected to be positive as there are."""
    ids, names = np.arange(len(patient)), tuple(f"c{number}" for number in range(y_true.shape[1]))
    threshold = np.quantile(scores, 1 - y_true.mean(), axis=0)
    y_pred = (scores >= threshold).astype(int)
    return Predictions(
        ids, patient, 0 * ids, np.full(len(ids), "test"), y_true, stats.norm.cdf(scores - 1), names, y_pred, fold=fold
    )


def draw_pair(
    kind: str, n_positive: int, areas: tuple[float, float], generator: np.random.Generator, *, is_folded: bool = False
) -> tuple[Predictions, Predictions]:
    """Draw the predictions of two models with these ROC-AUCs; of five nets each, b's are calibrated differently."""
    patient = draw_patients(kind, generator)
    y_true, shared = draw_labels(patient, n_positive, generator), draw_noise(patient, generator)
    fold = patient % len(_OFFSETS) if is_folded else None
    models = []
    for number, area in enumerate(areas):
        own = draw_noise(patient, generator)
        scores = separate(area) * y_true + np.sqrt(1 - _OWN) * shared + np.sqrt(_OWN) * own
        if fold is not None and number:
            scores += _OFFSETS[fold, None]
        models.append(predict(patient, y_true, scores, fold))
    return models[0], models[1]


def count_claims(table: pd.DataFrame, where: tuple[str, int], truth: str, rates: Rates) -> None:
    """Add what each test of each class claims; `truth` is 'equal' or 'margin', where a is worse by the margin."""
    one_sided, two_sided = ("power", "type I") if truth == "equal" else ("type I", "power")
    columns = {
        "bootstrap t, ROC-AUC": ("roc_auc", "p", 0.05, two_sided),
        "bootstrap t, PR-AUC": ("pr_auc", "p", 0.05, two_sided),
        "bootstrap t, F1": ("f1", "p", 0.05, two_sided),
        "DeLong by patient": ("roc_auc", "delong_p", 0.05, two_sided),
        "McNemar by patient": ("f1", "mcnemar_p", 0.05, two_sided),
        "not inferior, ROC-AUC": ("roc_auc", "p_not_inferior", 0.025, one_sided),
        "equivalent, ROC-AUC": ("roc_auc", "p_equivalent", 0.05, one_sided),
    }
    of_classes = table[table.index.get_level_values("class").str.match(r"c\d+$")]
    for test, (metric, column, alpha, what) in columns.items():
        rates[test, what, *where] += (of_classes.xs(metric, level="metric")[column] < alpha).tolist()
    p = of_classes.xs("roc_auc", level="metric")["p"].fillna(1.0).to_numpy().reshape(-1, _FAMILY)
    rates[f"Holm, any of {_FAMILY} classes", two_sided, *where] += (p.min(axis=1) * _FAMILY < 0.05).tolist()
    told = of_classes.xs("roc_auc", level="metric")["is_supported"].to_numpy() & (p.ravel() < 0.05)
    rates["verdict, ROC-AUC, one class", two_sided, *where] += told.tolist()
    macro = bool(table["p"].loc[[(OVERALL, "roc_auc")]].to_numpy()[0] < 0.05)
    rates[f"bootstrap t, macro ROC-AUC of {_N_CLASSES}", two_sided, *where].append(macro)


def take_areas(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the ROC-AUC of each class, not of all together."""
    names = [name for name, metric in table.index if metric == "roc_auc" and str(name)[1:].isdigit()]
    return table.loc[[(name, "roc_auc") for name in names]]


def count_mcnemar(a: Predictions, b: Predictions, where: tuple[str, int], what: str, rates: Rates) -> None:
    """Add what McNemar's test claims where it takes records as independent, for contrast."""
    for truth, of_a, of_b in zip(a.y_true.T, a.y_pred.T, b.y_pred.T, strict=True):
        rates["(McNemar by record)", what, *where].append(mcnemar(truth, of_a, of_b) < 0.05)


def try_classes(kind: str, n_positive: int, seed: int, n_resamples: int, rates: Rates) -> None:
    """Compare two models on one data set, equal and apart by the margin."""
    area = float(stats.norm.cdf(_SEPARATION / np.sqrt(2)))
    for truth, areas in {"equal": (area, area), "margin": (area - _MARGIN, area)}.items():
        generator = np.random.default_rng([n_positive, seed, len(kind)])
        a, b = draw_pair(kind, n_positive, areas, generator)
        table = compare([a], [b], Bootstrap(n_resamples, seed=seed), margin=_MARGIN)
        count_claims(table, (kind, n_positive), truth, rates)
        count_mcnemar(a, b, (kind, n_positive), "type I" if truth == "equal" else "power", rates)


def try_folds(n_positive: int, seed: int, n_resamples: int, rates: Rates) -> None:
    """Compare five nets with five others within folds, and for contrast with their records ranked together."""
    area = float(stats.norm.cdf(_SEPARATION / np.sqrt(2)))
    for what, areas in {"type I": (area, area), "power": (area - _MARGIN, area)}.items():
        pair = draw_pair("1.2", n_positive, areas, np.random.default_rng([n_positive, seed, 9]), is_folded=True)
        within = compare([pair[0]], [pair[1]], Bootstrap(n_resamples, seed=seed))
        pooled = compare([pair[0].merge_folds()], [pair[1].merge_folds()], Bootstrap(n_resamples, seed=seed))
        areas_of = [take_areas(table) for table in (within, pooled)]
        where = ("1.2", n_positive)
        rates["within five folds, bootstrap t", what, *where] += (areas_of[0]["p"] < 0.05).tolist()
        rates["within five folds, DeLong", what, *where] += (areas_of[0]["delong_p"] < 0.05).tolist()
        rates["(five folds pooled)", what, *where] += (areas_of[1]["p"] < 0.05).tolist()


def try_detectable(n_positive: int, seed: int, n_resamples: int, rates: Rates) -> None:
    """Make models as far apart as is called detectable in a family of 50, and count how often they are told apart."""
    area = float(stats.norm.cdf(_SEPARATION / np.sqrt(2)))
    generator = np.random.default_rng([n_positive, seed, 7])

    def measure(lower: float) -> pd.DataFrame:
        pair = draw_pair("1.2", n_positive, (lower, area), generator)
        table = compare([pair[0]], [pair[1]], Bootstrap(n_resamples, seed=seed, min_positives=0))
        return take_areas(table)

    lower = area  # a worse model varies more: find the one that is as far away as is then detectable
    for _ in range(3):
        lower = max(area - float(measure(lower)["detectable"].median()), 0.4)
    found = measure(lower)["p"] * _N_CLASSES < 0.05
    rates["a detectable difference in a family of 50", "power", "1.2", n_positive] += found.tolist()


def try_training(seed: int, rates: Rates) -> None:
    """Cross-validate two learners, equal or not, on one data set: five folds and three seeds."""
    for what, weaker in {"type I": 1.0, "power": 0.6}.items():
        generator = np.random.default_rng([seed, 11])
        signal = np.r_[np.full(4, 0.5), np.full(4, 0.5 * weaker)]
        features = generator.normal(size=(300, 8))
        y = (features @ signal + generator.normal(size=300) > 0).astype(int)
        fold = generator.permutation(300) % 5
        scores = np.empty((2, 5, 3))
        for model, number, repeat in np.ndindex(scores.shape):
            of_model = features[:, 4 * model : 4 * model + 4]
            rows = generator.choice(np.flatnonzero(fold != number), 240)  # each seed sees another resample
            weights = np.linalg.lstsq(of_model[rows], 2.0 * y[rows] - 1, rcond=None)[0]
            test = fold == number
            ranks, truth = stats.rankdata(of_model[test] @ weights), y[test] == 1
            scores[model, number, repeat] = (ranks[truth].mean() - (truth.sum() + 1) / 2) / (~truth).sum()
        folds = np.repeat(np.arange(5), 3)
        runs, firsts = scores.reshape(2, -1), scores[:, :, 0]
        claims = {
            "corrected t, five folds": compare_folds(firsts[0], firsts[1], n_train=240, n_test=60),
            "corrected t, five folds, three seeds": compare_folds(runs[0], runs[1], folds, n_train=240, n_test=60),
            "(seeds as if they were folds)": compare_folds(runs[0], runs[1], n_train=240, n_test=60),
        }
        for test, found in claims.items():
            rates[test, what, "", 0].append(found["p"] < 0.05)


def simulate(repeats: int, n_resamples: int) -> pd.DataFrame:
    """Return the rates, one a row; `repeats` data sets of 50 classes each."""
    rates: Rates = defaultdict(list)
    for n_positive in _POSITIVES:
        print(f"{n_positive} positives", file=sys.stderr)
        for seed in range(repeats):
            for kind in _RECORDS:
                try_classes(kind, n_positive, seed, n_resamples, rates)
        for seed in range(repeats // 2):
            if n_positive >= 20:
                try_folds(n_positive, seed, n_resamples, rates)
                try_detectable(n_positive, seed, n_resamples, rates)
    for seed in range(50 * repeats):
        try_training(seed, rates)
    rows = []
    for (test, what, kind, n_positive), claims in rates.items():
        rate, n = float(np.mean(claims)), len(claims)
        rows.append(
            {
                "test": test, "what": what, "records": kind, "positives": n_positive, "rate": round(rate, 4),
                "n": n, "se": round(float(np.sqrt(max(rate * (1 - rate), 1 / n) / n)), 4),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def main() -> None:
    """Simulate and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__)
    parser.add_argument("--repeats", type=int, default=20, help="data sets of 50 classes each (default: %(default)s)")
    parser.add_argument("--resamples", type=int, default=100, help="of each comparison (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    arguments = parser.parse_args()
    found = simulate(arguments.repeats, arguments.resamples)
    table = found.pivot_table(index=["test", "records", "what"], columns="positives", values="rate", sort=False)
    print(table.to_string(float_format="{:.3f}".format, na_rep=""))
    content = {"repeats": arguments.repeats, "resamples": arguments.resamples, "margin": _MARGIN, "level": 0.95}
    content["found"] = found.to_dict(orient="records")
    arguments.results.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
