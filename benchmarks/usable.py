"""How many ECGs are called unusable, or unlike the training data: ``python -m benchmarks.usable PTB-XL``.

Each strat_fold of a data set in PTB-XL's layout is judged by what the next one says of all others: the next has the
validation records, the others are the training records. Then everything is judged that is no ECG, or a spoiled one.
"""

import argparse
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.data.content import inspect_content
from ecgcls.data.likeness import Likeness, learn_from_store
from ecgcls.data.ptbxl import PTBXL
from ecgcls.data.quality import describe_windows, find_noise
from ecgcls.data.signals import LEADS
from ecgcls.data.store import SignalStore, open_store

_RATE, _N_MADE = 0.01, 200
_HZ: Literal[100, 500] = 100
_NOISE_COLUMNS = ("static_noise", "burst_noise", "electrodes_problems", "baseline_drift")
_RESULTS = Path(__file__).parent / "usable.json"

Signals = NDArray[np.floating]
"""``(record, lead, sample)``, mV."""


def make_inputs(ecgs_mv: Signals, generator: np.random.Generator) -> dict[str, Signals]:
    """Return what is no ECG, and spoiled ECGs, each as many as there are ECGs."""
    n, n_leads, n_samples = ecgs_mv.shape
    sd = ecgs_mv.std(axis=-1, keepdims=True)
    phase = 2 * np.pi * np.arange(n_samples) / _HZ + 10 * generator.random((n, 1, 1))

    def white() -> Signals:
        return generator.standard_normal(ecgs_mv.shape)

    order = [generator.permutation(n_samples) for _ in range(n)]
    arms = [0, 2, 1, 4, 3, 5, *range(6, n_leads)]
    signs = np.array([-1] + [1] * (n_leads - 1))[:, None]
    any_lead = {
        "white noise of 0.1 mV": 0.1 * white(),
        "white noise as large as the ECG": white() * sd,
        "muscle noise (20 to 49 Hz) as large as the ECG": _filter(white(), 20, 49) * sd,
        "wandering (a random walk)": 0.02 * np.cumsum(white(), axis=-1),
        "noise in the band of the ECG (0.5 to 15 Hz)": _filter(white(), 0.5, 15) * sd,
        "mains hum at 45 Hz": np.sin(45 * phase) * sd,
        "a sine at 10 Hz": np.sin(10 * phase) * sd,
        "a sine at 1 Hz": np.sin(phase) * sd,
        "with muscle noise of 0.1 mV": ecgs_mv + 0.1 * _filter(white(), 20, 49),
        "with muscle noise of 0.3 mV": ecgs_mv + 0.3 * _filter(white(), 20, 49),
    }
    return {
        **{name: _derive(signals) for name, signals in any_lead.items()},
        "a square wave of 5 mV": np.sign(np.sin(1.1 * phase)) * np.full((1, n_leads, 1), 5.0),
        "a pulse wave (as PPG) in all leads": (np.sin(1.2 * phase) + 0.4 * np.sin(2.4 * phase + 1)) * sd,
        "lead II in all leads": np.repeat(ecgs_mv[:, 1:2], n_leads, axis=1),
        "the samples shuffled": np.stack([ecg[:, own] for ecg, own in zip(ecgs_mv, order, strict=True)]),
        "the leads shuffled": ecgs_mv[:, generator.permutation(n_leads)],
        "the chest leads flat": np.concatenate([ecgs_mv[:, :6], 0 * ecgs_mv[:, 6:]], axis=1),
        "one lead noise": np.concatenate([ecgs_mv[:, :11], 0.3 * _filter(white(), 1, 49)[:, 11:]], axis=1),
        "cut off at a third of its largest value": _cut_off(ecgs_mv),
        "ten times as large": 10 * ecgs_mv,
        "a tenth as large": ecgs_mv / 10,
        "twice as fast": np.concatenate([ecgs_mv[..., ::2]] * 2, axis=-1),
        "upside down": -ecgs_mv,
        "arm electrodes exchanged": ecgs_mv[:, arms] * signs,
        "back to front": ecgs_mv[..., ::-1],
    }


