import hashlib
import io
import pickle

import numpy as np
import pytest

from ecgcls.data.waveforms import (
    MIN_SIMILARITY,
    Waveforms,
    compare_signatures,
    count_common,
    find_known,
    read_waveforms,
    sign_waveforms,
)
from ecgcls.errors import DataError
from tests.data.modules import make
from tests.data.stores import alter


@pytest.fixture(scope="module")
def store(synthetic_root, tmp_path_factory):
    return make(synthetic_root, tmp_path_factory.mktemp("waveforms")).store


def sign(store, rows=None):
    return sign_waveforms(store, np.arange(len(store.ecg_ids)) if rows is None else np.asarray(rows))


def test_a_record_is_known_by_the_hash_of_its_samples_whatever_its_number(store):
    known, new = sign(store, [3, 4, 5]), sign(alter(store, lambda signal: signal, offset=1000), [5, 2, 3])
    assert known.sha256[0].tobytes() == hashlib.sha256(store.signals_uv[3].tobytes()).digest()[:16]
    found = [(each.ecg_id, each.known_id, each.is_exact) for each in find_known(new, known)]
    ids = store.ecg_ids.tolist()
    assert found == [(ids[5] + 1000, ids[5], True), (ids[3] + 1000, ids[3], True)]


def flatten(signal):
    changed = signal.copy()
    changed[6] = 0
    return changed


@pytest.mark.parametrize(
    "change",
    [
        lambda signal: (0.8 * signal).round() + 40,
        lambda signal: -signal,
        lambda signal: signal + np.random.default_rng(0).normal(0, 15, signal.shape).round(),
        lambda signal: signal + (150 * np.sin(np.arange(signal.shape[-1]) / 60)).round(),
        flatten,
    ],
    ids=["scaled", "inverted", "noise", "drift", "V1 flat"],
)
def test_an_altered_record_is_known_by_its_signature_and_no_other_is(store, change):
    known = sign(store)
    found = find_known(sign(alter(store, change)), known)
    assert [each.ecg_id for each in found] == [each.known_id for each in found]
    assert len(found) == len(known)
    assert not any(each.is_exact for each in found)
    halves = np.arange(0, len(known), 2), np.arange(1, len(known), 2)
    assert find_known(sign(store, halves[0]), sign(store, halves[1])) == []


def test_a_record_is_known_at_another_sampling_rate(store):
    fine = alter(store, lambda signal: np.repeat(signal, 5, axis=-1), sampling_rate_hz=500)
    found = find_known(sign(fine), sign(store))
    assert [each.known_id for each in found] == [each.ecg_id for each in found] == store.ecg_ids.tolist()


def test_records_of_another_duration_are_not_compared(store):
    short = alter(store, lambda signal: signal[..., :500])
    with pytest.raises(ValueError, match="as long"):
        find_known(sign(short), sign(store))


def test_waveforms_are_read_as_written(store, tmp_path):
    written = sign(store, [1, 2])
    written.write(tmp_path / "waveforms.npz")
    read = read_waveforms(tmp_path / "waveforms.npz")
    for name in ("ecg_ids", "sha256", "signature", "sampling_rate_hz", "n_samples"):
        assert np.array_equal(getattr(read, name), getattr(written, name))
    none = sign(store, np.array([], dtype=np.int64))
    assert len(none) == 0
    assert find_known(none, read) == find_known(read, none) == []


def spoil(**changes):
    def write(path):
        arrays = {"form": np.array([1, 100, 1000]), "ecg_ids": np.array([1, 2])}
        arrays |= {"sha256": np.zeros((2, 16), np.uint8), "signature": np.zeros((2, 8, 32), np.int8)}
        np.savez(path, **arrays | changes)

    return write


def write_pickle(path):
    buffer = io.BytesIO()
    np.savez(buffer, form=np.array([pickle], dtype=object).astype(str).astype(object))
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"no archive"),
        lambda path: path.write_bytes(b""),
        lambda path: path.mkdir(),
        write_pickle,
        lambda path: np.savez(path, ecg_ids=np.array([1])),
        spoil(form=np.array([2, 100, 1000])),
        spoil(form=np.array([1, 0, 1000])),
        spoil(ecg_ids=np.array([1.0, 2.0])),
        spoil(ecg_ids=np.array([1, 2], dtype=object)),
        spoil(sha256=np.zeros((3, 16), np.uint8)),
        spoil(signature=np.zeros((2, 8, 31), np.int8)),
        spoil(signature=np.zeros(2, np.int8)),
        lambda path: np.savez_compressed(path, signature=np.zeros((10000, 8, 32), np.int8)),
    ],
)
def test_a_foreign_file_is_one_line(tmp_path, write):
    path = tmp_path / "waveforms.npz"
    write(path)
    with pytest.raises(DataError, match=r"waveforms\.npz") as caught:
        read_waveforms(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_waveforms(tmp_path / "waveforms.npz")


@pytest.mark.parametrize("flat", [[], [2], [2, 6], [0, 1, 3]])
def test_what_two_leads_spare_is_not_similar(flat):
    """Against the similarity of every pair, whether the known records or the new ones lack leads."""
    rng = np.random.default_rng(0)
    signature = rng.normal(0, 20, (60, 8, 32))
    noisy = signature + rng.normal(0, 1, signature.shape) * np.linspace(0, 16, 60)[:, None, None]
    for lacking in (signature, noisy):
        lacking[::3, flat] = 0
        one, other = (
            Waveforms(np.arange(60), sha256, each.round().clip(-127, 127).astype(np.int8), 100, 1000)
            for each, sha256 in ((noisy, np.zeros((60, 16), np.uint8)), (signature, np.ones((60, 16), np.uint8)))
        )
        every = compare_signatures(one.unit_signatures, other.unit_signatures)
        every[every < MIN_SIMILARITY[count_common(one.unit_signatures, other.unit_signatures)]] = 0
        expected = [(row, int(every[row].argmax())) for row in np.flatnonzero(every.max(axis=1))]
        assert [(each.ecg_id, each.known_id) for each in find_known(one, other)] == expected
        assert 10 < len(expected) < 60
