"""Writes a data set of simulated ECGs in PTB-XL's shape, so that it takes the same path as the real one.

Task: ``data=synthetic`` must run end to end on a laptop without a download, and a net must have something to
learn. What is written is what PTB-XL has: ``ptbxl_database.csv`` (28 columns), ``scp_statements.csv``, and
WFDB records in ``records100/`` or ``records500/`` (format 16, 1000 per mV, so one unit is a microvolt; one
folder a thousand records). Beside them stand ``SYNTHETIC.json``, which says what was asked, and a README.

Conventions: a patient's records share diagnosis, heart and strat_fold, and differ in rate, rhythm and noise.
The mix of superclasses follows PTB-XL (NORM 44 %, MI 25, STTC 24, CD 22, HYP 12, none 2), and so do the
likelihoods: 0 for form and rhythm, 15 to 100 for diagnoses, lower where the change is subtle. The signals are
made by `ecg_model`.

References
----------
- Wagner et al. PTB-XL, a large publicly available electrocardiography dataset. Scientific Data 7, 154 (2020).
  https://doi.org/10.1038/s41597-020-0495-6
- Sechidis, Tsoumakas, Vlahavas. On the stratification of multi-label data. ECML PKDD 2011: the strat_folds.
- WFDB header format: https://physionet.org/physiotools/wag/header-5.htm
"""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from ecgcls.data.ecg_model import DURATION_S, ELECTRODES, LEADS, EcgSpec, frontal_axis_deg, simulate_ecg
from ecgcls.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

GENERATOR_VERSION = 1  # raise it whenever the same seed would write other files
MIN_RECORDS, MAX_RECORDS = 50, 21_799

_PLAN_STREAM = 0
_N_STRAT_FOLDS = 10

# Superclasses that occur together, and how many of a thousand patients have them.
_PROFILES: tuple[tuple[tuple[str, ...], int], ...] = (
    (("NORM",), 410),
    ((), 20),
    (("NORM", "CD"), 20),
    (("CD",), 80),
    (("MI", "CD"), 62),
    (("MI",), 120),
    (("MI", "STTC"), 32),
    (("MI", "STTC", "CD"), 10),
    (("STTC", "CD"), 22),
    (("STTC",), 106),
    (("STTC", "HYP"), 44),
    (("MI", "STTC", "HYP"), 16),
    (("STTC", "CD", "HYP"), 8),
    (("CD", "HYP"), 12),
    (("MI", "HYP"), 9),
    (("HYP",), 29),
)
# How often each statement is its patient's main one in the superclass, in per cent.
_MI = {"IMI": 38, "ASMI": 34, "ILMI": 8, "AMI": 6, "ALMI": 5, "INJAS": 5, "LMI": 4}
_STTC = {"NDT": 37, "NST_": 17, "ISC_": 25, "ISCAL": 13, "ISCIN": 5, "LNGQT": 3}
_CD = {"LAFB": 30, "IRBBB": 21, "1AVB": 14, "IVCD": 14, "CRBBB": 10, "CLBBB": 8, "LPFB": 3}
_HYP = {"LVH": 80, "LAO/LAE": 14, "RVH": 6}