def _filter(noise: Signals, low_hz: float, high_hz: float) -> Signals:
    spectrum = np.fft.rfft(noise, axis=-1)
    frequencies = np.fft.rfftfreq(noise.shape[-1], 1 / _HZ)
    spectrum[..., (frequencies < low_hz) | (frequencies > high_hz)] = 0
    filtered = np.fft.irfft(spectrum, noise.shape[-1], axis=-1)
    return np.asarray(filtered / filtered.std(axis=-1, keepdims=True))


def _derive(signals_mv: Signals) -> Signals:
    """Let the limb leads follow from I and II, as those of any electrodes do, whatever they pick up."""
    one, two = signals_mv[:, :1], signals_mv[:, 1:2]
    derived = [two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.concatenate([one, two, *derived, signals_mv[:, 6:]], axis=1)


def _cut_off(ecgs_mv: Signals) -> Signals:
    limit = abs(ecgs_mv).max(axis=-1, keepdims=True) / 3
    return np.clip(ecgs_mv, -limit, limit)


def judge(signals_mv: Signals, likeness: Likeness, *, with_content: bool) -> pd.DataFrame:
    """Return for each record what is found: ``no_ecg``, ``unlike`` and ``content``."""
    features = describe_windows(signals_mv, _HZ)
    found = {
        "no_ecg": find_noise(features).any(axis=1),
        "unlike": likeness.find_p(likeness.measure(features)[0]) <= _RATE,
    }
    if with_content:
        notes = [inspect_content(signal, LEADS, _HZ) for signal in signals_mv.astype(np.float32).round(3)]
        found["content"] = np.array([bool(note) for note in notes])
    return pd.DataFrame(found)


def judge_folds(store: SignalStore, records: pd.DataFrame) -> tuple[pd.DataFrame, Likeness]:
    """Judge every record by the others; return what is found, by ecg_id, and what judged the last fold."""
    folds = sorted(records["strat_fold"].unique())
    tables = []
    for fold, following in zip(folds, [*folds[1:], folds[0]], strict=True):
        training = records.index[~records["strat_fold"].isin([fold, following])]
        likeness = learn_from_store(store, training, records[records["strat_fold"] == following])
        own = records.index[records["strat_fold"] == fold]
        rows = np.array_split(store.find_rows(own), 8)
        judged = [judge(store.read_mv(each), likeness, with_content=False) for each in rows]
        tables.append(pd.concat(judged).set_index(own))
    doubtful = store.repairs.loc[store.repairs["is_doubtful"], "ecg_id"]
    found = pd.concat(tables)
    return found.assign(content=found.index.isin(doubtful)), likeness


def main() -> None:
    """Judge, print and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.usable", description=__doc__)
    parser.add_argument("ptbxl", type=Path, help="a data set in PTB-XL's layout")
    parser.add_argument("--store-dir", type=Path, help="folder of its signal store")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    arguments = parser.parse_args()
    source = PTBXL(root=arguments.ptbxl, sampling_rate_hz=_HZ)
    records = source.read_records()
    store = open_store(source.root, records["filename"], sampling_rate_hz=_HZ, store_dir=arguments.store_dir)
    found, likeness = judge_folds(store, records)
    kinds = ["no_ecg", "unlike", "content"]

    def describe(table: pd.DataFrame) -> dict[str, float | int]:
        se = float(np.sqrt(table["unlike"].mean() * (1 - table["unlike"].mean()) / len(table)))
        shares = {kind: round(float(table[kind].mean()), 5) for kind in kinds}
        return {"n_records": len(table), **shares, "unlike_se": round(se, 5)}

    table = records.loc[found.index]
    real = {"all": describe(found)}
    for column in _NOISE_COLUMNS:
        is_noted = table[column].notna().to_numpy()
        real |= {column: describe(found[is_noted]), f"no {column}": describe(found[~is_noted])}
    last = records.index[records["strat_fold"] == records["strat_fold"].max()]
    ecgs_mv = store.read_mv(store.find_rows(last[:_N_MADE]))
    inputs = make_inputs(ecgs_mv, np.random.default_rng(0))
    made = {name: describe(judge(signals, likeness, with_content=True)) for name, signals in inputs.items()}
    for title, each in (("real", real), ("made", made)):
        print(title, pd.DataFrame(each).T.to_string(), sep="\n")
    content = {"rate": _RATE, "real": real, "made": made}
    arguments.results.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
