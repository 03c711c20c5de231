"""How many copies of an ECG are found, however they were processed: ``python -m benchmarks.copies --root PTBXL``.

Among the records of a folder in PTB-XL's layout, copies of records drawn at random are hidden: as many of each kind,
each of another record. One search over all of them is counted: the copies found of each kind, pairs of records that are
not copies, and the time that it took. It is repeated with other records. Copies of the 500 Hz files, where there are
some, are decimated in two ways.

What a run keeps of its training records is counted as well: how many of the copies are recognized by it, and how many
records, copies or not, are taken for another.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import butter, resample_poly, sosfiltfilt

from benchmarks.findings import describe_machine, replace_table
from ecgcls.data.copies import find_pairs
from ecgcls.data.ptbxl import PTBXL
from ecgcls.data.signals import LEADS, read_record
from ecgcls.data.store import open_store
from ecgcls.data.waveforms import find_known, sign_waveforms

_RESULTS = Path(__file__).parent / "copies.json"
_README = Path(__file__).parent / "README.md"
_RATE_HZ = 100

Alter = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]
"""Takes ``(lead, sample)`` in microvolt."""


def _add_noise(size_uv: float) -> Alter:
    return lambda signal, generator: signal + generator.normal(0, size_uv, signal.shape)


def _shift(seconds: float) -> Alter:
    """Cut out a moment later: what follows the end of the record is not known, and its mirror image stands for it."""

    def shift(signal: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
        n_later = round(seconds * _RATE_HZ)
        return np.concatenate([signal[:, n_later:], signal[:, : -n_later - 1 : -1]], axis=1)

    return shift


def _filter(order: int, band_hz: float | list[float], kind: str) -> Alter:
    sections = butter(order, band_hz, kind, fs=_RATE_HZ, output="sos")
    return lambda signal, generator: sosfiltfilt(sections, signal, axis=1)


def _flatten(*leads: str) -> Alter:
    def flatten(signal: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
        return np.where(np.isin(LEADS, leads)[:, None], 0.0, signal)

    return flatten


def _exchange_arms(signal: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    return np.concatenate([-signal[:1], signal[[2, 1, 4, 3]], signal[5:]])


def _wander(signal: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    seconds = np.arange(signal.shape[1]) / _RATE_HZ
    rate_hz, phase = generator.uniform(0.1, 0.4, (12, 1)), generator.uniform(0, 1, (12, 1))
    return signal + 200 * np.sin(2 * np.pi * (rate_hz * seconds + phase))


def _delay(signal: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Move by 4 ms, less than a sample, as a filter before decimation may."""
    frequency = np.fft.rfftfreq(signal.shape[1], 1 / _RATE_HZ)
    spectrum = np.fft.rfft(signal) * np.exp(-2j * np.pi * frequency * 0.004) * np.interp(frequency, [40, 50], [1, 0])
    return np.fft.irfft(spectrum, signal.shape[1])


def _both(first: Alter, second: Alter) -> Alter:
    return lambda signal, generator: second(first(signal, generator), generator)


_BAND = _filter(2, [0.5, 40], "bandpass")
KINDS: dict[str, Alter] = {
    "noise of 20 microvolt": _add_noise(20),
    "noise of 50 microvolt": _add_noise(50),
    "2.4 s later": _shift(2.4),
    "1.27 s later": _shift(1.27),
    "5% gain by lead": lambda signal, generator: signal * generator.normal(1, 0.05, (12, 1)),
    "scaled by 0.8, offset": lambda signal, generator: 0.8 * signal + 40,
    "filtered, 0.5 to 40 Hz": _BAND,
    "drift removed, 0.67 Hz": _filter(2, 0.67, "highpass"),
    "drift added, 0.2 mV": _wander,
    "delayed by 4 ms": _delay,
    "V1 flat": _flatten("V1"),
    "II flat": _flatten("II"),
    "limb leads flat": _flatten(*LEADS[:6]),
    "clipped at 1 mV": lambda signal, generator: signal.clip(-1000, 1000),
    "clipped at 0.5 mV": lambda signal, generator: signal.clip(-500, 500),
    "clipped at 0.3 mV": lambda signal, generator: signal.clip(-300, 300),
    "inverted": lambda signal, generator: -signal,
    "arm electrodes exchanged": _exchange_arms,
    "2.4 s later, noise of 50 microvolt": _both(_shift(2.4), _add_noise(50)),
    "2.4 s later, clipped at 0.5 mV": _both(_shift(2.4), lambda signal, generator: signal.clip(-500, 500)),
    "2.4 s later, filtered": _both(_shift(2.4), _BAND),
    "2.4 s later, inverted": _both(_shift(2.4), lambda signal, generator: -signal),
    "V1 flat, noise of 50 microvolt": _both(_flatten("V1"), _add_noise(50)),
    "filtered, noise of 50 microvolt": _both(_add_noise(50), _BAND),
    "5% gain by lead, drift added": _both(lambda s, g: s * g.normal(1, 0.05, (12, 1)), _wander),
    "reversed in time": lambda signal, generator: signal[:, ::-1],
}


