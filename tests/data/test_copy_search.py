import numpy as np
import pytest

from benchmarks.copies import KINDS, plant, search
from ecgcls.data.copies import find_pairs, match
from ecgcls.data.synthetic.plan import plan_records
from ecgcls.data.synthetic.signal import simulate_ecg
from tests.data.modules import make


@pytest.fixture(scope="module")
def signals_uv(synthetic_root, tmp_path_factory):
    return make(synthetic_root, tmp_path_factory.mktemp("copies")).store.signals_uv


def find(signals, rate=100):
    return {pair[:2] for pair in find_pairs(signals, np.arange(len(signals)), sampling_rate_hz=rate)}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "reversed" not in kind])
def test_copies_are_found_and_nothing_else(signals_uv, kind):
    generator = np.random.default_rng(0)
    changed = [np.rint(KINDS[kind](signals_uv[row].astype(float), generator)) for row in (3, 8, 20)]
    everything = np.concatenate([signals_uv, np.clip(changed, -32767, 32767).astype(np.int16)])
    assert find(everything) <= {(3, 60), (8, 61), (20, 62)}
    assert len(find(everything)) >= 2


def test_real_copies_are_found_and_no_other_pair_but_those_of_a_version_with_duplicates(ptbxl_root, tmp_path):
    data = make(ptbxl_root, tmp_path, missing_records="drop", copies="drop")
    rows = data.store.find_rows(data.cohort.records.index)
    signals, n_each = data.store.signals_uv[rows], 12
    before = {pair[:2] for pair in find_pairs(signals, np.arange(len(rows)), sampling_rate_hz=100)}
    known = {frozenset(pair) for pair in data.source.known_duplicates.items()}
    ids = data.cohort.records.index
    assert {frozenset((int(ids[a]), int(ids[b]))) for a, b in before} <= known
    result = search(signals, plant(signals, n_each, np.random.default_rng(0)))
    found = {kind: result["found"].get(kind, 0) for kind in KINDS}
    assert found.pop("reversed in time") == 0
    assert min(found.values()) >= n_each - 2, found
    assert result["false_among_records"] == len(before)


def test_equal_records_are_paired_with_the_first(signals_uv):
    signals = np.concatenate([signals_uv[:5], signals_uv[[1, 1, 4]]])
    pairs = find_pairs(signals, np.arange(8), sampling_rate_hz=100)
    assert [(*pair[:2], pair.is_exact, pair.correlation) for pair in pairs] == [
        (1, 5, True, 1.0),
        (1, 6, True, 1.0),
        (4, 7, True, 1.0),
    ]


@pytest.mark.parametrize("n_records", [0, 1, 2])
def test_few_records_have_no_copies(signals_uv, n_records):
    assert find(signals_uv[:n_records]) == set()


def test_flat_and_short_records_are_no_copies_of_one_another(signals_uv):
    flat = signals_uv[:6].copy()
    flat[:3, 1:] = 0
    flat[:3, 0] = np.arange(3)[:, None]
    assert find(flat) == set()
    assert find(np.ascontiguousarray(signals_uv[:30, :, :100])) == set()  # one second: a beat alone is alike in many


def test_a_copy_with_other_sampling_rate_and_duration(signals_uv):
    fine = np.repeat(signals_uv[:12, :, :600], 5, axis=-1)
    changed = np.concatenate([fine, (1.2 * fine[[4]]).astype(np.int16)])
    assert find(changed, rate=500) == {(4, 12)}


def test_two_signals_match_or_do_not(signals_uv):
    assert match(signals_uv[0], signals_uv[0], sampling_rate_hz=100) == 1.0
    assert match(signals_uv[0], -signals_uv[0], sampling_rate_hz=100) > 0.99
    assert match(signals_uv[0], signals_uv[1], sampling_rate_hz=100) is None


def test_regular_rhythms_in_step_are_no_copies_of_one_another():
    planned = plan_records(300, 0)
    # Of another patient each; that they correlate by 0.97 is by chance.
    specs = [planned[ecg_id - 1].spec for ecg_id in (37, 298)]
    one, other = (simulate_ecg(spec, seed=0, sampling_rate_hz=100).T for spec in specs)
    reordered = np.ascontiguousarray(one), np.ascontiguousarray(other)
    assert match(*reordered, sampling_rate_hz=100) is None


def test_a_noisy_copy_of_a_metronomic_rhythm_is_found(signals_uv):
    beats = np.tile(signals_uv[3][:, 100:180], 13)[:, :1000]  # fits as well a beat later
    noisy = beats + np.random.default_rng(0).normal(0, 50, beats.shape)
    assert match(beats, np.rint(noisy).astype(np.int16), sampling_rate_hz=100) is not None
