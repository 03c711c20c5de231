import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ecgcls.data.likeness import UNLIKE, learn_from_store, learn_likeness, read_likeness
from ecgcls.data.quality import describe_windows
from ecgcls.data.signals import read_record
from ecgcls.data.store import open_store
from ecgcls.errors import DataError


def draw(n, seed, shift=0.0):
    """Four normal features in each group, which correlate."""
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=(n, 4)) + 0.8 * generator.normal(size=(n, 1)) + shift for name in UNLIKE}


@pytest.fixture(scope="module")
def likeness():
    return learn_likeness(draw(2000, seed=0), draw(199, seed=1), np.arange(199))


def test_the_distance_is_mahalanobis(likeness):
    """Of a normal distribution its square has a chi-squared one, whose 0.995 quantile is 1."""
    features = draw(1, seed=2)
    distance, group = likeness.measure(features)
    covariance = np.eye(4) + 0.64
    squares = {name: float(x[0] @ np.linalg.inv(covariance) @ x[0]) for name, x in features.items()}
    assert group[0] == max(squares, key=squares.get)
    assert distance[0] == pytest.approx(max(squares.values()) / stats.chi2(4).ppf(0.995), rel=0.15)


def test_few_like_the_training_records_are_flagged_and_all_others(likeness):
    assert (likeness.find_p(likeness.measure(draw(2000, seed=3))[0]) <= 0.05).mean() == pytest.approx(0.05, abs=0.03)
    odd = draw(50, seed=4)
    odd["leads"] = odd["leads"] + [9, -9, 9, -9]
    distances, groups = likeness.measure(odd)
    assert (likeness.find_p(distances) == 1 / 200).all()
    assert set(groups) == {"leads"}


def test_p_counts_patients():
    """Two patients, one of whom has two records: p = (1 + 1/2) / (2 + 1) between his."""
    known = learn_likeness(draw(100, seed=0), draw(3, seed=1), [1, 1, 2])
    order = np.sort(known.distances)
    own = known.distances[known.weights == 0.5]
    found = known.find_p([order[0] - 1, own.max(), order[-1] + 1])
    assert found[[0, 2]].tolist() == pytest.approx([1.0, 1 / 3])
    assert known.can_state(1 / 3)
    assert not known.can_state(0.3)


def test_it_is_read_as_it_was_written(likeness, tmp_path):
    path = tmp_path / "likeness.npz"
    likeness.write(path)
    features = draw(5, seed=5)
    again = read_likeness(path)
    np.testing.assert_array_equal(again.measure(features)[0], likeness.measure(features)[0])
    np.testing.assert_array_equal(again.find_p([0.5, 2.0]), likeness.find_p([0.5, 2.0]))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"likeness\.npz: damaged"):
        read_likeness(path)
    np.savez(path, distances=np.zeros(2))
    with pytest.raises(DataError, match="damaged"):
        read_likeness(path)


def test_few_records_suffice_to_tell_noise_from_an_ecg(synthetic_root, tmp_path):
    table = pd.read_csv(synthetic_root / "ptbxl_database.csv").set_index("ecg_id")
    store = open_store(synthetic_root, table["filename_lr"], sampling_rate_hz=100, store_dir=tmp_path)
    known = learn_from_store(store, table.index[:30], table.iloc[30:50])
    last = np.stack([read_record(synthetic_root / name).signal_uv / 1000 for name in table["filename_lr"].iloc[50:]])
    noise = 0.1 * np.random.default_rng(0).normal(size=last.shape)
    distances = [known.measure(describe_windows(signals, 100))[0] for signals in (last, noise)]
    assert distances[0].max() < distances[1].min()
