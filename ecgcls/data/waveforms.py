"""What a waveform is recognized by, so compact that a run keeps it of the records that it has learned from.

Two things are kept of a record: the hash of its samples, and a signature of 32 numbers for each of eight leads (the
other four follow from I and II). For the signature a lead is reduced to 1 to 15 Hz at 50 Hz, its large values are
compressed and its energy is made 1; then it is projected on 32 fixed series of random signs. The sum of products of two
signatures is about the correlation of the two leads (Johnson and Lindenstrauss, doi:10.1090/conm/026/737400): records
are compared with one matrix product, and what is kept of an ECG has 32 numbers where a lead has a thousand.

A signature hardly changes when an ECG is resampled, scaled, filtered, inverted, clipped, gets another ecg_id or a
little noise, or loses leads. It does change when the ECG is cut out at another moment: `find_copies` of
`ecgcls.data.leakage`, which has the signals of both, finds such copies within a data set.

The threshold: among the 192 million pairs of PTB-XL's 19,601 records of strat_folds 1 to 9, none of them a copy, the
most similar reach 0.92, 0.89 and 0.89 (of different patients, regular rhythms in step). The fewer leads two records
have in common, the more alike different ECGs can be: 0.979 with one lead, 0.968 with two, 0.959 with three, 0.958 with
four, 0.952 with five, the largest of many choices of leads. So fewer leads need more similarity, and find fewer copies:
those with noise of 20 microvolt in 86 of 100 by I and II, in 65 to 92 by one lead, in 99 by all; those that were
resampled or scaled in all, those filtered (0.5 to 40 Hz) in 94 or more.

A lead that a data set does not have is flat in its signatures. I and II are derived from two other limb leads; a single
III, aVR, aVL or aVF has no signature, so that a record of this lead alone is known again only by its very samples.
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

from ecgcls.data.lead_sets import INDEPENDENT, LEAD_SETS, LEADS, find_independent
from ecgcls.data.limb_leads import solve_limb_leads
from ecgcls.data.store import SignalStore
from ecgcls.errors import DataError
from ecgcls.files import check_archive, check_regular, write_arrays

MIN_SIMILARITY = np.array([np.inf, 0.985, 0.975, 0.97, 0.965, 0.96, 0.94, 0.94, 0.94])
"""Two signatures with at least this similarity are of one ECG, by the number of leads that are flat in neither."""
RATE_HZ = 50
"""The sampling rate of leveled leads."""
HIGHEST_HZ = 18.0
"""Leveled leads have no higher frequency."""

_BAND_HZ = (0.5, 1.5, 12.0, HIGHEST_HZ)  # passed from the second to the third, nothing beyond the first and the fourth
_FLAT_UV = 5.0  # root mean square in the band
_KNEE = 1.5  # in root mean squares: a larger value is compressed
_N_SIGNS = 32  # of each lead
_SCALE = 20.0  # of a signature's numbers, which are about standard normal, in int8
_CHUNK = 500  # records
_N_SIGNED = 32  # at a time, which fit a processor's cache
_SCREENED = tuple(INDEPENDENT.index(name) for name in ("V1", "V5"))  # little alike: few pairs are alike in both
_N_SCREENED = 64  # records whose products with 20,000 known ones fit a processor's cache
_MAX_BYTES = 2**30
_ARRAYS = {"form": (1, "<i8"), "ecg_ids": (1, ""), "sha256": (2, "|u1"), "signature": (3, "|i1")}
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Waveforms:
    """By what the waveforms of some records are recognized."""

    ecg_ids: NDArray
    """``(record,)``"""
    sha256: NDArray[np.uint8]
    """``(record, 16)``: the first half of the SHA-256 of a record's samples."""
    signature: NDArray[np.int8]
    """``(record, lead, 32)``: zero for a flat lead."""
    sampling_rate_hz: int
    n_samples: int
    """Of each record."""

    def __len__(self) -> int:
        return len(self.ecg_ids)

    @property
    def duration_s(self) -> Fraction:
        """Of each record."""
        return Fraction(self.n_samples, self.sampling_rate_hz)

    @cached_property
    def unit_signatures(self) -> "UnitSignatures":
        """The signatures, ready to be compared."""
        return normalize_signatures(self.signature)

    @cached_property
    def screen(self) -> NDArray[np.float32] | None:
        """Two leads of each record, ``(record, lead * 32)``; None if a record has neither.

        A record is similar to none whose own two leads have a product below 1 with these, and above -1: a similarity is
        a mean over the common leads, none of which has more than 1, so where it is large enough each part of it is.
        """
        n_leads, leads = np.arange(1, len(MIN_SIMILARITY)), list(_SCREENED)
        n_there = self.unit_signatures.is_there[:, leads].sum(axis=1, keepdims=True)
        least = n_there - (n_leads * (1 - MIN_SIMILARITY[1:])).max() - 1e-4  # rounding
        return None if (n_there == 0).any() else (self.unit_signatures.take_leads(leads) / least).astype(np.float32)

    @cached_property
    def ids(self) -> dict[bytes, int | str]:
        """By hash the first ecg_id that has it."""
        return {
            bytes(each): ecg_id for each, ecg_id in zip(self.sha256[::-1], self.ecg_ids[::-1].tolist(), strict=True)
        }

    def write(self, path: Path) -> None:
        """Write an `.npz` file for `read_waveforms`: about 0.3 kB a record."""
        form = np.array([_VERSION, self.sampling_rate_hz, self.n_samples])
        content = {"ecg_ids": self.ecg_ids, "sha256": self.sha256, "signature": self.signature}
        write_arrays(path, {"form": form} | content)


