"""Small ECG files in the formats of devices, written here because no device's own file may be copied.

Every writer takes ``(lead, sample)`` in mV, the leads' names and the sampling rate. Real files hold far more; what is
here is what a reader needs, and what may mislead it: averaged beats beside the rhythm, gains in microvolt per bit.
"""

import base64
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""What a device records of the twelve leads; the four others follow."""
BEAT_MV = 0.7
"""What averaged beats are everywhere, and no rhythm of the tests is."""


def draw_leads(n_samples: int) -> np.ndarray:
    """Return twelve leads, of which the limb leads fit together, ``(lead, sample)``, mV, at most three digits."""
    steps = np.random.default_rng(0).normal(0, 0.02, (12, n_samples))
    signal = np.clip(np.cumsum(steps, axis=1), -2, 2)
    one, two = signal[:2]
    signal[2:6] = two - one, -(one + two) / 2, one - two / 2, two - one / 2
    return np.round(signal, 3)


def to_counts(signal_mv: ArrayLike, uv_per_bit: float) -> NDArray[np.int16]:
    """Return samples as a device stores them."""
    return np.rint(np.asarray(signal_mv, float) * 1e3 / uv_per_bit).astype(np.int16)


def write_muse(
    path: Path,
    signal_mv: ArrayLike,
    lead_names: Sequence[str],
    sampling_rate_hz: int,
    *,
    uv_per_bit: float = 1.0,
    units: str = "MICROVOLTS",
    age: object = "",
    sex: str = "",
    n_rhythms: int = 1,
    crc_off: int | None = None,
    first_sample: int = 0,
) -> Path:
    """Write GE MUSE XML: Base64 int16 by lead, the averaged beats before the rhythm.

    `crc_off` is how far the checksums are off; None: there are none.
    """

    def describe(row: NDArray[np.int16]) -> str:
        crc = "" if crc_off is None else f"{zlib.crc32(row.astype('<i2').tobytes()) + crc_off}"
        return f"<LeadDataCRC32>{crc}</LeadDataCRC32><FirstSampleBaseline>{first_sample}</FirstSampleBaseline>"

    def waveform(kind: str, counts: NDArray[np.int16]) -> str:
        leads = "".join(
            f"<LeadData>{describe(row)}<LeadSampleCountTotal>{len(row)}</LeadSampleCountTotal>"
            f"<LeadAmplitudeUnitsPerBit>{uv_per_bit:g}</LeadAmplitudeUnitsPerBit>"
            f"<LeadAmplitudeUnits>{units}</LeadAmplitudeUnits><LeadID>{name}</LeadID><LeadSampleSize>2</LeadSampleSize>"
            f"<WaveFormData>{base64.encodebytes(row.astype('<i2').tobytes()).decode()}</WaveFormData></LeadData>"
            for name, row in zip(lead_names, counts, strict=True)
        )
        return (
            f"<Waveform><WaveformType>{kind}</WaveformType><SampleType>CONTINUOUS_SAMPLES</SampleType>"
            f"<SampleBase>{sampling_rate_hz}</SampleBase><SampleExponent>0</SampleExponent>{leads}</Waveform>"
        )

    counts = to_counts(signal_mv, uv_per_bit)
    beats = to_counts(np.full((len(counts), sampling_rate_hz), BEAT_MV), uv_per_bit)
    path.write_text(
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n<RestingECG>'
        "<MuseInfo><MuseVersion>8.0.1</MuseVersion></MuseInfo>"
        f"<PatientDemographics><PatientID>1</PatientID><PatientAge>{age}</PatientAge><AgeUnits>YEARS</AgeUnits>"
        f"<Gender>{sex}</Gender></PatientDemographics>"
        f"{waveform('Median', beats)}{n_rhythms * waveform('Rhythm', counts)}</RestingECG>\n",
        "latin-1",
    )
    return path


def write_aecg(
    path: Path,
    signal_mv: ArrayLike,
    lead_names: Sequence[str],
    sampling_rate_hz: float,
    *,
    uv_per_bit: float = 1.0,
    unit: str = "uV",
    age: object = None,
    sex: str = "",
    n_rhythms: int = 1,
) -> Path:
    """Write an HL7 annotated ECG: digits as text, the averaged beats as a derived series; `unit` is the scale's."""
    scale = uv_per_bit * {"uV": 1.0, "mV": 1e-3, "V": 1e-6}.get(unit, 1.0)

    def series(kind: str, counts: NDArray[np.int16], inside: str = "") -> str:
        name = "derivedSeries" if inside == "derived" else "series"
        rows = "".join(
            f'<component><sequence><code code="MDC_ECG_LEAD_{lead.upper()}" codeSystem="2.16.840.1.113883.6.24"/>'
            f'<value xsi:type="SLIST_PQ"><origin value="0" unit="{unit}"/><scale value="{scale:g}" unit="{unit}"/>'
            f"<digits>{' '.join(map(str, row))}</digits></value></sequence></component>"
            for lead, row in zip(lead_names, counts, strict=True)
        )
        beat = f"<derivation>{series('REPRESENTATIVEBEAT_MV', beats, 'derived')}</derivation>" if not inside else ""
        return (
            f'<{name}><code code="{kind}" codeSystem="2.16.840.1.113883.5.4"/><component><sequenceSet><component>'
            '<sequence><code code="TIME_ABSOLUTE"/><value xsi:type="GLIST_TS"><head value="20240501103000"/>'
            f'<increment value="{1 / sampling_rate_hz:.12g}" unit="s"/></value></sequence></component>{rows}'
            f"</sequenceSet></component>{beat}</{name}>"
        )

    counts = to_counts(signal_mv, uv_per_bit)
    beats = to_counts(np.full((len(counts), 100), BEAT_MV), uv_per_bit)
    rhythm = f"<component>{series('RHYTHM', counts)}</component>"
    told = "" if age is None else f'<code code="21612-7"/><value xsi:type="PQ" value="{age}" unit="a"/>'
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<AnnotatedECG xmlns="urn:hl7-org:v3" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><componentOf><timepointEvent><componentOf>'
        f'<subjectAssignment><subject><trialSubject><subjectDemographicPerson><administrativeGenderCode code="{sex}"/>'
        "</subjectDemographicPerson></trialSubject></subject></subjectAssignment></componentOf></timepointEvent>"
        f"</componentOf><controlVariable><relatedObservation>{told}</relatedObservation></controlVariable>"
        f"{n_rhythms * rhythm}</AnnotatedECG>\n",
        "utf-8",
    )
    return path


