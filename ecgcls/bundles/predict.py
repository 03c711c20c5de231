"""Classify ECGs with the net in this folder; needs only numpy and onnxruntime (scipy for another sampling rate).

    python predict.py ecg.csv                          a table: a column for each lead (II, V1_mV, V2 (uV)) and time_s
    python predict.py ecg.csv --rate 500 --unit uV     what a file does not say itself
    python predict.py a.npy b.npy --rate 100 --json    arrays (lead, sample), the leads in metadata.json's order

In Python any other format, such as WFDB by the package wfdb:

    import wfdb
    from predict import load
    record = wfdb.rdrecord("00001_lr")
    load().predict(record.p_signal.T, sampling_rate_hz=record.fs, lead_names=record.sig_name)

Leads are found by name, missing limb leads derived, other sampling rates resampled, long recordings cut into stretches
whose probabilities are averaged: each is told as a note. What would take a guess is refused in one line. The package
ecgcls reads more formats, and also tells what is doubtful in an ECG: python -m ecgcls.predict bundle=FOLDER input=FILE

Exit code: 0, all files were predicted; 2, some could not be used; 1, the call or the bundle itself is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

try:
    import numpy as np
except ModuleNotFoundError as error:
    if __name__ != "__main__" or error.name != "numpy":
        raise
    sys.exit("numpy is not installed: pip install numpy onnxruntime")

DISCLAIMER = "research software, not a medical device"
MIN_RATE_HZ, MAX_RATE_HZ = 50.0, 10_000.0  # beyond these it is no ECG
MAX_AMPLITUDE_MV, MIN_RANGE_MV = 32.767, 0.02  # beyond these it is no ECG in mV
MIN_RECORDED_S = 1.0  # of a recording that is padded
OLDEST = 90.0  # years: the training data do not tell older ages apart
BATCH_SIZE = 64  # stretches at a time: the net takes no more memory for a longer recording

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LEAD = re.compile(r"(?:mdc[ _])?(?:e[ck]g[ _-]*)?(?:lead[ _-]*)?(?:d?(i{1,3})|(av[rlf])|[vc]([1-6]))", re.IGNORECASE)
DERIVED = (  # what follows from two limb leads, and their weights (doi:10.1161/CIRCULATIONAHA.106.180200)
    ("I", "III", {"II": (1.0, 1.0)}),
    ("II", "III", {"I": (1.0, -1.0)}),
    ("I", "II", {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}),
)
MILLIVOLT = {"mv": 1.0, "uv": 1e-3, "\u03bcv": 1e-3, "nv": 1e-6, "v": 1e3}
SECOND = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "milliseconds": 1e-3}
UNIT = "|".join([*MILLIVOLT, *SECOND])
COLUMN = re.compile(rf"(.+?)(?:\s*[(\[/]\s*({UNIT})\s*[)\]]?|[ _]({UNIT}))?")  # II, II (uV), II [uV], II/uV, II_uV
TIME = re.compile(rf"(?:elapsed[ _]?)?time|t|({'|'.join(SECOND)})")
RATE = re.compile(r"\s*#\s*(?:sampling_rate_hz|sampling_rate|fs)\s*[=:]\s*(\d+\.?\d*)\s*(?:hz)?\s*", re.IGNORECASE)

Recording = tuple[np.ndarray, float, list[str], list[str]]  # (lead, sample) in mV, sampling rate, lead names, notes


class ConfigError(ValueError):
    """Something was asked wrongly, or the bundle is damaged."""


class DataError(ValueError):
    """An ECG cannot be used."""


def load(folder: str | Path | None = None) -> Bundle:
    """Open a bundle, by default the one around this file; ConfigError if it is not complete or was changed."""
    folder = Path(__file__).parent if folder is None else Path(folder)
    try:
        sums = (folder / "SHA256SUMS.txt").read_text("utf-8").splitlines()
        content = {name: (folder / name).read_bytes() for name in ("metadata.json", "model.onnx")}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{folder}: not a whole bundle ({error})") from None
    for name, data in content.items():  # what is verified is what is used: no file is read twice
        if f"{hashlib.sha256(data).hexdigest()}  {name}" not in sums:
            raise ConfigError(f"{folder / name}: not the file that SHA256SUMS.txt lists; fetch the bundle again")
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError("onnxruntime is not installed: pip install onnxruntime") from None
    onnxruntime.set_default_logger_severity(3)  # errors alone
    try:
        info = json.loads(content["metadata.json"])
        if (info["format"], info["format_version"]) != ("ecgcls bundle", 1):
            raise ValueError(f"format_version must be 1, got {info['format_version']}")
        return Bundle(info, onnxruntime.InferenceSession(content["model.onnx"], providers=["CPUExecutionProvider"]))
    except Exception as error:  # onnxruntime has kinds of its own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"{folder}: not a bundle that this version can use ({reason})") from None


class Bundle:
    """A net that is ready to predict, and `info`, what metadata.json says of it."""

    def __init__(self, info: dict[str, Any], session: Any) -> None:
        self.info, self.session = info, session
        self.lead_names: list[str] = info["input"]["lead_names"]
        self.metadata_names: list[str] = info["input"]["metadata"]
        self.thresholds: dict[str, float] = {each["name"]: each["threshold"] for each in info["classes"]}

    @property
    def limits(self) -> list[str]:
        """What is to be known of all predictions, in words."""
        n_nets, limits = self.info.get("nets", {}).get("n", 1), []
        if n_nets > 1:
            limits.append(f"the mean of {n_nets} nets: neither it nor its thresholds were tested, each net was")
        if self.info.get("run", {}).get("synthetic"):
            limits.append("trained on simulated ECGs: these numbers say nothing about patients")
        return limits

    def predict(
        self, signal_mv: Any, *, sampling_rate_hz: float, lead_names: Sequence[str], metadata: Mapping[str, Any] = {}
    ) -> dict[str, Any]:
        """Predict one ECG, ``(lead, sample)`` in mV, whose leads are named in any order.

        Returns `probabilities`, `thresholds` and `decisions` by class, and `notes` of what was changed or is not known.
        DataError if the ECG cannot be used, ConfigError if the net does not take such `metadata`.
        """
        columns = self.take_metadata(metadata or {})
        stretches_mv, notes = prepare(signal_mv, float(sampling_rate_hz), list(lead_names), self.info["input"])
        found = []
        for start in range(0, len(stretches_mv), BATCH_SIZE):
            inputs = {"signal_mv": stretches_mv[start : start + BATCH_SIZE]}
            if self.metadata_names:
                inputs["metadata"] = columns.repeat(len(inputs["signal_mv"]), axis=0)
            found.append(self.session.run(["probabilities"], inputs)[0])
        mean = np.concatenate(found).mean(axis=0, dtype=np.float64).tolist()  # over (stretch, class)
        if not all(map(math.isfinite, mean)):
            raise DataError("the net's probabilities are not finite")
        unknown = [name for name, value in zip(self.metadata_names, columns[0]) if np.isnan(value)]
        return {
            "probabilities": dict(zip(self.thresholds, mean)),
            "thresholds": self.thresholds,
            "decisions": {name: value >= self.thresholds[name] for name, value in zip(self.thresholds, mean)},
            "notes": notes + [f"{name} is not known: taken as the training set's median" for name in unknown],
        }

    def take_metadata(self, given: Mapping[str, Any]) -> np.ndarray:
        """Return what the net takes beside the signal, ``(1, column)``, nan where it is not known."""
        values = dict.fromkeys(self.metadata_names, math.nan)
        for name, value in given.items():
            try:
                number = float("nan" if value is None else value)
            except (TypeError, ValueError):
                number = math.inf
            if name not in values or math.isinf(number):
                takes = f"the metadata {', '.join(values)} alone, as numbers" if values else "no metadata"
                raise ConfigError(f"the net takes {takes}; got {name}={value}")
            values[name] = min(number, OLDEST) if name == "age" else number
        return np.array([[*values.values()]], np.float32)


def prepare(signal: Any, rate_hz: float, names: list[str], wanted: Mapping[str, Any]) -> tuple[np.ndarray, list[str]]:
    """Return stretches ``(stretch, lead, sample)`` as metadata.json's `input` wants them, and notes."""
    to_hz, n_samples = float(wanted["sampling_rate_hz"]), int(wanted["n_samples"])
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        hint = "; are the times ms (then call the column time_ms)?" if 0 < rate_hz <= 10 else ""
        raise DataError(f"the sampling rate must be {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz, got {rate_hz:g}{hint}")
    signal, notes = order_leads(signal, names, wanted["lead_names"], may_lack=wanted["may_lack_leads"])
    found_s, needed_s = signal.shape[1] / rate_hz, n_samples / to_hz
    if rate_hz != to_hz:
        signal = resample(signal, rate_hz, to_hz)
        notes.append(f"resampled from {rate_hz:g} to {to_hz:g} Hz")
    if (n_missing := n_samples - signal.shape[1]) > 0:
        if wanted["shorter"] != "pad" or found_s < min(MIN_RECORDED_S, needed_s):
            raise DataError(f"too short: {found_s:g} s, the net needs {needed_s:g} s")
        signal = np.hstack([signal, signal.mean(axis=1, keepdims=True).repeat(n_missing, axis=1)])
        notes.append(f"padded from {found_s:g} to {needed_s:g} s with the mean of each lead")
    last = signal.shape[1] - n_samples
    starts = [*range(0, last, n_samples), last]  # the last stretch ends with the recording
    if len(starts) > 1:
        notes.append(f"cut into {len(starts)} stretches of {needed_s:g} s, whose probabilities are averaged")
    return np.stack([signal[:, start : start + n_samples] for start in starts]).astype(np.float32), notes


