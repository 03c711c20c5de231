"""How often the intervals of `ecgcls.evaluation.intervals` hold the truth: ``python -m benchmarks.coverage``.

Populations whose true values are known (`benchmarks.population`): single classes over ROC-AUC, positive records and
records a patient; classes that the model does not see in some patients; the mean over five folds; and macro means over
rhythms as frequent as in PTB-XL, in as many records as its official test fold has.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import special

from benchmarks.population import RECORDS, Population, count_mean, draw_labels, draw_patients
from ecgcls.evaluation.influence import estimate
from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.metrics import METRICS, OVERALL
from ecgcls.evaluation.score_limits import find_limits
from ecgcls.evaluation.settings import Bootstrap
from ecgcls.evaluation.support import count_patients
from ecgcls.evaluation.weighted import Records

_RESULTS = Path(__file__).parent / "coverage.json"
_N_PATIENTS, _N_RHYTHM_RECORDS, _N_FOLDS = 1000, 2200, 5
_SENSITIVE, _BEST = ("roc_auc", "pr_auc", "sensitivity", "specificity"), ("precision", "npv", "f1", "mcc")
_AREAS = [0.8, 0.9, 0.95, 0.98, 0.99]
_RHYTHMS = {  # PTB-XL's rhythm labels: their records of 21,799, and a ROC-AUC that nets reach or might
    "SR": (16782, 0.95), "AFIB": (1514, 0.98), "STACH": (826, 0.99), "SARRH": (772, 0.9), "SBRAD": (637, 0.97),
    "PACE": (296, 0.98), "SVARR": (157, 0.85), "BIGU": (82, 0.95), "AFLT": (73, 0.95), "SVTAC": (27, 0.98),
    "PSVT": (24, 0.9), "TRIGU": (20, 0.9),
}  # fmt: skip
_KEYS = ["part", "metric", "method", "records", "roc_auc", "positives"]
_MACROS = [key for key, metric in METRICS.items() if metric.macro_of]
Row = dict[str, object]


def try_class(
    part: str, kind: str, population: Population, n_positive: int, methods: Sequence[str], n_resamples: int, seed: int
) -> Iterator[Row]:
    """Draw one data set of one class and say which intervals hold the truth."""
    generator = np.random.default_rng([n_positive, int(1000 * population.roc_auc), seed])
    y_true = np.zeros(0)
    while not y_true.any():
        patient = draw_patients(kind, _N_PATIENTS, generator)
        y_true = draw_labels(np.array([1 - population.prevalence, population.prevalence]), patient, generator)
    score = population.score(y_true, patient, generator)
    fold = patient % _N_FOLDS if part == "folds" else None
    truth = population.truth
    for method in methods:
        for threshold, metrics in (population.sensitive_threshold, _SENSITIVE), (population.best_threshold, _BEST):
            if method != "score" and metrics is _BEST:
                continue  # resampling takes its time
            y_pred = score >= threshold
            found = _find_intervals(y_true, score, patient, y_pred, fold, method, n_resamples, seed, metrics)
            for metric in metrics:
                keys = [part, metric, method, kind, population.roc_auc, n_positive]
                yield dict(zip(_KEYS, keys, strict=True)) | _judge(truth[metric], *found[metric])


def _find_intervals(
    y_true: np.ndarray, score: np.ndarray, patient: np.ndarray, y_pred: np.ndarray, fold: np.ndarray | None,
    method: str, n_resamples: int, seed: int, metrics: Sequence[str],
) -> dict[str, tuple[float, float, bool]]:  # fmt: skip
    """Return low, high, and whether the interval is supported, by metric; score limits without any resampling."""
    arrays, names = (y_true[:, None], special.expit(score[:, None])), ["class"]
    if method != "score":
        settings = Bootstrap(n_resamples, method=method, seed=seed)  # type: ignore[arg-type]
        table = bootstrap(*arrays, patient, names, y_pred=y_pred[:, None], fold=fold, settings=settings).loc["class"]
        columns = (table[name].tolist() for name in ("low", "high", "is_supported"))
        return dict(zip(table.index.tolist(), zip(*columns, strict=True), strict=True))
    records = Records.check(*arrays, names, y_pred=y_pred[:, None], fold=fold)
    cases = {"sensitivity": y_true == 1, "specificity": y_true == 0, "precision": y_pred, "npv": ~y_pred}
    n_of = dict(zip(cases, count_patients(np.stack([*cases.values()], axis=1), patient).tolist(), strict=True))
    least = min(n_of["sensitivity"], n_of["specificity"])
    found: dict[str, tuple[float, float, bool]] = {}
    for metric in metrics:
        n, one = n_of.get(metric, least), estimate(metric, records, 0, patient)
        each = find_limits(metric, one, patient, level=0.95) if one and n > 1 else None
        found[metric] = (each.low, each.high, n >= Bootstrap().min_positives) if each else (np.nan, np.nan, False)
    return found


def try_macro(kind: str, methods: Sequence[str], n_resamples: int, seed: int) -> Iterator[Row]:
    """Draw one data set of rhythms and say which intervals of macro means hold the truth.

    The truth is the mean over the classes that have a positive record, as the macro mean is.
    """
    generator, populations = np.random.default_rng([1, seed]), _list_rhythms()
    shares = np.array([one.prevalence for one in populations])
    patient = draw_patients(kind, round(_N_RHYTHM_RECORDS / count_mean(kind)), generator)
    label = draw_labels(shares, patient, generator)
    y_true = (label[:, None] == np.arange(len(shares))).astype(int)
    score = np.stack([one.score(y_true[:, c], patient, generator) for c, one in enumerate(populations)], axis=1)
    thresholds = [one.best_threshold for one in populations]
    truth = pd.DataFrame([one.areas | one.rates(one.best_threshold) for one in populations], index=[*_RHYTHMS])
    for method in methods:
        settings = Bootstrap(2 if method == "score" else n_resamples, method=method, seed=seed)  # type: ignore[arg-type]
        y_pred = score >= thresholds
        table = bootstrap(y_true, special.expit(score), patient, [*_RHYTHMS], y_pred=y_pred, settings=settings)
        for metric in _MACROS:
            key = METRICS[metric].macro_of
            row = table.xs(metric, level="metric").T[OVERALL]
            classes = table.xs(key, level="metric").drop(index=OVERALL, errors="ignore")
            is_present = classes["value"].notna() & (classes["n_positive"] > 0)
            present = truth.loc[classes.index[is_present], str(key)].mean()
            supported = truth.loc[classes.index[classes["is_supported"]], str(key)].mean()
            keys = dict(zip(_KEYS, ["macro", metric, method, kind, None, None], strict=True))
            yield keys | _judge(present, row["low"], row["high"], row["is_supported"])
            limits = row["supported_low"], row["supported_high"]
            yield keys | {"part": "macro, supported"} | _judge(supported, *limits, True)


@lru_cache
def _list_rhythms() -> list[Population]:
    total = sum(count for count, _ in _RHYTHMS.values())
    return [Population(count / total, area) for count, area in _RHYTHMS.values()]


def _judge(truth: float, low: float, high: float, is_supported: bool) -> Row:
    return {
        "covered": float(low <= truth <= high) if low == low else np.nan, "above": float(truth < low),
        "below": float(high < truth), "width": high - low, "supported": float(is_supported),
    }  # fmt: skip


def _plan(arguments: argparse.Namespace) -> list:
    """Return all data sets to draw."""
    jobs: list = []
    score, resampled = (["score"], 2), (arguments.methods, arguments.resamples)
    repeats, drawn = range(arguments.repeats), range(arguments.bootstrap_repeats)
    for kind in RECORDS:
        for n_positive in arguments.positives:
            prevalence = n_positive / _N_PATIENTS / count_mean(kind)
            for area in _AREAS:
                one = kind, Population(prevalence, area), n_positive
                jobs += [delayed(_list)(try_class, "class", *one, *score, seed) for seed in repeats]
                if area == 0.98 and n_positive <= 50:
                    jobs += [delayed(_list)(try_class, "class", *one, *resampled, seed) for seed in drawn]
            for part, population in (
                ("unseen", Population(prevalence, 0.98, 0.08)),
                ("folds", Population(prevalence, 0.95)),
            ):
                if n_positive >= 50:
                    jobs += [delayed(_list)(try_class, part, kind, population, n_positive, *score, s) for s in repeats]
        jobs += [delayed(_list)(try_macro, kind, *score, seed) for seed in range(arguments.macro_repeats)]
        jobs += [delayed(_list)(try_macro, kind, *resampled, seed) for seed in drawn[::3]]
    return jobs


def _list(function: Callable[..., Iterator[Row]], *arguments: object) -> list[Row]:
    return list(function(*arguments))


def summarize(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the share of intervals that hold the truth, with its standard error, by kind."""
    table = pd.DataFrame(rows)
    groups = table.groupby(_KEYS, sort=False, dropna=False)
    found = groups[["covered", "above", "below", "width", "supported"]].mean()
    found.insert(0, "repeats", groups["covered"].count())
    found.insert(2, "error", np.sqrt(found["covered"] * (1 - found["covered"]) / found["repeats"]))
    return found.reset_index()


