"""Files of ECG devices, read by `ecgdatakit`, and what this project knows better.

The library gives the leads as they are stored, a sampling rate rounded to whole Hz, and its doubts as warnings. Here
the leads become mV, the rate the exact one, and each warning a note, a doubt or an error; a calibration pulse is cut
off. Averaged beats beside the rhythm are never read.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgcls.data.calibration_pulse import find_pulse
from ecgcls.data.dicom_groups import choose_groups, list_rhythms
from ecgcls.data.lead_names import list_names, standardize_names
from ecgcls.data.lead_sets import LEADS
from ecgcls.data.recordings import Recording
from ecgcls.data.xml_documents import open_document
from ecgcls.errors import DataError

_PARSERS = {
    "GE MUSE XML": ("ge_muse_xml", "GEMuseXMLParser"),
    "Philips Sierra XML": ("sierra_xml", "SierraXMLParser"),
    "HL7 aECG": ("hl7_aecg", "HL7aECGParser"),
    "SCP-ECG": ("scp_ecg", "SCPECGParser"),
    "DICOM": ("dicom_waveform", "DICOMWaveformParser"),
    "EDF": ("edf", "EDFParser"),
    "ISHNE": ("ishne_holter", "ISHNEHolterParser"),
}
_XML = ("GE MUSE XML", "Philips Sierra XML", "HL7 aECG")
_MILLIVOLT = {"nV": 1e-6, "uV": 1e-3, "mV": 1.0, "V": 1e3}
_LOST = re.compile(r"truncated: header|has gaps")
_OF_BEATS = re.compile(r"median|representative|reference beat", re.IGNORECASE)
_ABOUT_OTHERS = re.compile(r"value ignored$|is not an integer; rounded|raw ADC counts|raw counts|left uncalibrated")
_SEVERAL = re.compile(r"additional rhythm|rhythm series found|sequence sets in the rhythm", re.IGNORECASE)
_DOUBTFUL = re.compile(r"checksum|CRC|non-zero|incomplete|odd number|truncated|-1 \(file not closed", re.IGNORECASE)
_CRC_OF_LEAD = re.compile(r"CRC32 mismatch in lead (\S+) ")
_STARTS = ("start_sample", "LeadTimeOffset")  # SCP-ECG, MUSE; absent where it is the first
_FAULT = -32768  # in ISHNE: the electrode was off


def read_device_file(path: Path, format: str) -> Recording:
    """Read the rhythm of a device's file of a known format.

    Raises
    ------
    DataError
        If the library is not installed, the file is damaged or truncated, a lead has no unit of voltage, the leads
        differ in length or rate, or there is no standard lead.
    """
    record, warned = _parse(path, format)
    notes, guesses = _sort_warnings(warned)
    if format == "DICOM":
        record, told, doubts = choose_groups(path, record, lambda part: _parse(part, format)[0])
        notes, guesses = [*notes, *told], [*guesses, *doubts]
    if lost := [text for text in warned if _LOST.search(text)]:
        raise DataError(f"{path}: missing samples: {lost[0]}")
    names = tuple(lead.label for lead in record.leads)
    standard = standardize_names(names)
    leads = [lead for lead, name in zip(record.leads, standard, strict=True) if name]
    if not leads:
        raise DataError(
            f"{path}: no standard lead ({LEADS[0]}, {LEADS[1]}, ... {LEADS[-1]}) in {format}, got {list_names(names)}"
        )
    rate_hz = _find_rate(path, record, leads)
    signal_mv = _stack(path, leads, format)
    if (pulse := find_pulse(signal_mv, [name for name in standard if name], rate_hz)) is not None:
        kept, note = pulse
        signal_mv = signal_mv[:, kept]
        notes.append(note)
    guesses += _describe_length(record.raw_metadata)
    if off := [lead.label for lead in leads if lead.annotations.get("LeadOff")]:
        guesses.append(f"the device says that an electrode was off: {', '.join(off)}")
    return Recording(
        signal_mv=signal_mv,
        sampling_rate_hz=rate_hz,
        lead_names=tuple(lead.label for lead in leads),
        left_out=tuple(name for name, known in zip(names, standard, strict=True) if not known),
        notes=tuple(dict.fromkeys([*notes, *guesses])),
        guesses=tuple(guesses),
        has_checksums=record.raw_metadata.get("checksum_valid") is True,
        patient=_describe_patient(record.patient),
    )


def _parse(path: Path, format: str) -> tuple[Any, list[str]]:
    """Return the library's record, and its warnings as text."""
    module, name = _PARSERS[format]
    try:
        parser = getattr(import_module(f"ecgdatakit.parsing.parsers.{module}"), name)()
        if format == "DICOM":
            import_module("pydicom")
    except ImportError as error:
        raise DataError(f"{path}: {format} is read by another library: pip install 'ecgcls[formats]'") from error
    opened = open_document(path) if format in _XML else nullcontext(path)
    with opened as readable, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            record = parser.parse(readable)
        except Exception as error:  # a file of strangers may raise whatever a parser stumbles over
            reason = " ".join(re.sub(rf" (in|of) {re.escape(str(readable))}", "", str(error)).split())
            raise DataError(f"{path}: not readable as {format}: {reason or type(error).__name__}") from error
    # Not what pydicom warns of, nor another thread, whose warnings are caught as well.
    texts = [str(each.message) for each in caught if each.filename == __file__ or "ecgdatakit" in each.filename]
    return record, list(dict.fromkeys(" ".join(text.split()) for text in texts))