def order_leads(signal: Any, given: list[str], wanted: list[str], *, may_lack: bool) -> tuple[np.ndarray, list[str]]:
    """Return the wanted leads in order, checked, and notes; a missing one that the net may lack is nan."""
    signal = np.ma.filled(np.ma.asarray(signal, np.float64), np.nan)
    if signal.ndim != 2 or len(signal) != len(given) or not signal.size:
        raise DataError(f"expected an array (lead, sample) of {len(given)} leads, got {signal.shape}")
    names = [standardize(name) for name in given]
    rows = dict(zip(names, signal))
    derived = [name for name in wanted if name not in rows]
    for name in [*wanted, *(("I", "II", "III") if derived else ())]:
        if names.count(name) > 1:
            raise DataError(f"the lead {name} is given twice, among {', '.join(given)}")
    for one, two, weights in DERIVED if derived else ():
        if one in rows and two in rows:
            rows = {**{name: u * rows[one] + v * rows[two] for name, (u, v) in weights.items()}, **rows}
    there, absent = [name for name in wanted if name in rows], [name for name in wanted if name not in rows]
    if absent and not (may_lack and there):
        hint = "limb leads can be derived from two of I, II, III; others cannot"
        what = f"leads {', '.join(absent)} are" if len(absent) > 1 else f"lead {absent[0]} is"
        raise DataError(f"the {what} missing, got {', '.join(given)} ({hint})")
    check_values(np.stack([rows[name] for name in there]), there)
    others, derived = [g for g, name in zip(given, names) if not name], [name for name in derived if name in rows]
    notes = [f"left out: {', '.join(others)}"] if others else []
    notes += [f"derived from other limb leads: {', '.join(derived)}"] if derived else []
    notes += [f"not there, which the net has learned to do without: {', '.join(absent)}"] if absent else []
    return np.stack([rows.get(name, np.full(signal.shape[1], np.nan)) for name in wanted]), notes