class UnitSignatures(NamedTuple):
    """Signatures of some records, ready to be compared."""

    vectors: NDArray[np.float32]
    """``(record, lead * 32)``, each lead of length 1, or 0 where it is flat."""
    is_there: NDArray[np.float32]
    """``(record, lead)``: 0 where a lead is flat, 1 elsewhere."""

    def take(self, rows: slice | NDArray[np.intp]) -> "UnitSignatures":
        """Return those of some records."""
        return UnitSignatures(self.vectors[rows], self.is_there[rows])

    def take_leads(self, leads: list[int]) -> NDArray[np.float32]:
        """Return the vectors of some leads."""
        return self.vectors[:, [lead * _N_SIGNS + number for lead in leads for number in range(_N_SIGNS)]]


@dataclass(frozen=True)
class Known:
    """A record whose waveform is known already."""

    ecg_id: int | str
    known_id: int | str
    """Under which ecg_id it is known."""
    similarity: float
    """Of the signatures; 1 if the samples are equal."""
    is_exact: bool
    """Whether every sample is the same."""

    def __str__(self) -> str:
        how = "every sample equal" if self.is_exact else f"similarity {self.similarity:.2f}"
        return f"ecg_id {self.ecg_id} is ecg_id {self.known_id} ({how})"


def sign_waveforms(store: SignalStore, rows: NDArray[np.int64]) -> Waveforms:
    """Compute by what the records in these rows of a store are recognized; 19,601 records take a few seconds."""
    rate_hz = int(store.manifest["sampling_rate_hz"])

    def sign(start: int) -> tuple[list[bytes], NDArray[np.int8]]:
        signals_uv = store.signals_uv[rows[start : start + _N_SIGNED]]
        hashes = [hashlib.sha256(signal.astype("<i2", copy=False).tobytes()).digest()[:16] for signal in signals_uv]
        own = place_leads(signals_uv, store.lead_names)
        return hashes, sign_leads(level_leads(own, sampling_rate_hz=rate_hz, lead_names=INDEPENDENT))

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool:  # NumPy and hashlib let other threads run
        parts = list(pool.map(sign, range(0, len(rows), _N_SIGNED)))
    sha256 = np.frombuffer(b"".join(each for hashes, _ in parts for each in hashes), np.uint8).reshape(-1, 16)
    empty = np.zeros((0, len(INDEPENDENT), _N_SIGNS), np.int8)
    signature = np.concatenate([empty, *(part for _, part in parts)])
    return Waveforms(store.ecg_ids[rows], sha256, signature, rate_hz, store.n_samples)


def find_known(new: Waveforms, known: Waveforms) -> list[Known]:
    """Find which of the new records are among the known ones, in the order of the new ones.

    A record that is known more than once is found as the most similar one. The sampling rates may differ (then no two
    hashes are equal), the duration may not.

    Raises
    ------
    ValueError
        If the two have records of different durations.
    """
    if new.duration_s != known.duration_s:
        raise ValueError("the records must be as long as those that are known")
    if not len(known):
        return []
    ids = [known.ids.get(bytes(each)) for each in new.sha256]
    others = np.flatnonzero([ecg_id is None for ecg_id in ids])
    nearest = _find_nearest(new, others[_find_possible(new, others, known)], known)
    found = []
    for number, (ecg_id, same) in enumerate(zip(new.ecg_ids.tolist(), ids, strict=True)):
        if same is not None:
            found.append(Known(ecg_id, same, 1.0, is_exact=True))
        elif number in nearest:
            found.append(Known(ecg_id, *nearest[number], is_exact=False))
    return found