_ST_T = "other ST-T descriptive statements"
_ST_T_ROOT = "Basic roots for coding ST-T changes and abnormalities"
_ISCHAEMIA = "ischemic ST-T changes"
_INFARCTION = "Myocardial Infarction"
_CONDUCTION = "Intraventricular and intra-atrial Conduction disturbances"
_AV_CONDUCTION = "Sinus node dysfunction, atrial and AV-conduction defects"
_VENTRICLE = "Ventricular Hypertrophy"
_QRS = "Other QRS morphology descriptive statements"
_IMPULSE = "Statements related to impulse formation (abnormalities)"
# Description, kinds (Diagnostic, Form, Rhythm), superclass, subclass and category, as PTB-XL has them.
_STATEMENTS: dict[str, tuple[str, str, str, str, str]] = {
    "NDT": ("non-diagnostic T abnormalities", "DF", "STTC", "STTC", _ST_T),
    "NST_": ("non-specific ST changes", "DF", "STTC", "NST_", _ST_T_ROOT),
    "LNGQT": ("long QT-interval", "DF", "STTC", "STTC", _ST_T),
    "NORM": ("normal ECG", "D", "NORM", "NORM", "Normal/abnormal"),
    "IMI": ("inferior myocardial infarction", "D", "MI", "IMI", _INFARCTION),
    "ASMI": ("anteroseptal myocardial infarction", "D", "MI", "AMI", _INFARCTION),
    "LVH": ("left ventricular hypertrophy", "D", "HYP", "LVH", _VENTRICLE),
    "LAFB": ("left anterior fascicular block", "D", "CD", "LAFB/LPFB", _CONDUCTION),
    "ISC_": ("non-specific ischemic", "D", "STTC", "ISC_", _ST_T_ROOT),
    "IRBBB": ("incomplete right bundle branch block", "D", "CD", "IRBBB", _CONDUCTION),
    "1AVB": ("first degree AV block", "D", "CD", "_AVB", _AV_CONDUCTION),
    "IVCD": ("non-specific intraventricular conduction disturbance (block)", "D", "CD", "IVCD", _CONDUCTION),
    "ISCAL": ("ischemic in anterolateral leads", "D", "STTC", "ISCA", _ISCHAEMIA),
    "CRBBB": ("complete right bundle branch block", "D", "CD", "CRBBB", _CONDUCTION),
    "CLBBB": ("complete left bundle branch block", "D", "CD", "CLBBB", _CONDUCTION),
    "ILMI": ("inferolateral myocardial infarction", "D", "MI", "IMI", _INFARCTION),
    "LAO/LAE": ("left atrial overload/enlargement", "D", "HYP", "LAO/LAE", "Atrial statements"),
    "AMI": ("anterior myocardial infarction", "D", "MI", "AMI", _INFARCTION),
    "ALMI": ("anterolateral myocardial infarction", "D", "MI", "AMI", _INFARCTION),
    "ISCIN": ("ischemic in inferior leads", "D", "STTC", "ISCI", _ISCHAEMIA),
    "INJAS": (
        "subendocardial injury in anteroseptal leads",
        "D",
        "MI",
        "AMI",
        "ischemic ST-T changes compatible with subendocardial injury",
    ),
    "LMI": ("lateral myocardial infarction", "D", "MI", "LMI", _INFARCTION),
    "LPFB": ("left posterior fascicular block", "D", "CD", "LAFB/LPFB", _CONDUCTION),
    "RVH": ("right ventricular hypertrophy", "D", "HYP", "RVH", _VENTRICLE),
    "ABQRS": ("abnormal QRS", "F", "", "", "Normal/abnormal"),
    "PVC": (
        "ventricular premature complex",
        "F",
        "",
        "",
        "Statements related to ectopic rhythm abnormalities",
    ),
    "STD_": ("non-specific ST depression", "F", "", "", _ST_T_ROOT),
    "VCLVH": ("voltage criteria (QRS) for left ventricular hypertrophy", "F", "", "", _VENTRICLE),
    "QWAVE": ("Q waves present", "F", "", "", _QRS),
    "LPR": ("prolonged PR interval", "F", "", "", _IMPULSE),
    "INVT": ("inverted T-waves", "F", "", "", _ST_T),
    "LVOLT": ("low QRS voltages in the frontal and horizontal leads", "F", "", "", _QRS),
    "SR": ("sinus rhythm", "R", "", "", _IMPULSE),
    "AFIB": ("atrial fibrillation", "R", "", "", _IMPULSE),
    "STACH": ("sinus tachycardia", "R", "", "", _IMPULSE),
    "SARRH": ("sinus arrhythmia", "R", "", "", _IMPULSE),
    "SBRAD": ("sinus bradycardia", "R", "", "", _IMPULSE),
}
# fmt: off
_COLUMNS = (
    "ecg_id", "patient_id", "age", "sex", "height", "weight", "nurse", "site", "device", "recording_date",
    "report", "scp_codes", "heart_axis", "infarction_stadium1", "infarction_stadium2", "validated_by",
    "second_opinion", "initial_autogenerated_report", "validated_by_human", "baseline_drift", "static_noise",
    "burst_noise", "electrodes_problems", "extra_beats", "pacemaker", "strat_fold", "filename_lr",
    "filename_hr",
)
_STATEMENT_COLUMNS = (
    "", "description", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass",
    "Statement Category", "SCP-ECG Statement Description", "AHA code", "aECG REFID", "CDISC Code",
    "DICOM Code",
)
# fmt: on
_LIMB_LEADS_OF = {"RA": "I,II,AVR", "LA": "I,III,AVL", "LL": "II,III,AVF"}
# The note comes first: whatever a kill leaves behind is known to be ours.
_TEXTS = ("SYNTHETIC.json", "README.txt", "scp_statements.csv", "ptbxl_database.csv")
_README = """\
These are simulated ECGs, written by ecgcls (data=synthetic) in the layout of PTB-XL. They are not from
patients, and nothing measured on them says anything about medicine: they are there to try out and to test the
software. SYNTHETIC.json says how many records were asked for and from which seed; delete this folder to write
others.
"""