def standardize(name: str) -> str | None:
    """Return a lead's standard name, such as II for DII and V1 for the electrode C1; None for another signal."""
    found = LEAD.fullmatch(name.strip())
    plain = found and (found[1] or found[2] or f"v{found[3]}").casefold()
    return next((lead for lead in LEADS if lead.casefold() == plain), None)


def check_values(signal_mv: np.ndarray, names: Sequence[str]) -> None:
    """Refuse what cannot be an ECG in mV."""
    lost = (~np.isfinite(signal_mv)).sum(axis=1)
    if lost.any():
        raise DataError("missing samples in " + ", ".join(f"{name} ({n})" for name, n in zip(names, lost) if n))
    largest, range_mv = np.abs(signal_mv).max(), np.ptp(signal_mv, axis=1).max()
    if largest > MAX_AMPLITUDE_MV:
        raise DataError(f"a sample of {largest:g} mV; an ECG stays within {MAX_AMPLITUDE_MV} mV: is it uV (--unit uV)?")
    if range_mv < MIN_RANGE_MV:
        hint = "is it in V, or is mV called uV?" if range_mv else "a flat line"
        raise DataError(f"all leads stay within {range_mv:.2g} mV; an ECG has at least {MIN_RANGE_MV:g} mV: {hint}")


