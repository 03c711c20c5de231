"""Small ECG files in the binary formats of devices, as `tests.data.device_files` writes those in text."""

import binascii
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset, FileMetaDataset

from tests.data.device_files import BEAT_MV, to_counts

_SCP_CODES = ("", "I", "II", "V1", "V2", "V3", "V4", "V5", "V6") + 52 * ("",) + ("III", "aVR", "aVL", "aVF")
_ISHNE_CODES = (*5 * ("",), "I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def write_dicom(
    path: Path,
    signal_mv: ArrayLike,
    lead_names: Sequence[str],
    sampling_rate_hz: float,
    *,
    uv_per_bit: float = 1.0,
    correction: float = 1.0,
    baseline_uv: float = 0.0,
    unit: str = "uV",
    age: str = "",
    sex: str = "",
    labels: Sequence[str] = ("MEDIAN BEAT", "RHYTHM"),
    offsets_ms: Sequence[float] = (),
    parts: Sequence[slice] = (),
) -> Path:
    """Write a DICOM 12-lead ECG: a group of averaged beats, and the rhythm, of which `parts` may choose the leads."""
    counts = to_counts(np.asarray(signal_mv) - baseline_uv / 1e3, uv_per_bit * correction)
    beats = to_counts(np.full((len(counts), 100), BEAT_MV), uv_per_bit)
    groups = []
    for number, label in enumerate(labels):
        rows = beats if "MEDIAN" in label or "unlabeled" in label else counts
        names = list(lead_names)
        if parts and rows is counts:
            rows, names = rows[parts[number]], names[parts[number]]
        group = Dataset()
        if "unlabeled" not in label:
            group.MultiplexGroupLabel = label
        group.WaveformOriginality, group.NumberOfWaveformChannels = "ORIGINAL", len(rows)
        group.NumberOfWaveformSamples, group.SamplingFrequency = rows.shape[1], sampling_rate_hz
        group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
        group.MultiplexGroupTimeOffset = offsets_ms[number] if offsets_ms else 0
        group.WaveformData = rows.T.astype("<i2").tobytes()
        group.ChannelDefinitionSequence = [
            _describe_channel(name, uv_per_bit, correction, baseline_uv, unit) for name in names
        ]
        groups.append(group)
    whole = Dataset()
    whole.SOPClassUID, whole.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.3"
    whole.Modality, whole.PatientAge, whole.PatientSex, whole.WaveformSequence = "ECG", age, sex, groups
    whole.file_meta = FileMetaDataset()
    whole.file_meta.MediaStorageSOPClassUID, whole.file_meta.MediaStorageSOPInstanceUID = whole.SOPClassUID, "1.2.3"
    whole.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    whole.save_as(path, enforce_file_format=True)
    return path


def _describe_channel(name: str, sensitivity: float, correction: float, baseline: float, unit: str) -> Dataset:
    source, units, channel = Dataset(), Dataset(), Dataset()
    source.CodeValue, source.CodingSchemeDesignator = f"5.6.3-9-{_SCP_CODES.index(name)}", "SCPECG"
    source.CodeMeaning = f"Lead {name}"
    units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = unit, "UCUM", unit
    channel.ChannelSourceSequence, channel.ChannelSensitivityUnitsSequence = [source], [units]
    channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = sensitivity, correction
    channel.ChannelBaseline, channel.WaveformBitsStored = baseline, 16
    return channel


def write_edf(
    path: Path,
    signals: Sequence[ArrayLike],
    labels: Sequence[str],
    rates_hz: Sequence[int],
    *,
    unit: str = "uV",
    n_announced: int | None = None,
    patient: str = "X F 01-JAN-1960 X",
    kind: str = "EDF+C",
) -> Path:
    """Write EDF of signals in the unit given, each with its own rate, in data records of a second."""
    n_seconds = len(np.asarray(signals[0])) // rates_hz[0]
    limits = [max(1.0, float(np.abs(signal).max())) for signal in signals]
    n = len(labels)
    low, high = [f"{-limit:.6g}"[:8] for limit in limits], [f"{limit:.6g}"[:8] for limit in limits]
    columns = [(16, labels), (80, [""] * n), (8, [unit] * n), (8, low), (8, high), (8, [-32767] * n), (8, [32767] * n)]
    columns += [(80, [""] * n), (8, rates_hz), (32, [""] * n)]
    head = [(8, 0), (80, patient), (80, "Startdate 01-JAN-2020 X X X"), (8, "01.01.20"), (8, "00.00.00")]
    head += [(8, 256 * (len(labels) + 1)), (44, kind), (8, n_announced or n_seconds), (8, 1), (4, len(labels))]
    fields = [*head, *((width, value) for width, values in columns for value in values)]
    blocks = []
    for second in range(n_seconds):
        for signal, rate_hz, limit in zip(signals, rates_hz, limits, strict=True):
            part = np.asarray(signal)[second * rate_hz : (second + 1) * rate_hz]
            blocks.append(np.rint(part / float(f"{limit:.6g}"[:8]) * 32767).astype("<i2").tobytes())
    path.write_bytes("".join(f"{value!s:<{width}}" for width, value in fields).encode("latin-1") + b"".join(blocks))
    return path