@dataclass
class _Patient:
    patient_id: int
    superclasses: tuple[str, ...]
    n_records: int
    strat_fold: int = 0


@dataclass(frozen=True)
class _Record:
    spec: EcgSpec
    patient: _Patient
    sex: int
    recorded: datetime


def _pick(weights: dict[str, int], rng: np.random.Generator, *, without: tuple[str, ...] = ()) -> str:
    names = [name for name in weights if name not in without]
    p = np.array([weights[name] for name in names], float)
    return names[rng.choice(len(names), p=p / p.sum())]


def _diagnose(superclasses: tuple[str, ...], rng: np.random.Generator) -> list[str]:
    """Statements of one patient that explain these superclasses; none that hides or contradicts another."""
    found: list[str] = ["NORM"] if "NORM" in superclasses else []
    if "MI" in superclasses:
        found.append(_pick(_MI, rng))
        if found[-1] in ("IMI", "ASMI") and rng.random() < 0.1:
            found.append("ASMI" if found[-1] == "IMI" else "IMI")
    if "HYP" in superclasses:
        # Conduction and infarction draw the QRS that right hypertrophy needs for itself.
        alone = not {"MI", "CD"} & set(superclasses)
        found.append(_pick(_HYP, rng, without=() if alone else ("RVH",)))
        if found[-1] == "LVH":
            found += [name for name, p in (("LAO/LAE", 0.10), ("VCLVH", 0.25)) if rng.random() < p]
    if "CD" in superclasses:
        if "NORM" in superclasses:
            found.append("IRBBB" if rng.random() < 0.6 else "1AVB")
        else:
            # A left bundle branch block hides infarction and hypertrophy.
            hides = {"MI", "HYP"} & set(superclasses)
            found.append(_pick(_CD, rng, without=("CLBBB", "LPFB") if hides else ()))
            if found[-1] == "CRBBB" and rng.random() < 0.25:
                found.append("LAFB")
            if found[-1] != "1AVB" and rng.random() < 0.12:
                found.append("1AVB")
    if "STTC" in superclasses:
        strain = "HYP" in superclasses
        found.append(_pick(_STTC, rng, without=("ISCIN", "LNGQT") if strain else ()))
    return found + _forms(found, superclasses, rng)


def _forms(found: list[str], superclasses: tuple[str, ...], rng: np.random.Generator) -> list[str]:
    """Form statements that go with the diagnoses found."""
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


def _plan_patients(n_records: int, rng: np.random.Generator) -> list[_Patient]:
    """Patients with superclasses and number of records: shuffled quotas, so that no class is ever missing."""
    n_patients = round(n_records / 1.21)
    counts = np.searchsorted([0.85, 0.95, 0.99], (np.arange(n_patients) + 0.5) / n_patients) + 1
    for k in range(abs(n_records - int(counts.sum()))):
        counts[k] += 1 if counts.sum() < n_records else 0
        counts[-1 - k] -= 1 if counts.sum() > n_records else 0
    rng.shuffle(counts)
    edges = np.cumsum([share for _, share in _PROFILES]) / sum(share for _, share in _PROFILES)
    profiles = np.searchsorted(edges, (np.arange(n_patients) + rng.random()) / n_patients, side="right")
    rng.shuffle(profiles)
    patients = [_Patient(i + 1, _PROFILES[p][0], int(c)) for i, (p, c) in enumerate(zip(profiles, counts, strict=True))]
    _assign_strat_folds(patients)
    return patients


def _assign_strat_folds(patients: list[_Patient]) -> None:
    """Rarest superclass first, each patient goes where it has fewest records (Sechidis et al. 2011)."""
    frequency: dict[str, int] = {}
    for patient in patients:
        for name in patient.superclasses or ("none",):
            frequency[name] = frequency.get(name, 0) + patient.n_records
    n_in: dict[str, list[int]] = {name: [0] * _N_STRAT_FOLDS for name in frequency}
    size = [0] * _N_STRAT_FOLDS

    def rarest(patient: _Patient) -> str:
        return min(patient.superclasses or ("none",), key=lambda name: (frequency[name], name))

    for patient in sorted(patients, key=lambda p: (frequency[rarest(p)], rarest(p), -p.n_records)):
        wanted = n_in[rarest(patient)]
        best = min(range(_N_STRAT_FOLDS), key=lambda fold: (wanted[fold], size[fold]))
        patient.strat_fold = best + 1
        size[best] += patient.n_records
        for name in patient.superclasses or ("none",):
            n_in[name][best] += patient.n_records