def _stack(path: Path, leads: Sequence[Any], format: str) -> NDArray[np.float32]:
    """Return leads as ``(lead, sample)`` in mV."""
    lengths = {len(lead.samples) for lead in leads}
    starts = {tuple(lead.annotations.get(name) for name in _STARTS) for lead in leads}
    if len(lengths) > 1 or len(starts) > 1:
        raise DataError(f"{path}: the leads were not recorded at the same time: {_list_lengths(leads)}")
    signal_mv = np.empty((len(leads), lengths.pop()), np.float32)
    for row, lead in zip(signal_mv, leads, strict=True):
        unit = lead.resolution_unit if lead.is_raw else lead.units
        if unit not in _MILLIVOLT:
            raise DataError(f"{path}: the lead {lead.label} has no unit of voltage that is known, got {unit or 'none'}")
        scale, shift = (lead.resolution, lead.offset) if lead.is_raw else (1.0, 0.0)
        row[:] = (lead.samples * scale + shift) * _MILLIVOLT[unit]
        if format == "ISHNE":
            row[lead.samples == _FAULT] = np.nan
    return signal_mv


def _list_lengths(leads: Sequence[Any]) -> str:
    starts = [[lead.annotations[name] for name in _STARTS if name in lead.annotations] for lead in leads]
    told = [
        f"{lead.label} {len(lead.samples)} samples{f' from {start[0]}' if start else ''}"
        for lead, start in zip(leads, starts, strict=True)
    ]
    return f"{', '.join(told[:12])}{', ...' if len(told) > 12 else ''}"


def _find_rate(path: Path, record: Any, leads: Sequence[Any]) -> float:
    """Return the sampling rate as the file says it; the library rounds its leads' to whole Hz."""
    rates = {lead.sampling_rate for lead in leads}
    said = record.raw_metadata
    if exact := said.get("exact_sampling_rates"):
        rates = {exact.get(lead.label, lead.sampling_rate) for lead in leads}
    if len(rates) > 1:
        told = ", ".join(f"{lead.label} {lead.sampling_rate} Hz" for lead in leads[:12])
        raise DataError(f"{path}: the leads have different sampling rates: {told}")
    rate_hz = float(rates.pop())
    if interval_us := said.get("rhythm_sample_interval_us"):
        rate_hz = 1e6 / interval_us
    rate_hz = said.get("rhythm_time", {}).get("sampling_rate_exact", rate_hz)
    if groups := list_rhythms(said):
        rate_hz = max(groups, key=lambda group: group["samples"] / group["sampling_frequency"])["sampling_frequency"]
    return float(round(rate_hz)) if abs(rate_hz - round(rate_hz)) < 1e-3 else float(rate_hz)


def _sort_warnings(warned: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return which of the library's warnings are to be told, and which of those are doubts about the signal."""
    told = [text for text in warned if not _OF_BEATS.search(text) or "(rhythm)" in text]
    told = [text for text in told if not _ABOUT_OTHERS.search(text)]
    told = [text for text in told if "additional multiplex group" not in text]  # `choose_groups` says more
    notes: list[str] = []
    guesses: list[str] = []
    if wrong := [found[1] for text in told if (found := _CRC_OF_LEAD.match(text))]:
        guesses.append(f"the checksum is not that of the samples: {', '.join(wrong)}")
        told = [text for text in told if not _CRC_OF_LEAD.match(text)]
    for text in told:
        if _SEVERAL.search(text):
            text = f"the file has several recordings: the first is read ({text})"
        (guesses if _SEVERAL.search(text) or _DOUBTFUL.search(text) else notes).append(text)
    return notes, guesses


def _describe_length(said: Mapping[str, Any]) -> list[str]:
    """Say where an ISHNE header, whose number of samples some count by lead and some in all, fits neither."""
    n_said, n_found = said.get("ecg_size", 0), said.get("samples_per_lead", 0)
    if not n_said or n_said in (n_found, n_found * len(said["lead_spec"])):
        return []
    return [f"the header announces {n_said} samples, the file has {n_found} of each lead: all of them are read"]


def _describe_patient(patient: Any) -> dict[str, float]:
    """Return what a file says of age (years) and sex (0 is male, 1 female)."""
    known: dict[str, float] = {}
    if patient.age is not None and 0 <= patient.age < 150:
        known["age"] = float(patient.age)
    if patient.sex in ("M", "F"):
        known["sex"] = float(patient.sex == "F")
    return known
