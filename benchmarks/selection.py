"""How often something is claimed where there is nothing: of many models, and of many subgroups.

All models of an experiment are equally good, and all subgroups equally easy. Counted is how often at least one claim is
made: that a model is better or worse than another, that a subgroup is worse (or better) than the rest. Each data set is
simulated: a patient's records share part of their labels and of their scores.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import roc_auc_score

from ecgcls.evaluation.gaps import measure_gaps
from ecgcls.evaluation.paired_tests import delong
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap
from ecgcls.reporting.against import adjust_holm

_RESULTS = Path(__file__).with_suffix(".json")
_LEVEL = 0.95
_FREQUENT, _RARE = (0.45, 0.25, 0.24, 0.22, 0.12), (0.08, 0.05, 0.04)
_CELLS = {  # groupings like those of PTB-XL: how many of the patients are in each cell
    "sex": [0.52, 0.48],
    "age": [0.01, 0.02, 0.04, 0.07, 0.11, 0.18, 0.22, 0.2, 0.12, 0.03],
    "device": [0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.04, 0.03, 0.02, 0.01, 0.01],
    "site": [0.4, 0.2, 0.1, *[0.3 / 27] * 27],
    "baseline_drift": [0.93, 0.07],
    "static_noise": [0.85, 0.15],
}


def draw(
    n_records: int, prevalences: tuple[float, ...], skill: float, generator: np.random.Generator, *, n_models: int = 1
) -> tuple[list[Predictions], NDArray[np.int64]]:
    """Draw the predictions of models that are equally good, of records of which each patient has 1.2."""
    n_patients, n_classes = int(n_records / 1.2), len(prevalences)
    patient = np.r_[np.arange(n_patients), generator.integers(0, n_patients, n_records - n_patients)]
    shape = n_records, n_classes

    def share(part: float) -> NDArray[np.float64]:
        own = generator.normal(size=(n_patients, n_classes))[patient]
        return np.sqrt(part) * own + np.sqrt(1 - part) * generator.normal(size=shape)

    y_true = (share(0.8) < stats.norm.ppf(prevalences)).astype(int)
    together, ids = share(0.5), np.arange(n_records)  # what is hard about a record is so for all models
    models = []
    for _ in range(n_models):
        logits = skill * y_true - 1 + np.sqrt(0.7) * together + np.sqrt(0.3) * share(0.5)
        split, names = np.full(n_records, "test"), tuple(f"C{number}" for number in range(n_classes))
        models.append(Predictions(ids, patient, 0 * ids, split, y_true, 1 / (1 + np.exp(-logits)), names))
    return models, patient


def claim_models(seed: int) -> dict[str, bool | float]:
    """Ten equal models of one class in 1,000 records: which rules claim anything of ROC-AUC, by DeLong's test."""
    models, patient = draw(1000, (0.3,), 1.6, np.random.default_rng([1, seed]), n_models=10)
    scores, y_true = [one.y_prob[:, 0] for one in models], models[0].y_true[:, 0]
    best = int(np.argmax([roc_auc_score(y_true, score) for score in scores]))

    def list_p(reference: int) -> NDArray[np.float64]:
        others = [score for number, score in enumerate(scores) if number != reference]
        return np.array([delong(y_true, scores[reference], score, patient)[2] for score in others])

    of_best, of_first, alpha = list_p(best), list_p(0), 1 - _LEVEL
    n_pairs = len(models) * (len(models) - 1) // 2
    return {
        "best by test score, not adjusted": bool((of_best < alpha).any()),
        "best by test score, Bonferroni over all pairs": bool((n_pairs * of_best < alpha).any()),
        "named beforehand, not adjusted": bool((of_first < alpha).any()),
        "named beforehand, Holm": bool((adjust_holm(of_first) < alpha).any()),
    }


def claim_subgroups(
    seed: int, *, n_records: int, prevalences: tuple[float, ...], skill: float, n_folds: int = 0
) -> dict[str, bool | float]:
    """Subgroups that are all alike: whether one is called worse, or better, than the rest."""
    generator = np.random.default_rng([2, seed])
    (one,), patient = draw(n_records, prevalences, skill, generator)
    cells = {
        name: generator.choice(len(shares), patient.max() + 1, p=np.array(shares) / sum(shares))[patient].astype(str)
        for name, shares in _CELLS.items()
    }
    groups = pd.DataFrame(cells, index=one.ecg_id)
    if n_folds:
        one = Predictions(**{**vars(one), "fold": patient % n_folds})
    gaps = measure_gaps(one, groups, Bootstrap(level=_LEVEL))
    return {
        "worse": bool((gaps["gap_high"] < 0).any()),
        "better": bool((gaps["gap_low"] > 0).any()),
        "cells": float(gaps["gap_high"].notna().sum()),
    }


def main() -> None:
    """Simulate and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.selection", description=__doc__)
    parser.add_argument("--models", type=int, default=500, help="experiments of ten models (default: %(default)s)")
    parser.add_argument("--subgroups", type=int, default=200, help="data sets of each kind (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    arguments = parser.parse_args()
    kinds: dict[str, tuple[int, Callable[[int], dict[str, bool | float]]]] = {
        "ten equal models": (arguments.models, claim_models)
    }
    for name, settings in {
        "equal subgroups, 5 frequent classes, ROC-AUC 0.90": {"prevalences": _FREQUENT, "skill": 1.8},
        "equal subgroups, 3 rare classes, ROC-AUC 0.90": {"prevalences": _RARE, "skill": 1.8},
        "equal subgroups, 5 frequent classes, ROC-AUC 0.98": {"prevalences": _FREQUENT, "skill": 3.0},
        "equal subgroups, 5 frequent classes, ROC-AUC 0.90, 5 nets": {
            "prevalences": _FREQUENT, "skill": 1.8, "n_folds": 5,
        },
    }.items():  # fmt: skip
        kinds[name] = arguments.subgroups, partial(claim_subgroups, n_records=2200, **settings)  # type: ignore[arg-type]
    rows = []
    for name, (n_repeats, claim) in kinds.items():
        start = time.process_time()
        found = pd.DataFrame([claim(seed) for seed in range(n_repeats)]).mean()
        print(f"{name}: {n_repeats} repeats in {time.process_time() - start:.0f} s of CPU", flush=True)
        for what, share in found.items():
            row = {"simulated": name, "what": what, "value": float(share), "repeats": n_repeats}
            rows.append(row if what == "cells" else row | {"standard_error": _error(float(share), n_repeats)})
        arguments.results.write_text(json.dumps({"level": _LEVEL, "found": rows}, indent=2) + "\n")
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format))


def _error(share: float, n_repeats: int) -> float:
    return float(np.sqrt(max(share * (1 - share), 1 / n_repeats) / n_repeats))


if __name__ == "__main__":
    main()