def write_ishne(
    path: Path,
    signal_mv: ArrayLike,
    lead_names: Sequence[str],
    sampling_rate_hz: int,
    *,
    uv_per_bit: float = 1.0,
    sex: int = 2,
    n_announced: int | None = None,
) -> Path:
    """Write an ISHNE Holter file; the format has a birth date, and no age."""
    counts = to_counts(signal_mv, uv_per_bit)
    twelve = [0] * (12 - len(counts))
    header = struct.pack("<iiiih40s40s20s", 0, n_announced or counts.shape[1], 522, 522, 1, b"", b"", b"")
    header += struct.pack("<hh3h3h3h3h", sex, 0, 1, 1, 1960, 1, 5, 2020, 1, 5, 2020, 10, 30, 0)
    header += struct.pack(
        "<h12h12h", len(counts), *(_ISHNE_CODES.index(name) for name in lead_names), *twelve, *[1] * 12
    )
    header += struct.pack("<12hh40sh", *[round(uv_per_bit * 1e3)] * 12, 0, b"digital", sampling_rate_hz)
    block = header.ljust(512, b"\0")
    path.write_bytes(
        b"ISHNE1.0" + struct.pack("<H", binascii.crc_hqx(block, 0xFFFF)) + block + counts.T.astype("<i2").tobytes()
    )
    return path


def write_scp(
    path: Path,
    signal_mv: ArrayLike,
    lead_names: Sequence[str],
    sampling_rate_hz: int,
    *,
    uv_per_bit: float = 1.0,
    age: int = 63,
    sex: int = 2,
    is_packed: bool = False,
) -> Path:
    """Write SCP-ECG: a reference beat in section 5, the rhythm in section 6, packed by second differences if asked."""
    counts = to_counts(signal_mv, uv_per_bit)
    beats = to_counts(np.full((len(counts), 2 * sampling_rate_hz // 10), BEAT_MV), uv_per_bit)
    codes = [_SCP_CODES.index(name) for name in lead_names]
    tags = (
        struct.pack("<BHHB", 5, 4, 1960, 1)
        + b"\1"
        + struct.pack("<BHHB", 4, 3, age, 1)
        + struct.pack("<BHB", 8, 1, sex)
    )
    sections = {1: tags.replace(b"\5\4\0", b"\5\4\0", 1) + b"\xff\0\0"}
    if is_packed:
        sections[2] = struct.pack("<H", 19999)
    leads = b"".join(struct.pack("<IIB", 1, counts.shape[1], code) for code in codes)
    sections[3] = bytes([len(codes), 0x04 | len(codes) << 3 & 0xF8]) + leads
    sections[4] = struct.pack("<HHH", 200, 1, 0)
    for number, rows in ((5, beats), (6, counts)):
        packed = [_pack_differences(row) if is_packed else row.astype("<i2").tobytes() for row in rows]
        start = struct.pack("<HHBB", round(uv_per_bit * 1e3), round(1e6 / sampling_rate_hz), 2 * is_packed, 0)
        sections[number] = start + struct.pack(f"<{len(packed)}H", *map(len, packed)) + b"".join(packed)
    pointers, bodies, at = [(0, 136, 7)], b"", 6 + 136
    for number in range(1, 12):
        body = _close_section(number, sections[number]) if number in sections else b""
        pointers.append((number, len(body), at + 1 if body else 0))
        bodies, at = bodies + body, at + len(body)
    whole = _close_section(0, b"".join(struct.pack("<HII", *each) for each in pointers)) + bodies
    whole = struct.pack("<I", len(whole) + 6) + whole
    path.write_bytes(struct.pack("<H", binascii.crc_hqx(whole, 0xFFFF)) + whole)
    return path


def _close_section(number: int, body: bytes) -> bytes:
    body += b"\0" * (len(body) % 2)
    rest = struct.pack("<HIBB6s", number, len(body) + 16, 13, 13, b"SCPECG" if not number else b"") + body
    return struct.pack("<H", binascii.crc_hqx(rest, 0xFFFF)) + rest


def _pack_differences(row: NDArray[np.int16]) -> bytes:
    """Pack a lead by second differences in the standard's default Huffman code (EN 1064, annex C)."""
    differences = np.concatenate([row[:2].astype(int), np.diff(row.astype(int), 2)])
    bits = ""
    for value in differences.tolist():
        if abs(value) <= 8:
            bits += "1" * abs(value) + "0" + ("" if not value else str(int(value < 0)))
        elif -128 <= value < 128:
            bits += f"1111111110{value & 0xFF:08b}"
        else:
            bits += f"1111111111{value & 0xFFFF:016b}"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")