def _find_possible(new: Waveforms, rows: NDArray[np.intp], known: Waveforms) -> NDArray[np.bool_]:
    """Return which of some new records may be similar to a known one, by two leads, a quarter of the products."""
    asking, leads = new.unit_signatures.take(rows), list(_SCREENED)
    is_possible: NDArray[np.bool_] = np.asarray(~asking.is_there[:, leads].all(axis=1))
    if known.screen is None:
        return np.ones_like(is_possible)
    vectors = asking.take_leads(leads)
    for start in range(0, len(rows), _N_SCREENED):
        some = slice(start, start + _N_SCREENED)
        products = vectors[some] @ known.screen.T
        is_possible[some] |= (products.max(axis=1) >= 1) | (products.min(axis=1) <= -1)
    return is_possible


def _find_nearest(new: Waveforms, rows: NDArray[np.intp], known: Waveforms) -> dict[int, tuple[int | str, float]]:
    """Return of those of some new records that are similar to a known one its ecg_id, and the similarity."""
    found: dict[int, tuple[int | str, float]] = {}
    knowing = known.unit_signatures
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        some = new.unit_signatures.take(chunk)
        similarity = compare_signatures(some, knowing)
        similarity[similarity < MIN_SIMILARITY[count_common(some, knowing)]] = 0
        for number, row, column in zip(chunk.tolist(), similarity, similarity.argmax(axis=1).tolist(), strict=True):
            if value := float(row[column]):
                found[number] = known.ecg_ids[column].item(), min(value, 1.0)
    return found


def can_compare(new: Waveforms, known: Waveforms) -> bool:
    """Whether the two have a lead in common by which their signatures can be compared, in some record each."""
    is_there = [each.unit_signatures.is_there.any(axis=0) for each in (new, known)]
    return bool(not len(new) or np.isfinite(MIN_SIMILARITY[(is_there[0] & is_there[1]).sum()]))


def read_waveforms(path: Path) -> Waveforms:
    """Read what `Waveforms.write` wrote; DataError if the file is missing, damaged or another."""
    try:
        check_regular(path, max_bytes=_MAX_BYTES)
        check_archive(path)
        with np.load(path, allow_pickle=False) as archive:
            if {*archive.files} != {*_ARRAYS}:
                raise ValueError(f"its arrays are {', '.join(map(repr, sorted(archive.files)[:5]))}")
            arrays = {name: archive[name] for name in _ARRAYS}
        form, ecg_ids, sha256, signature = arrays.values()
        is_as_written = all(
            (arrays[name].ndim, "" if name == "ecg_ids" else arrays[name].dtype.str) == kind
            for name, kind in _ARRAYS.items()
        ) and (ecg_ids.dtype.str == "<i8" or ecg_ids.dtype.kind == "U")
        n_records = len(ecg_ids) if is_as_written else -1
        shapes = (3,), (n_records, 16), (n_records, len(INDEPENDENT), _N_SIGNS)
        if (form.shape, sha256.shape, signature.shape) != shapes or form[0] != _VERSION or form.min() < 1:
            raise ValueError("its arrays have another form")
        return Waveforms(ecg_ids, sha256, signature, int(form[1]), int(form[2]))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, EOFError, MemoryError, BadZipFile, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not a file of waveforms as a run writes it ({reason})") from None


def place_leads(signals_uv: NDArray[np.int16], lead_names: Sequence[str]) -> NDArray[np.floating | np.int16]:
    """Return I, II, V1 to V6 of signals ``(record, lead, sample)``; those that do not follow from them are flat."""
    if tuple(lead_names) == LEADS:
        return signals_uv[:, [LEADS.index(name) for name in INDEPENDENT]]
    placed = np.zeros((len(signals_uv), len(INDEPENDENT), signals_uv.shape[2]), np.float32)
    for row, name in enumerate(INDEPENDENT):
        if name in lead_names:
            placed[:, row] = signals_uv[:, list(lead_names).index(name)]
    limb = [name for name in LEAD_SETS["limb"] if name in lead_names]
    weights = solve_limb_leads(limb)
    if weights is not None and limb[:2] != ["I", "II"]:
        placed[:, :2] = weights @ signals_uv[:, [list(lead_names).index(name) for name in limb]].astype(np.float32)
    return placed