def write_sierra(
    path: Path,
    signal_mv: ArrayLike,
    lead_names: Sequence[str],
    sampling_rate_hz: int,
    *,
    uv_per_bit: float = 5.0,
    version: str = "1.04.01",
    encoding: str = "utf-8",
    age: object = "",
    sex: str = "",
    pulse: bool = True,
) -> Path:
    """Write Philips Sierra XML, not compressed, with a calibration pulse after the ECG as devices have it."""
    signal = np.asarray(signal_mv, float)
    if pulse:
        end = np.repeat(np.repeat([0.0, 1.0, 0.0], [4, 2, 4]), sampling_rate_hz // 10)  # a second
        signal = np.concatenate([signal, np.tile(end, (len(signal), 1))], axis=1)
    counts = to_counts(signal, uv_per_bit)
    milliseconds = round(1000 * counts.shape[1] / sampling_rate_hz)
    old = version == "1.03"
    labels = "" if old else f' leadlabels="{" ".join(lead_names)}" numberofleads="{len(lead_names)}"'
    resolution = "signalresolution" if old else "resolution"
    beat = base64.b64encode(to_counts(np.full(400, BEAT_MV), uv_per_bit).astype("<i2").tobytes()).decode()
    kind = "SierraECG" if old else "PhilipsECG"
    path.write_text(
        f'<?xml version="1.0" encoding="{encoding}"?>\n<restingecgdata xmlns="http://www3.medical.philips.com">'
        f"<documentinfo><documenttype>{kind}</documenttype><documentversion>{version}</documentversion></documentinfo>"
        f"<patient><generalpatientdata><age><years>{age}</years></age><sex>{sex}</sex></generalpatientdata></patient>"
        f"<dataacquisition><signalcharacteristics><samplingrate>{sampling_rate_hz}</samplingrate>"
        f"<{resolution}>{uv_per_bit:g}</{resolution}><acquisitiontype>STD-12</acquisitiontype>"
        f"<numberchannelsallocated>{len(counts)}</numberchannelsallocated></signalcharacteristics></dataacquisition>"
        f'<waveforms><parsedwaveforms dataencoding="Base64" durationperchannel="{milliseconds}"{labels}>'
        f"{base64.b64encode(counts.astype('<i2').tobytes()).decode()}</parsedwaveforms>"
        f'<repbeats dataencoding="Base64" samplespersec="{sampling_rate_hz}" resolution="{uv_per_bit:g}">'
        f'<repbeat leadname="I"><waveform duration="{400_000 // sampling_rate_hz}">{beat}</waveform></repbeat>'
        "</repbeats></waveforms>"
        "</restingecgdata>\n",
        encoding,
    )
    return path


def write_csv(
    path: Path,
    signal_mv: ArrayLike,
    lead_names: Sequence[str],
    sampling_rate_hz: float,
    *,
    time: str = "time_s",
    unit: str = "mV",
    separator: str = ",",
) -> Path:
    """Write a table of samples with the leads as columns; without a column of times if `time` is empty."""
    rows = np.asarray(signal_mv, float).T * {"mV": 1.0, "uV": 1e3}[unit]
    header = [name if unit == "mV" else f"{name} ({unit})" for name in lead_names]
    per_second = 1e3 if "ms" in time else 1.0
    shown = [[f"{value:.6g}" for value in row] for row in rows]
    times = [f"{number / sampling_rate_hz * per_second:.6f}" for number in range(len(rows))]
    lines = [[*([time] if time else []), *header]]
    lines += [[*([at] if time else []), *row] for at, row in zip(times, shown, strict=True)]
    path.write_text("".join(f"{separator.join(line)}\n" for line in lines))
    return path
