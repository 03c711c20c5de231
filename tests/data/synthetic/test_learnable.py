import numpy as np
import scipy.signal
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ecgcls.data.synthetic.plan import PlannedRecord, plan_records
from ecgcls.data.synthetic.signal import simulate_ecg


def mean_beat(record: PlannedRecord) -> np.ndarray:
    """The median beat of the eight independent leads, (75 samples at 100 Hz x 8,) in mV."""
    ecg_mv = simulate_ecg(record.spec, seed=4, sampling_rate_hz=100)[:, [0, 1, 6, 7, 8, 9, 10, 11]] / 1000
    size = np.abs(np.gradient(ecg_mv, axis=0)).sum(axis=1)
    peaks, _ = scipy.signal.find_peaks(size, height=0.5 * np.percentile(size, 99), distance=25)
    beat = np.median([ecg_mv[p - 30 : p + 45] for p in peaks if 30 <= p <= 1000 - 45], axis=0)
    return (beat - np.median(beat, axis=0)).ravel()


def test_every_superclass_can_be_learned_but_not_perfectly():
    records = plan_records(600, 4)
    beats = np.array([mean_beat(record) for record in records])
    x = PCA(30, svd_solver="randomized", random_state=0).fit_transform(beats)
    patient_id = [record.patient.patient_id for record in records]
    net = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    for name in ("NORM", "MI", "STTC", "CD", "HYP"):
        y = np.array([name in record.patient.superclasses for record in records], int)
        y_prob = cross_val_predict(net, x, y, groups=patient_id, cv=GroupKFold(3), method="predict_proba")[:, 1]
        pr_auc = average_precision_score(y, y_prob)
        assert y.mean() + 0.2 < pr_auc < 0.995, name
