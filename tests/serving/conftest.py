from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from ecgcls.data.lead_sets import LEADS
from ecgcls.evaluation.conformal import learn_conformal
from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.jobs.predictor import Predictor
from ecgcls.runs.info import RunInfo
from ecgcls.serving.app import make_app
from ecgcls.serving.limits import Limits

CLASSES = ("HIGH", "LOW")


@dataclass(frozen=True, eq=False)
class Stand(Predictor):
    """Its logit of HIGH is the mean of lead II in mV from 4 to 6 s, times 10, minus 5; that of LOW the opposite."""

    def apply_nets(self, windows_mv, metadata=None):
        logit = 10 * windows_mv[:, 1, 400:600].astype(np.float64).mean(axis=1) - 5
        if metadata is not None and self.metadata_names:
            logit = logit + np.nan_to_num(metadata[:, 0])
        return np.stack([logit, -logit], axis=1)[None]

    def _learn_conformals(self):
        scores = np.linspace(-4, 4, 40)
        truth = np.stack([scores > 0, np.arange(40) < 3], axis=1)  # of LOW there are three positive patients
        return (learn_conformal(truth, np.stack([scores, -scores], axis=1), np.arange(40)),)

    def _read_likenesses(self):
        return ()

    @property
    def seen(self):
        return None


def make_stand(**changed):
    own = {name: {"method": "none", "slope": 1.0, "intercept": 0.0} for name in CLASSES}
    settings = {
        "path": Path("/srv/secret/bundle"),
        "class_names": CLASSES,
        "lead_names": LEADS,
        "sampling_rate_hz": 100.0,
        "n_samples": 1000,
        "thresholds": {"HIGH": 0.5, "LOW": 0.25},
        "calibrators": (Calibrator("none", own),),
        "info": RunInfo(status="finished", model="stand"),
    }
    return Stand(**settings | changed)


def make_csv(height_mv=1.0, *, rate_hz=100, duration_s=10.0, leads=LEADS):
    """A table of samples: each lead has a small wave, and lead II is `height_mv` from 4 to 6 s."""
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    signal = np.stack([0.2 * np.sin(2 * np.pi * (1 + number / 7) * time_s) for number, _ in enumerate(leads)], axis=1)
    signal[(time_s >= 4) & (time_s < 6), 1] = height_mv
    lines = [
        f"# sampling_rate_hz={rate_hz}",
        ",".join(leads),
        *(",".join(f"{each:.4f}" for each in row) for row in signal),
    ]
    return "\n".join([*lines, ""]).encode()


@pytest.fixture(scope="session")
def table():
    return make_csv()


@pytest.fixture(scope="session")
def open_client():
    """Opens clients of an application for a predictor, with limits."""
    clients = []

    def open_one(predictor=None, *, base_url="http://127.0.0.1:8765", **settings):
        facts, hosts = settings.pop("facts", None), settings.pop("hosts", ())
        is_local = settings.pop("is_local", True)
        app = make_app(
            predictor or make_stand(), facts=facts, limits=Limits(**settings), hosts=hosts, is_local=is_local
        )
        client = TestClient(app, base_url=base_url, raise_server_exceptions=False)
        clients.append(client.__enter__())
        return client

    yield open_one
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def client(open_client):
    return open_client()