def main() -> None:
    """Simulate and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--repeats", type=int, default=200, help="data sets of each kind (default: %(default)s)")
    parser.add_argument("--macro-repeats", type=int, default=80, help="data sets of rhythms (default: %(default)s)")
    parser.add_argument("--bootstrap-repeats", type=int, default=60, help="data sets resampled (default: %(default)s)")
    parser.add_argument("--resamples", type=int, default=300, help="of each bootstrap (default: %(default)s)")
    parser.add_argument("--methods", nargs="*", default=["expanded", "percentile"], help="of these bootstraps")
    parser.add_argument("--positives", type=int, nargs="*", default=[20, 50, 200], help="expected records")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    arguments = parser.parse_args()
    jobs = _plan(arguments)
    print(f"{len(jobs)} data sets", file=sys.stderr)
    found = summarize([row for rows in Parallel(n_jobs=arguments.jobs)(jobs) for row in rows])
    print(found.to_string(index=False, float_format="{:.3f}".format))
    rows = found.round(4).astype(object).where(found.notna(), None).to_dict(orient="records")
    lines = ",\n".join(json.dumps(row) for row in rows)
    head = json.dumps({"resamples": arguments.resamples, "level": 0.95})
    arguments.results.write_text(f'{head[:-1]}, "found": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    from benchmarks import coverage  # by its name, so that other processes find its functions

    coverage.main()
