"""Which statements a patient gets, given the superclasses, as often as in PTB-XL."""

import numpy as np

# How often each statement is a patient's main one in the superclass, in percent.
_MI = {"IMI": 38, "ASMI": 34, "ILMI": 8, "AMI": 6, "ALMI": 5, "INJAS": 5, "LMI": 4}
_STTC = {"NDT": 37, "NST_": 17, "ISC_": 25, "ISCAL": 13, "ISCIN": 5, "LNGQT": 3}
_CD = {"LAFB": 30, "IRBBB": 21, "1AVB": 14, "IVCD": 14, "CRBBB": 10, "CLBBB": 8, "LPFB": 3}
_HYP = {"LVH": 80, "LAO/LAE": 14, "RVH": 6}


def diagnose(superclasses: tuple[str, ...], rng: np.random.Generator) -> list[str]:
    """Draw diagnoses and forms with exactly these superclasses, none of which hides or contradicts another."""
    found: list[str] = ["NORM"] if "NORM" in superclasses else []
    if "MI" in superclasses:
        found.append(_pick(_MI, rng))
        if found[-1] in ("IMI", "ASMI") and rng.random() < 0.1:
            found.append("ASMI" if found[-1] == "IMI" else "IMI")
    if "HYP" in superclasses:
        # Conduction and infarction change the QRS complex by which right hypertrophy shows.
        alone = not {"MI", "CD"} & set(superclasses)
        found.append(_pick(_HYP, rng, without=() if alone else ("RVH",)))
        if found[-1] == "LVH":
            found += [name for name, p in (("LAO/LAE", 0.10), ("VCLVH", 0.25)) if rng.random() < p]
    if "CD" in superclasses:
        found += _conduction(superclasses, rng)
    if "STTC" in superclasses:
        strain = "HYP" in superclasses
        found.append(_pick(_STTC, rng, without=("ISCIN", "LNGQT") if strain else ()))
    return found + _forms(found, superclasses, rng)


def _conduction(superclasses: tuple[str, ...], rng: np.random.Generator) -> list[str]:
    if "NORM" in superclasses:
        return ["IRBBB" if rng.random() < 0.6 else "1AVB"]
    # A left bundle branch block hides infarction and hypertrophy.
    hides = {"MI", "HYP"} & set(superclasses)
    found = [_pick(_CD, rng, without=("CLBBB", "LPFB") if hides else ())]
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