FINE = {
    "500 Hz file, resampled": lambda signal: resample_poly(signal, 1, 5, axis=1),
    "500 Hz file, every fifth sample": lambda signal: signal[:, 2::5],
}
Planted = list[tuple[str, int, NDArray[np.int16]]]
"""Of each copy: its kind, the row that it is a copy of, and the signal."""


def plant(signals_uv: NDArray[np.int16], n_each: int, generator: np.random.Generator) -> Planted:
    """Copy as many records for each kind, each record once."""
    rows = generator.permutation(len(signals_uv))[: n_each * len(KINDS)].reshape(len(KINDS), -1)
    return [
        (kind, int(row), _to_samples(alter(signals_uv[row].astype(float), generator)))
        for (kind, alter), of_kind in zip(KINDS.items(), rows, strict=True)
        for row in of_kind
    ]


def plant_fine(root: Path, ecg_ids: NDArray[np.int64], n_each: int, generator: np.random.Generator) -> Planted:
    """Copy 500 Hz files of another folder, of records that are here at 100 Hz."""
    files = PTBXL(root=root, sampling_rate_hz=500).read_records()["filename"]
    row_of = {int(ecg_id): row for row, ecg_id in enumerate(ecg_ids)}
    there = [ecg_id for ecg_id in files.index if ecg_id in row_of and (root / f"{files[ecg_id]}.hea").is_file()]
    shared = generator.permutation(there)
    return [
        (kind, row_of[int(ecg_id)], _to_samples(decimate(read_record(root / files[ecg_id]).signal_uv.astype(float))))
        for kind, decimate in FINE.items()
        for ecg_id in shared[:n_each]
    ]