def _plan_records(n_records: int, seed: int) -> list[_Record]:
    """What every record shows, by ecg_id, which follows the date as in PTB-XL."""
    rng = np.random.default_rng([seed, _PLAN_STREAM])
    records: list[_Record] = []
    for patient in _plan_patients(n_records, rng):
        normal = "NORM" in patient.superclasses
        found = _diagnose(patient.superclasses, rng)
        severity = {name: round(float(rng.uniform(0.0, 1.0)), 3) for name in found}
        fibrillates = not normal and not {"1AVB", "LPR", "LAO/LAE"} & set(found) and rng.random() < 0.13
        age = float(np.clip(round(rng.normal(52, 17) if normal else rng.normal(66, 12)), 18, 89))
        sex = int(rng.random() < (0.54 if normal else 0.42))  # 1 is female
        stage = int(rng.choice([1, 2, 3], p=[0.12, 0.18, 0.70]))
        recorded = datetime(1984, 11, 9, 8) + timedelta(minutes=float(rng.uniform(0, 15 * 365 * 1440)))
        for _ in range(patient.n_records):
            sinus = str(rng.choice(["SR", "SARRH", "STACH", "SBRAD"], p=[0.87, 0.04, 0.05, 0.04]))
            rhythm = "AFIB" if fibrillates else sinus
            extra = ["PVC"] if rng.random() < (0.01 if normal else 0.09) else []
            now = severity | {name: round(float(rng.uniform(0.0, 1.0)), 3) for name in [*extra, rhythm]}
            spec = EcgSpec(
                ecg_id=0,
                patient_id=patient.patient_id,
                age=age,
                severity=now,
                infarction_stage=stage,
                drift_electrode=int(rng.integers(9)) if rng.random() < 0.07 else None,
                burst_electrode=int(rng.integers(9)) if rng.random() < 0.03 else None,
                static_noise=bool(rng.random() < 0.15),
            )
            records.append(_Record(spec, patient, sex, recorded))
            recorded += timedelta(minutes=float(rng.exponential(300 * 1440)) + 60)
    records.sort(key=lambda record: record.recorded)
    return [replace(record, spec=replace(record.spec, ecg_id=k)) for k, record in enumerate(records, start=1)]


def _record_name(ecg_id: int, sampling_rate_hz: int) -> str:
    suffix = "lr" if sampling_rate_hz == 100 else "hr"
    return f"records{sampling_rate_hz}/{ecg_id // 1000 * 1000:05d}/{ecg_id:05d}_{suffix}"


def _likelihood(name: str, severity: float, rng: np.random.Generator) -> float:
    """0 for form and rhythm, which PTB-XL leaves open; else 15 to 100, lower where the change is subtle."""
    if "D" not in _STATEMENTS[name][1]:
        return 0.0
    seen = severity + rng.normal(0, 0.15)
    if name == "NORM":  # has no severity; PTB-XL gives it 100, or 80
        seen = max(seen, 0.1)
    return [15.0, 35.0, 50.0, 80.0, 100.0][int(np.searchsorted([-0.1, -0.03, 0.08, 0.2], seen))]


def _axis_code(degrees: float) -> str:
    edges, codes = (
        [-120, -30, 0, 30, 75, 95, 120],
        ["ARAD", "ALAD", "LAD", "AXL", "MID", "AXR", "RAD", "ARAD"],
    )
    return codes[int(np.searchsorted(edges, degrees))]


