"""Simulated patients whose true metrics are known, for the benchmarks of intervals and tests.

A patient has one to six records, whose labels are mostly alike and whose scores share a part. The label does not depend
on the shared part, so the scores of positive and negative records are normal distributions with one spread,
`separation` apart. Of a share `unseen` of the patients, positive records score like negative ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import integrate, optimize, special

RECORDS = {  # shares of patients with 1, 2, 3 and 6 records
    "1.2": (0.89, 0.08, 0.02, 0.01),  # PTB-XL: 21,799 records of 18,869 patients
    "2": (0.5, 0.25, 0.15, 0.1),
}
SENSITIVITY = 0.95
_SHARED, _ALIKE = 0.6, 0.8


def count_mean(kind: str) -> float:
    """Return the mean number of records of a patient."""
    return float(np.dot([1, 2, 3, 6], RECORDS[kind]))


@dataclass(frozen=True)
class Population:
    """One class: its prevalence, and how well the scores tell it, by the ROC-AUC of the patients who are seen."""

    prevalence: float
    roc_auc: float
    unseen: float = 0.0

    @cached_property
    def separation(self) -> float:
        """How far apart the scores of positive and negative records are, in standard deviations."""
        return float(np.sqrt(2) * special.ndtri(self.roc_auc))

    def reach(self, threshold: float) -> tuple[float, float]:
        """Return the true and false positive rate at a threshold of the score."""
        seen, false = special.ndtr(self.separation - threshold), float(special.ndtr(-threshold))
        return float((1 - self.unseen) * seen + self.unseen * false), false

    def precision(self, threshold: float) -> float:
        """Return the share of positive records among those with at least this score."""
        hits, false = self.reach(threshold)
        return self.prevalence * hits / (self.prevalence * hits + (1 - self.prevalence) * false)

    @cached_property
    def areas(self) -> dict[str, float]:
        """The true ROC-AUC and average precision."""

        def add(score: float) -> float:
            seen = np.exp(-((score - self.separation) ** 2) / 2)
            density = (1 - self.unseen) * seen + self.unseen * np.exp(-(score**2) / 2)
            return float(density / np.sqrt(2 * np.pi) * self.precision(score))

        middle = [0.0, self.separation / 2, self.separation]
        average_precision = integrate.quad(add, -8, self.separation + 8, limit=500, points=middle)[0]
        return {"roc_auc": (1 - self.unseen) * self.roc_auc + self.unseen / 2, "pr_auc": average_precision}

    @cached_property
    def truth(self) -> dict[str, float]:
        """The areas, sensitivity and specificity at the sensitive threshold, and the other rates at the best one."""
        sensitive = {key: self.rates(self.sensitive_threshold)[key] for key in ("sensitivity", "specificity")}
        return self.areas | self.rates(self.best_threshold) | sensitive

    def rates(self, threshold: float) -> dict[str, float]:
        """Return the true rates, F1 and MCC at a threshold of the score."""
        hits, false = self.reach(threshold)
        cells = np.outer([self.prevalence, 1 - self.prevalence], [1, 1]) * [[hits, 1 - hits], [false, 1 - false]]
        (tp, fn), (fp, tn) = cells.tolist()
        spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return {
            "sensitivity": hits, "specificity": 1 - false, "precision": tp / (tp + fp), "npv": tn / (tn + fn),
            "f1": 2 * tp / (2 * tp + fp + fn), "mcc": float((tp * tn - fp * fn) / spread),
        }  # fmt: skip

    @cached_property
    def sensitive_threshold(self) -> float:
        """The threshold of the score at a sensitivity of `SENSITIVITY`."""
        return float(optimize.brentq(lambda threshold: self.reach(threshold)[0] - SENSITIVITY, -9, 9))

    @cached_property
    def best_threshold(self) -> float:
        """The threshold of the score with the highest F1."""
        found = optimize.minimize_scalar(
            lambda threshold: -self.rates(threshold)["f1"], bounds=(-1, 6), method="bounded"
        )
        return float(found.x)

    def score(self, y_true: np.ndarray, patient: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Draw the scores of records with these labels; patients are numbered, ``(record,)``."""
        n_patients = int(patient.max()) + 1
        is_seen = generator.random(n_patients) >= self.unseen
        shared = generator.normal(scale=np.sqrt(_SHARED), size=n_patients)
        own = generator.normal(scale=np.sqrt(1 - _SHARED), size=len(patient))
        return self.separation * (y_true * is_seen[patient]) + shared[patient] + own


def draw_patients(kind: str, n_patients: int, generator: np.random.Generator) -> np.ndarray:
    """Draw how many records patients have; the patient of each record, ``(record,)``."""
    return np.repeat(np.arange(n_patients), generator.choice([1, 2, 3, 6], p=RECORDS[kind], size=n_patients))


def draw_labels(shares: np.ndarray, patient: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw one of several labels with these shares for each record, ``(record,)``; most of a patient's are alike."""
    usual = generator.choice(len(shares), p=shares, size=int(patient.max()) + 1)
    own = generator.choice(len(shares), p=shares, size=len(patient))
    return np.where(generator.random(len(patient)) < _ALIKE, usual[patient], own)