def level_leads(
    signals_uv: NDArray[np.floating | np.int16],
    *,
    sampling_rate_hz: float,
    is_compressed: bool = True,
    lead_names: Sequence[str] = LEADS,
) -> NDArray[np.float32]:
    """Return the independent leads at 50 Hz, in 1 to 15 Hz, compressed, each of energy 1: ``(record, lead, time)``.

    They are made for comparison: gain, offset, drift, noise and the limits of a recorder matter little in them, and the
    steep QRS complex does not outweigh the rest. A flat lead is zero.
    """
    leads = signals_uv[:, find_independent(lead_names)].astype(np.float32)
    n_samples, n_ends = leads.shape[-1], max(1, round(sampling_rate_hz / 5))
    first = leads[..., :n_ends].mean(axis=-1, keepdims=True)
    last = leads[..., -n_ends:].mean(axis=-1, keepdims=True)
    slope = (last - first) * np.linspace(0, 1, n_samples, dtype=np.float32)
    leads -= np.add(slope, first, out=slope)  # else the ends meet in a step
    frequency = np.fft.rfftfreq(n_samples, 1 / sampling_rate_hz)
    gain = np.interp(frequency, _BAND_HZ, [0, 1, 1, 0]).astype(np.float32)
    n_kept = max(2, round(n_samples * RATE_HZ / sampling_rate_hz))
    spectrum = rfft(leads, axis=-1)[..., : n_kept // 2 + 1] * gain[: n_kept // 2 + 1]
    leads = irfft(spectrum, n_kept, axis=-1)
    leads *= np.float32(n_kept / n_samples)
    room = np.square(leads)  # for what is needed once
    size = np.sqrt(room.mean(axis=-1, keepdims=True))
    leads /= size.clip(min=_FLAT_UV)
    if is_compressed:
        np.abs(leads, out=room)
        room /= np.float32(_KNEE)
        room += 1
        leads /= room
    leads /= np.sqrt(np.square(leads, out=room).sum(axis=-1, keepdims=True)).clip(min=1e-6)
    return np.where(size < _FLAT_UV, np.float32(0), leads)


def sign_leads(leads: NDArray[np.float32]) -> NDArray[np.int8]:
    """Project leads of energy 1, ``(record, lead, time)``, on series of random signs: ``(record, lead, 32)``."""
    series = _draw_signs(*leads.shape[1:])
    projected = np.stack([leads[:, lead] @ series[lead] for lead in range(leads.shape[1])], axis=1)
    return np.clip(np.rint(projected * _SCALE), -127, 127).astype(np.int8)


@lru_cache(maxsize=2)
def _draw_signs(n_leads: int, n_times: int) -> NDArray[np.float32]:
    """Return +1 and -1, ``(lead, time, 32)``, by the raw bits of a generator, which no release of NumPy changes."""
    n_bits = n_leads * n_times * _N_SIGNS
    bits = np.unpackbits(np.random.PCG64(0).random_raw(n_bits // 64 + 1).astype("<u8").view(np.uint8))[:n_bits]
    return bits.reshape(n_leads, n_times, _N_SIGNS).astype(np.float32) * 2 - 1


def normalize_signatures(signature: NDArray[np.int8]) -> UnitSignatures:
    """Bring the leads of signatures ``(record, lead, 32)`` to length 1."""
    vectors = signature.astype(np.float32)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors /= length.clip(min=1)
    is_there = (length[..., 0] >= 1).astype(np.float32)
    return UnitSignatures(vectors.reshape(len(vectors), int(np.prod(vectors.shape[1:]))), is_there)


def compare_signatures(new: UnitSignatures, known: UnitSignatures) -> NDArray[np.float32]:
    """Return the similarity of each pair of signatures, ``(new record, known record)``.

    It is the mean over the leads that are flat in neither, of either sign: an inverted ECG is the same ECG.
    """
    similarity = np.abs(new.vectors @ known.vectors.T)
    similarity /= (new.is_there @ known.is_there.T).clip(min=1)
    return similarity


def count_common(new: UnitSignatures, known: UnitSignatures) -> NDArray[np.int64]:
    """Return how many leads are flat in neither of each pair, ``(new record, known record)``."""
    return (new.is_there @ known.is_there.T).astype(np.int64)