def _database_csv(records: list[_Record], seed: int) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    for record in records:
        spec = record.spec
        rng = np.random.default_rng([seed, _PLAN_STREAM, spec.ecg_id])
        names = sorted(spec.severity, key=lambda name: "DFR".index(_STATEMENTS[name][1][0]))
        codes = {name: _likelihood(name, spec.severity[name], rng) for name in names}
        infarcted = any(_STATEMENTS[name][2] == "MI" and name != "INJAS" for name in names)
        stadium = ["unknown", "Stadium " + "I" * spec.infarction_stage][int(rng.random() < 0.6)]
        drift = None if spec.drift_electrode is None else ELECTRODES[spec.drift_electrode]
        burst = None if spec.burst_electrode is None else ELECTRODES[spec.burst_electrode]
        height_cm, weight_kg = rng.normal(174 - 11 * record.sex, 7), rng.normal(79 - 11 * record.sex, 12)
        row: dict[str, object] = {
            "ecg_id": spec.ecg_id,
            "patient_id": float(spec.patient_id),
            "age": spec.age,
            "sex": record.sex,
            "height": float(round(height_cm)) if rng.random() < 0.32 else "",
            "weight": float(round(max(weight_kg, 42))) if rng.random() < 0.43 else "",
            "nurse": float(rng.integers(12)),
            "site": float(rng.integers(4)),
            "device": "SYNTHETIC",
            "recording_date": record.recorded.strftime("%Y-%m-%d %H:%M:%S"),
            "report": "synthetic: " + ". ".join(_STATEMENTS[name][0].lower() for name in reversed(names)) + ".",
            "scp_codes": repr(codes),
            "heart_axis": _axis_code(frontal_axis_deg(spec, seed=seed)) if rng.random() < 0.6 else "",
            "infarction_stadium1": stadium if infarcted else "",
            "validated_by": float(rng.integers(8)) if rng.random() < 0.6 else "",
            "second_opinion": False,
            "initial_autogenerated_report": False,
            "validated_by_human": bool(rng.random() < 0.74),
            "baseline_drift": f" , {_LIMB_LEADS_OF.get(drift, drift)}" if drift else "",
            "static_noise": " , alles,  " if spec.static_noise else "",
            "burst_noise": _LIMB_LEADS_OF.get(burst, burst) if burst else "",
            "extra_beats": "VES" if "PVC" in codes else "",
            "strat_fold": record.patient.strat_fold,
            "filename_lr": _record_name(spec.ecg_id, 100),
            "filename_hr": _record_name(spec.ecg_id, 500),
        }
        table.writerow(row)
    return text.getvalue()


def _statements_csv() -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, _STATEMENT_COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    for name, (description, kinds, superclass, subclass, category) in _STATEMENTS.items():
        table.writerow(
            {
                "": name,
                "description": description,
                "diagnostic": "1.0" if "D" in kinds else "",
                "form": "1.0" if "F" in kinds else "",
                "rhythm": "1.0" if "R" in kinds else "",
                "diagnostic_class": superclass,
                "diagnostic_subclass": subclass,
                "Statement Category": category,
                "SCP-ECG Statement Description": description,
            }
        )
    return text.getvalue()


def _write_wfdb(stem: Path, ecg_uv: np.ndarray, sampling_rate_hz: int) -> None:
    """``stem.dat`` (format 16, sample by sample) and ``stem.hea``; wfdb.wrsamp is ten times slower."""
    file = f"{stem.name}.dat"
    checksums = (ecg_uv.sum(axis=0, dtype=np.int64) % 65536).tolist()
    lines = [f"{stem.name} {len(LEADS)} {sampling_rate_hz} {len(ecg_uv)}"]
    for lead, first, checksum in zip(LEADS, ecg_uv[0].tolist(), checksums, strict=True):
        lines.append(f"{file} 16 1000.0(0)/mV 16 0 {first} {checksum} 0 {lead}")
    stem.with_name(file).write_bytes(ecg_uv.astype("<i2").tobytes())
    stem.with_name(f"{stem.name}.hea").write_text("\n".join(lines) + "\n", encoding="ascii")


def _write_records(
    folder: Path,
    records: list[_Record],
    *,
    seed: int,
    sampling_rate_hz: Literal[100, 500],
    show_progress: bool,
) -> None:
    folder.mkdir()
    progress = tqdm(records, desc="Writing synthetic ECGs", unit=" records", disable=not show_progress)
    for record in progress:
        # Drop 'records100/': the folder still has its temporary name.
        stem = folder / _record_name(record.spec.ecg_id, sampling_rate_hz).split("/", 1)[1]
        stem.parent.mkdir(exist_ok=True)
        _write_wfdb(stem, simulate_ecg(record.spec, seed=seed, sampling_rate_hz=sampling_rate_hz), sampling_rate_hz)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _put(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make `path` under a temporary name beside it, then rename; a failure leaves nothing."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    except BaseException:
        _remove(temporary)
        raise


def _is_complete(root: Path, asked: dict[str, int], folder: str) -> bool:
    """Whether all that was asked is there; ConfigError if something else is."""
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root} is a file, expected a folder for synthetic ECGs: choose another")
    data = ("ptbxl_database.csv", "scp_statements.csv", "records100", "records500")
    present = [name for name in data if (root / name).exists()]
    note = root / "SYNTHETIC.json"
    if not note.exists():
        if present:
            raise ConfigError(
                f"{root} holds {present[0]} but no SYNTHETIC.json, so ecgcls did not write it and will "
                f"not touch it: choose another folder for synthetic ECGs, or read this one with data=ptbxl"
            )
        return False
    try:
        there = json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        there = None
    if there != asked:
        was = ", ".join(f"{k}={v}" for k, v in there.items()) if isinstance(there, dict) else "something unreadable"
        wanted = ", ".join(f"{k}={v}" for k, v in asked.items())
        raise ConfigError(
            f"{root} holds synthetic ECGs with {was}, asked for {wanted}: delete it or choose another folder"
        )
    return all((root / name).exists() for name in (*_TEXTS, folder))


