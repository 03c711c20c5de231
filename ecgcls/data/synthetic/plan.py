"""The plan of a data set: which patients there are, what each record shows, and in which strat_fold it is.

Patients get superclasses, and of each superclass statements, as often as in PTB-XL.

Superclasses and numbers of records are shuffled quotas, not independent draws, so that no superclass is ever missing.
All records of a patient are in one strat_fold; the strat_folds are balanced by superclass (Sechidis et al. 2011).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from ecgcls.data.synthetic.leads import ELECTRODES
from ecgcls.data.synthetic.spec import PLAN_STREAM, EcgSpec

# fmt: off
_PROFILES = {  # superclasses that occur together, and how many patients in a thousand have them
    "NORM": 410, "": 20, "NORM CD": 20, "CD": 80, "MI CD": 62, "MI": 120, "MI STTC": 32, "MI STTC CD": 10,
    "STTC CD": 22, "STTC": 106, "STTC HYP": 44, "MI STTC HYP": 16, "STTC CD HYP": 8, "CD HYP": 12, "MI HYP": 9,
    "HYP": 29,
}
# fmt: on
# How often each statement is a patient's main one in the superclass, in percent.
_MI = {"IMI": 38, "ASMI": 34, "ILMI": 8, "AMI": 6, "ALMI": 5, "INJAS": 5, "LMI": 4}
_STTC = {"NDT": 37, "NST_": 17, "ISC_": 25, "ISCAL": 13, "ISCIN": 5, "LNGQT": 3}
_CD = {"LAFB": 30, "IRBBB": 21, "1AVB": 14, "IVCD": 14, "CRBBB": 10, "CLBBB": 8, "LPFB": 3}
_HYP = {"LVH": 80, "LAO/LAE": 14, "RVH": 6}


@dataclass
class Patient:
    """A patient with one to four records, all in the same strat_fold."""

    patient_id: int
    superclasses: tuple[str, ...]
    n_records: int
    strat_fold: int = 0  # 1..10 once assigned


@dataclass(frozen=True)
class PlannedRecord:
    """What one record shows, whose it is and when it was recorded."""

    spec: EcgSpec
    patient: Patient
    sex: int  # 1 is female
    recorded: datetime


def plan_records(n_records: int, seed: int) -> list[PlannedRecord]:
    """Plan every record, by ecg_id (from 1), which is in the order of the dates as in PTB-XL."""
    rng = np.random.default_rng([seed, PLAN_STREAM])
    patients = _plan_patients(n_records, rng)
    _assign_strat_folds(patients)
    records = [record for patient in patients for record in _plan_patient_records(patient, rng)]
    records.sort(key=lambda record: record.recorded)
    return [replace(record, spec=replace(record.spec, ecg_id=k)) for k, record in enumerate(records, start=1)]


def _plan_patients(n_records: int, rng: np.random.Generator) -> list[Patient]:
    n_patients = round(n_records / 1.21)
    counts = np.searchsorted([0.85, 0.95, 0.99], (np.arange(n_patients) + 0.5) / n_patients) + 1
    for k in range(abs(n_records - int(counts.sum()))):
        counts[k] += 1 if counts.sum() < n_records else 0
        counts[-1 - k] -= 1 if counts.sum() > n_records else 0
    rng.shuffle(counts)
    edges = np.cumsum([*_PROFILES.values()]) / sum(_PROFILES.values())
    profiles = np.searchsorted(edges, (np.arange(n_patients) + rng.random()) / n_patients, side="right")
    rng.shuffle(profiles)
    named = [tuple(name.split()) for name in _PROFILES]
    return [Patient(i, named[p], int(c)) for i, (p, c) in enumerate(zip(profiles, counts, strict=True), start=1)]


def _assign_strat_folds(patients: list[Patient]) -> None:
    """Rarest superclass first, assign each patient where it has the fewest records (Sechidis et al. 2011)."""
    frequency: Counter[str] = Counter()
    for patient in patients:
        frequency.update(dict.fromkeys(patient.superclasses or ("none",), patient.n_records))
    n_in: Counter[tuple[str, int]] = Counter()  # records by superclass and strat_fold
    size: Counter[int] = Counter()

    def rarest(patient: Patient) -> str:
        return min(patient.superclasses or ("none",), key=lambda name: (frequency[name], name))

    for patient in sorted(patients, key=lambda p: (frequency[rarest(p)], rarest(p), -p.n_records)):
        name = rarest(patient)
        patient.strat_fold = min(range(1, 11), key=lambda fold: (n_in[name, fold], size[fold]))
        size[patient.strat_fold] += patient.n_records
        for name in patient.superclasses or ("none",):
            n_in[name, patient.strat_fold] += patient.n_records


def _plan_patient_records(patient: Patient, rng: np.random.Generator) -> list[PlannedRecord]:
    """Plan the patient's records in the order of their dates, without an ecg_id yet."""
    normal = "NORM" in patient.superclasses
    found = _diagnose(patient.superclasses, rng)
    severity = _draw_severity(found, rng)
    fibrillates = not normal and not {"1AVB", "LPR", "LAO/LAE"} & set(found) and rng.random() < 0.13
    age = float(np.clip(round(rng.normal(52, 17) if normal else rng.normal(66, 12)), 18, 89))
    sex = int(rng.random() < (0.54 if normal else 0.42))
    stage = int(rng.choice([1, 2, 3], p=[0.12, 0.18, 0.70]))
    recorded = datetime(1984, 11, 9, 8) + timedelta(minutes=float(rng.uniform(0, 15 * 365 * 1440)))
    records = []
    for _ in range(patient.n_records):
        sinus = str(rng.choice(["SR", "SARRH", "STACH", "SBRAD"], p=[0.87, 0.04, 0.05, 0.04]))
        rhythm = "AFIB" if fibrillates else sinus
        extra = ["PVC"] if rng.random() < (0.01 if normal else 0.09) else []
        spec = EcgSpec(
            ecg_id=0,
            patient_id=patient.patient_id,
            age=age,
            severity=severity | _draw_severity([*extra, rhythm], rng),
            infarction_stage=stage,
            drift_electrode=_draw_electrode(0.07, rng),
            burst_electrode=_draw_electrode(0.03, rng),
            static_noise=bool(rng.random() < 0.15),
        )
        records.append(PlannedRecord(spec, patient, sex, recorded))
        recorded += timedelta(minutes=float(rng.exponential(300 * 1440)) + 60)
    return records


