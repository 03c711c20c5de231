"""The SCP-ECG statements that the simulated ECGs can have: a selection from PTB-XL's scp_statements.csv."""

from typing import NamedTuple


class Statement(NamedTuple):
    """One line of PTB-XL's ``scp_statements.csv``."""

    description: str
    kinds: str  # D diagnostic, F form, R rhythm
    superclass: str
    subclass: str
    category: str


_ST_T = "other ST-T descriptive statements"
_ST_T_ROOT = "Basic roots for coding ST-T changes and abnormalities"
_ISCHEMIA = "ischemic ST-T changes"
_INJURY = "ischemic ST-T changes compatible with subendocardial injury"
_INFARCTION = "Myocardial Infarction"
_CONDUCTION = "Intraventricular and intra-atrial Conduction disturbances"
_AV_CONDUCTION = "Sinus node dysfunction, atrial and AV-conduction defects"
_VENTRICLE = "Ventricular Hypertrophy"
_QRS = "Other QRS morphology descriptive statements"
_ECTOPIC = "Statements related to ectopic rhythm abnormalities"
_IMPULSE = "Statements related to impulse formation (abnormalities)"


def _form(description: str, category: str) -> Statement:
    return Statement(description, "F", "", "", category)


def _rhythm(description: str) -> Statement:
    return Statement(description, "R", "", "", _IMPULSE)


STATEMENTS: dict[str, Statement] = {
    "NDT": Statement("non-diagnostic T abnormalities", "DF", "STTC", "STTC", _ST_T),
    "NST_": Statement("non-specific ST changes", "DF", "STTC", "NST_", _ST_T_ROOT),
    "LNGQT": Statement("long QT-interval", "DF", "STTC", "STTC", _ST_T),
    "NORM": Statement("normal ECG", "D", "NORM", "NORM", "Normal/abnormal"),
    "IMI": Statement("inferior myocardial infarction", "D", "MI", "IMI", _INFARCTION),
    "ASMI": Statement("anteroseptal myocardial infarction", "D", "MI", "AMI", _INFARCTION),
    "LVH": Statement("left ventricular hypertrophy", "D", "HYP", "LVH", _VENTRICLE),
    "LAFB": Statement("left anterior fascicular block", "D", "CD", "LAFB/LPFB", _CONDUCTION),
    "ISC_": Statement("non-specific ischemic", "D", "STTC", "ISC_", _ST_T_ROOT),
    "IRBBB": Statement("incomplete right bundle branch block", "D", "CD", "IRBBB", _CONDUCTION),
    "1AVB": Statement("first degree AV block", "D", "CD", "_AVB", _AV_CONDUCTION),
    "IVCD": Statement("non-specific intraventricular conduction disturbance (block)", "D", "CD", "IVCD", _CONDUCTION),
    "ISCAL": Statement("ischemic in anterolateral leads", "D", "STTC", "ISCA", _ISCHEMIA),
    "CRBBB": Statement("complete right bundle branch block", "D", "CD", "CRBBB", _CONDUCTION),
    "CLBBB": Statement("complete left bundle branch block", "D", "CD", "CLBBB", _CONDUCTION),
    "ILMI": Statement("inferolateral myocardial infarction", "D", "MI", "IMI", _INFARCTION),
    "LAO/LAE": Statement("left atrial overload/enlargement", "D", "HYP", "LAO/LAE", "Atrial statements"),
    "AMI": Statement("anterior myocardial infarction", "D", "MI", "AMI", _INFARCTION),
    "ALMI": Statement("anterolateral myocardial infarction", "D", "MI", "AMI", _INFARCTION),
    "ISCIN": Statement("ischemic in inferior leads", "D", "STTC", "ISCI", _ISCHEMIA),
    "INJAS": Statement("subendocardial injury in anteroseptal leads", "D", "MI", "AMI", _INJURY),
    "LMI": Statement("lateral myocardial infarction", "D", "MI", "LMI", _INFARCTION),
    "LPFB": Statement("left posterior fascicular block", "D", "CD", "LAFB/LPFB", _CONDUCTION),
    "RVH": Statement("right ventricular hypertrophy", "D", "HYP", "RVH", _VENTRICLE),
    "ABQRS": _form("abnormal QRS", "Normal/abnormal"),
    "PVC": _form("ventricular premature complex", _ECTOPIC),
    "STD_": _form("non-specific ST depression", _ST_T_ROOT),
    "VCLVH": _form("voltage criteria (QRS) for left ventricular hypertrophy", _VENTRICLE),
    "QWAVE": _form("Q waves present", _QRS),
    "LPR": _form("prolonged PR interval", _IMPULSE),
    "INVT": _form("inverted T-waves", _ST_T),
    "LVOLT": _form("low QRS voltages in the frontal and horizontal leads", _QRS),
    "SR": _rhythm("sinus rhythm"),
    "AFIB": _rhythm("atrial fibrillation"),
    "STACH": _rhythm("sinus tachycardia"),
    "SARRH": _rhythm("sinus arrhythmia"),
    "SBRAD": _rhythm("sinus bradycardia"),
}