def _write_missing(root: Path, asked: dict[str, int], sampling_rate_hz: Literal[100, 500], show_progress: bool) -> None:
    n_records, seed = asked["n_records"], asked["seed"]
    root.mkdir(parents=True, exist_ok=True)
    for leftover in [root / f".{name}.tmp" for name in (*_TEXTS, "records100", "records500")]:
        _remove(leftover)  # of a run that was killed; no other is at work, we hold the lock
    records = _plan_records(n_records, seed)
    makers: dict[str, Callable[[], str]] = {
        "SYNTHETIC.json": lambda: json.dumps(asked, indent=2) + "\n",
        "README.txt": lambda: _README,
        "scp_statements.csv": _statements_csv,
        "ptbxl_database.csv": lambda: _database_csv(records, seed),
    }
    for name in _TEXTS:
        if not (root / name).exists():
            content = makers[name]().encode()
            _put(root / name, partial(Path.write_bytes, data=content))
    folder = root / f"records{sampling_rate_hz}"
    if not folder.exists():
        write = partial(
            _write_records,
            records=records,
            seed=seed,
            sampling_rate_hz=sampling_rate_hz,
            show_progress=show_progress,
        )
        _put(folder, write)


def write_synthetic(
    root: Path, *, n_records: int, seed: int, sampling_rate_hz: Literal[100, 500], show_progress: bool = True
) -> None:
    """Write a PTB-XL shaped data set of simulated ECGs, or what is missing of it.

    The same arguments always write the same bytes, and 100 and 500 Hz show the same ECGs. What is there
    already is left alone; when nothing is missing the call returns at once. It works under a lock beside
    `root`, and each file and folder appears whole or not at all.

    Parameters
    ----------
    root
        Folder of the data set, made if absent. It must hold no other data set.
    n_records
        50..21799; every superclass has a record in any seven of the ten strat_folds.
    seed
        0 or more.
    sampling_rate_hz
        Which of `records100/` and `records500/` to write.
    show_progress
        Whether to draw a progress bar on stderr.

    Raises
    ------
    ConfigError
        An argument out of its range, or `root` holds another data set, synthetic or not.
    DataError
        The files cannot be written, for instance because the disk is full.
    """
    if not MIN_RECORDS <= n_records <= MAX_RECORDS:
        raise ConfigError(f"data.n_records must be in {MIN_RECORDS}..{MAX_RECORDS}, got {n_records}")
    if seed < 0:
        raise ConfigError(f"the seed of synthetic ECGs must be 0 or more, got {seed}")
    if sampling_rate_hz not in (100, 500):
        raise ConfigError(f"sampling_rate_hz must be 100 or 500, got {sampling_rate_hz}")
    root = Path(root).resolve()
    folder = f"records{sampling_rate_hz}"
    asked = {"n_records": n_records, "seed": seed, "generator_version": GENERATOR_VERSION}
    if _is_complete(root, asked, folder):
        return
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root.parent / f".{root.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("waiting for another process that is writing %s", root)
            lock.acquire()
        try:
            if not _is_complete(root, asked, folder):
                _write_missing(root, asked, sampling_rate_hz, show_progress)
        finally:
            lock.release()
    except OSError as error:
        size_mb = n_records * DURATION_S * sampling_rate_hz * 2 * len(LEADS) / 1e6
        raise DataError(
            f"cannot write {n_records} synthetic ECGs ({size_mb:.0f} MB at {sampling_rate_hz} Hz) to {root}: "
            f"{error.strerror or error}; make room there or choose another folder"
        ) from error