def _draw_severity(names: list[str], rng: np.random.Generator) -> dict[str, float]:
    return {name: round(float(rng.uniform(0.0, 1.0)), 3) for name in names}


def _draw_electrode(chance: float, rng: np.random.Generator) -> int | None:
    return int(rng.integers(len(ELECTRODES))) if rng.random() < chance else None


def _diagnose(superclasses: tuple[str, ...], rng: np.random.Generator) -> list[str]:
    """Draw diagnoses and forms with exactly these superclasses, none of which hides or contradicts another."""
    found: list[str] = ["NORM"] if "NORM" in superclasses else []
    if "MI" in superclasses:
        found.append(_pick(_MI, rng))
        if found[-1] in ("IMI", "ASMI") and rng.random() < 0.1:
            found.append("ASMI" if found[-1] == "IMI" else "IMI")
    if "HYP" in superclasses:
        # Conduction and infarction change the QRS complex by which right hypertrophy shows.
        found.append(_pick(_HYP, rng, without=("RVH",) if {"MI", "CD"} & set(superclasses) else ()))
        if found[-1] == "LVH":
            found += [name for name, p in (("LAO/LAE", 0.10), ("VCLVH", 0.25)) if rng.random() < p]
    if "CD" in superclasses:
        found += _conduction(superclasses, rng)
    if "STTC" in superclasses:
        found.append(_pick(_STTC, rng, without=("ISCIN", "LNGQT") if "HYP" in superclasses else ()))
    return found + _forms(found, superclasses, rng)


def _conduction(superclasses: tuple[str, ...], rng: np.random.Generator) -> list[str]:
    if "NORM" in superclasses:
        return ["IRBBB" if rng.random() < 0.6 else "1AVB"]
    # A left bundle branch block hides infarction and hypertrophy.
    found = [_pick(_CD, rng, without=("CLBBB", "LPFB") if {"MI", "HYP"} & set(superclasses) else ())]
    if found[-1] == "CRBBB" and rng.random() < 0.25:
        found.append("LAFB")
    if found[-1] != "1AVB" and rng.random() < 0.12:
        found.append("1AVB")
    return found


def _forms(found: list[str], superclasses: tuple[str, ...], rng: np.random.Generator) -> list[str]:
    """Draw form statements that go with the diagnoses."""
    normal = "NORM" in superclasses
    chances = {
        "ABQRS": 0.0 if normal else 0.25 if superclasses else 0.3,
        "QWAVE": 0.12 if "MI" in superclasses and "INJAS" not in found else 0.0 if normal else 0.03,
        "LVOLT": 0.0 if "HYP" in superclasses else 0.012,
        "VCLVH": 0.03 if normal else 0.0,
        "LPR": 0.0 if {"1AVB", "LAO/LAE"} & set(found) else 0.014,
        "INVT": 0.12 if {"NDT", "NST_"} & set(found) else 0.0,
        "STD_": 0.15 if {"NDT", "LNGQT"} & set(found) else 0.0,
    }
    forms = [name for name, chance in chances.items() if rng.random() < chance]
    return [name for name in forms if not (name == "VCLVH" and "LVOLT" in forms)]


def _pick(weights: dict[str, int], rng: np.random.Generator, *, without: tuple[str, ...] = ()) -> str:
    names = [name for name in weights if name not in without]
    p = np.array([weights[name] for name in names], float)
    return names[rng.choice(len(names), p=p / p.sum())]