def _to_samples(signal: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.rint(signal).clip(-32767, 32767).astype(np.int16)


def search(signals_uv: NDArray[np.int16], planted: Planted) -> dict[str, Any]:
    """Search all records and copies at once."""
    n_records, copies = len(signals_uv), np.stack([copy for *_, copy in planted])
    everything = np.concatenate([signals_uv, copies])
    start, cpu = time.perf_counter(), time.process_time()
    pairs = find_pairs(everything, np.arange(len(everything)), sampling_rate_hz=_RATE_HZ)
    used = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    true = {(row, n_records + number): kind for number, (kind, row, _) in enumerate(planted)}
    kinds = [true[pair[:2]] for pair in pairs if pair[:2] in true]
    false = [pair for pair in pairs if pair[:2] not in true and not _is_alike(pair[:2], n_records, planted)]
    among = [pair for pair in false if pair.second < n_records]
    return {"found": pd.Series(kinds).value_counts().to_dict(), "false_with_a_copy": len(false) - len(among),
            "false_among_records": len(among), **used}  # fmt: skip


def _is_alike(pair: tuple[int, int], n_records: int, planted: Planted) -> bool:
    """Whether both are of one record."""
    first, second = (planted[each - n_records][1] if each >= n_records else each for each in pair)
    return first == second


def recognize(signals_uv: NDArray[np.int16], planted: Planted) -> dict[str, Any]:
    """Look for the copies among what is kept of the records, and for one half of the records among the other."""

    def sign(signals: NDArray[np.int16], ids: NDArray[np.int64]) -> Any:
        store: Any = SimpleNamespace(signals_uv=signals, ecg_ids=ids, n_samples=signals.shape[-1])
        store.manifest = {"sampling_rate_hz": _RATE_HZ}
        return sign_waveforms(store, np.arange(len(signals)))

    rows = np.arange(len(signals_uv))
    known = sign(signals_uv, rows)
    copies = sign(np.stack([copy for *_, copy in planted]), np.arange(len(planted)))
    found = find_known(copies, known)
    right = [planted[int(each.ecg_id)][0] for each in found if planted[int(each.ecg_id)][1] == each.known_id]
    halves = [sign(signals_uv[start::2], rows[start::2]) for start in (0, 1)]
    return {"found": pd.Series(right).value_counts().to_dict(), "wrong": len(found) - len(right),
            "false_among_halves": len(find_known(*halves))}  # fmt: skip


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.copies", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="a folder in PTB-XL's layout, with 100 Hz files")
    parser.add_argument("--fine", type=Path, help="a folder with 500 Hz files of some of these records")
    parser.add_argument("--store", type=Path, help="where the signal store is (default: in the folder)")
    parser.add_argument("--each", type=int, default=60, help="copies of each kind (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=2, help="with other records (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    parser.add_argument("--readme", action="store_true", help="put the table into benchmarks/README.md")
    arguments = parser.parse_args()
    files = PTBXL(root=arguments.root).read_records()["filename"]
    store = open_store(arguments.root, files, sampling_rate_hz=_RATE_HZ, store_dir=arguments.store)
    signals_uv = store.signals_uv[store.find_rows(files.index)]
    searched, recognized, kinds = [], [], []
    for seed in range(arguments.repeats):
        generator = np.random.default_rng(seed)
        planted = plant(signals_uv, arguments.each, generator)
        if arguments.fine and not seed:  # there are few: each is copied once
            planted += plant_fine(arguments.fine, files.index.to_numpy(), arguments.each, generator)
        kinds += [kind for kind, *_ in planted]
        searched.append(search(signals_uv, planted))
        recognized.append(recognize(signals_uv, planted))
        print(seed, searched[-1], recognized[-1], flush=True)
        content = _gather(pd.Series(kinds).value_counts(), searched, recognized) | {"n_records": len(signals_uv)}
        arguments.results.write_text(json.dumps(content, indent=2) + "\n")
    print(tabulate(content))
    if arguments.readme:
        replace_table(_README, tabulate(content), mark="copies")


def _gather(n_planted: pd.Series, searched: list[dict[str, Any]], recognized: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the results, lists by repeat."""
    counted = ("false_with_a_copy", "false_among_records", "seconds", "cpu_seconds")
    return {
        "repeats": len(searched),
        "machine": describe_machine(),
        "searched": {name: [each[name] for each in searched] for name in counted},
        "kept": {name: [each[name] for each in recognized] for name in ("wrong", "false_among_halves")},
        "kinds": {
            kind: {
                "planted": int(n_planted[kind]),
                "found": [each["found"].get(kind, 0) for each in searched],
                "recognized": [each["found"].get(kind, 0) for each in recognized],
            }
            for kind in [*FINE, *KINDS]
            if kind in n_planted
        },
    }


def tabulate(content: dict[str, Any]) -> str:
    """Return the Markdown table of the results, with the standard error of each share."""
    rows = ["| copies | searched: found | kept by a run: recognized |", "|---|---:|---:|"]
    for kind, counts in content["kinds"].items():
        n_copies = counts["planted"]
        cells = []
        for key in ("found", "recognized"):
            share = sum(counts[key]) / n_copies
            error = np.sqrt(share * (1 - share) / n_copies)
            cells.append(f"{sum(counts[key])} of {n_copies} ({100 * share:.1f} ± {100 * error:.1f}%)")
        rows.append(f"| {kind} | {cells[0]} | {cells[1]} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