def resample(signal: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Resample ``(lead, sample)`` by a polyphase filter, which prevents aliasing."""
    try:
        from scipy.signal import resample_poly
    except ImportError:
        raise DataError(
            f"it has {from_hz:g} Hz, the net takes {to_hz:g} Hz: to resample it, pip install scipy"
        ) from None
    ratio = (Fraction(str(to_hz)) / Fraction(str(from_hz))).limit_denominator(2000)
    offset = signal[:, :1]  # the filter's ripple grows with a signal's distance from 0
    return resample_poly(signal - offset, ratio.numerator, ratio.denominator, axis=1, padtype="edge") + offset


def read_array(path: Path, rate_hz: float | None, unit: str | None, lead_names: list[str]) -> Recording:
    """Read a .npy file of an array ``(lead, sample)``, whose rows are these leads."""
    with path.open("rb") as file:
        try:
            signal = np.lib.format.read_array(file, allow_pickle=False)
        except ValueError as error:
            raise DataError(f"not a .npy file of numbers ({error})") from None
    if signal.ndim != 2 or len(signal) != len(lead_names) or signal.dtype.kind not in "iuf":
        hint = ": transpose it (array.T)" if signal.ndim == 2 and signal.shape[1] == len(lead_names) else ""
        raise DataError(f"expected the leads {', '.join(lead_names)} as rows, got {signal.dtype} {signal.shape}{hint}")
    if rate_hz is None:
        raise DataError("no sampling rate, which a .npy file cannot state: add --rate 500")
    factors, notes = find_factors([""] * len(signal), unit)
    return signal * factors[:, None], rate_hz, lead_names, notes


def choose_rate(own_hz: float | None, given_hz: float | None) -> float:
    """Return the sampling rate that a file states, or else the given one; they must not contradict each other."""
    if own_hz is None and given_hz is None:
        raise DataError("no sampling rate: add --rate 500, a column time_s, or a first line # sampling_rate_hz=500")
    if own_hz and given_hz and abs(own_hz - given_hz) > 0.01 * own_hz:
        raise DataError(f"the file states {own_hz:g} Hz, --rate {given_hz:g} Hz")
    return own_hz or given_hz or 0.0


def find_factors(own: Sequence[str], given: str | None) -> tuple[np.ndarray, list[str]]:
    """Return by what to multiply signals to get mV: by their own units ('' if not stated), or else the given one."""
    default = (given or "mV").casefold()
    for unit in own:
        if unit and unit not in MILLIVOLT:
            raise DataError(f"the unit of a lead must be mV, uV, nV or V, got {unit}")
        if unit and given and MILLIVOLT[unit] != MILLIVOLT[default]:
            raise DataError(f"the file states {unit}, --unit {given}")
    notes = [] if given or all(own) else ["no unit is stated: taken as mV (if not, say --unit uV)"]
    return np.array([MILLIVOLT[unit or default] for unit in own]), notes


def read_table(path: Path, rate_hz: float | None, unit: str | None) -> Recording:
    """Read a table of samples, separated by commas, semicolons, tabs or bars, with a header that names the leads."""
    data = path.read_bytes()
    is_utf_16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    if path.suffix in (".hea", ".dat") or (not is_utf_16 and b"\0" in data) or data.lstrip()[:1] == b"<":
        raise DataError("neither a table nor a .npy file; --help shows what to do with other formats")
    try:
        text = data.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = text.splitlines()
    above, *rows = [line for line in lines if line.strip() and not re.match(r"\s*#|sep=.\s*$", line)] or [""]
    separator = max(",;\t|", key=above.count)
    header = [cell.strip(' "') for cell in above.split(separator)]
    found = [COLUMN.fullmatch(cell.casefold()) for cell in header]
    names = [cell[: match.end(1)].strip() if match else "" for cell, match in zip(header, found)]
    units = [(match[2] or match[3] or "") if match else "" for match in found]
    leads = [number for number, name in enumerate(names) if standardize(name)]
    if not leads or not rows:
        raise DataError(f"expected a header that names leads, such as I,II,V1, and rows of numbers; got {above[:60]!r}")
    times = [number for number, name in enumerate(names) if TIME.fullmatch(name.casefold())][:1]
    values = parse_rows(rows, separator, len(header), leads + times)
    own_hz = next((float(match[1]) for line in lines if (match := RATE.fullmatch(line))), None)
    for number in times:
        match = TIME.fullmatch(names[number].casefold())
        own_hz = measure_rate(values[-1] * SECOND.get(units[number] or (match and match[1]) or "s", math.nan))
    factors, notes = find_factors([units[number] for number in leads], unit)
    signal_mv = (values[: len(leads)] * factors[:, None]).astype(np.float32)
    others = [name for number, name in enumerate(names) if name and number not in leads + times]
    notes += [f"left out: {', '.join(others)}"] if others else []
    return signal_mv, choose_rate(own_hz, rate_hz), [names[number] for number in leads], notes


def parse_rows(rows: Sequence[str], separator: str, n_columns: int, chosen: Sequence[int]) -> np.ndarray:
    """Return some columns of a table as ``(column, sample)``; with another separator, commas are decimal ones."""
    values = []
    for number, row in enumerate(rows, 1):
        cells = (row if separator == "," else row.replace(",", ".")).split(separator)
        try:
            if len(cells) != n_columns:
                raise ValueError(f"{len(cells)} cells, the header has {n_columns}")
            values.append([float(cells[column].strip(' "')) for column in chosen])
        except ValueError as error:
            raise DataError(f"row {number} below the header: {error}") from None
    return np.array(values).T


def measure_rate(times_s: np.ndarray) -> float:
    """Return the sampling rate of evenly spaced times, a whole number of Hz if they follow it."""
    duration_s, n_steps = float(times_s[-1] - times_s[0]), len(times_s) - 1
    if not duration_s > 0:  # also nan
        raise DataError("the times must rise from row to row")
    for rate_hz in (float(round(n_steps / duration_s)), n_steps / duration_s):
        drift = np.abs((times_s - times_s[0]) * rate_hz - np.arange(n_steps + 1))  # in samples
        if rate_hz and drift.max() <= 0.6:  # rounded times stay within half a sample
            return rate_hz
    raise DataError(f"the times are not evenly spaced (about {n_steps / duration_s:.4g} Hz): samples are missing")


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict files, print what is found, and return the exit code."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="predict.py", description=__doc__, formatter_class=form)
    parser.error = lambda message: sys.exit(f"{message}; see --help")  # type: ignore[method-assign]
    parser.add_argument("files", nargs="+", help="tables (.csv, .tsv, .txt) or arrays (.npy)")
    parser.add_argument("--rate", type=float, metavar="HZ", help="sampling rate of files that do not state it")
    parser.add_argument("--unit", choices=["mV", "uV", "nV", "V"], help="unit of files that do not state it")
    parser.add_argument("--metadata", nargs="+", default=[], metavar="NAME=NUMBER", help="such as age=63 sex=1")
    parser.add_argument("--json", action="store_true", help="print one JSON object a file, each on its line")
    asked = parser.parse_args(arguments)
    n_failed = 0
    try:
        bundle, metadata = load(), dict(pair.partition("=")[::2] for pair in asked.metadata)
        bundle.take_metadata(metadata)  # what is wrong in it is wrong for all files
        for file in asked.files:
            try:
                stated = Path(file), asked.rate, asked.unit
                read = read_array(*stated, bundle.lead_names) if file.endswith(".npy") else read_table(*stated)
                signal_mv, rate_hz, names, notes = read
                found = bundle.predict(signal_mv, sampling_rate_hz=rate_hz, lead_names=names, metadata=metadata)
                found["notes"] = notes + found["notes"]
                print(
                    json.dumps({"file": file, **found, "limits": bundle.limits, "disclaimer": DISCLAIMER})
                    if asked.json
                    else show(file, found)
                )
            except (DataError, OSError) as error:
                n_failed += 1
                reason = str(getattr(error, "strerror", None) or error)
                print(f"not used: {file}: {reason}", file=sys.stderr)
                if asked.json:
                    print(json.dumps({"file": file, "error": reason}))
    except ConfigError as error:
        sys.exit(str(error))  # which is exit code 1
    if not asked.json:
        print("\n".join([f"{bundle.info['name']} {bundle.info['version']}: {DISCLAIMER}", *bundle.limits]))
    return 2 if n_failed else 0


def show(file: str, found: Mapping[str, Any]) -> str:
    """Return what was found as a table."""
    width = max(map(len, ["class", *found["probabilities"]]))
    lines = [file, *(f"  note: {note}" for note in found["notes"])]
    lines.append(f"  {'class':{width}}  probability  threshold  decision")
    for name, value in found["probabilities"].items():
        decision = "yes" if found["decisions"][name] else "no"
        lines.append(f"  {name:{width}}  {value:11.4f}  {found['thresholds'][name]:9.4f}  {decision}")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
