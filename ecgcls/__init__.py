"""Config-driven experiments with 12-lead ECG classifiers on PTB-XL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ecgcls.jobs.load_bundle import LoadedBundle
    from ecgcls.jobs.loaded import LoadedRun

__version__ = "0.1.0"


def load_run(path: str | Path, *, device: str = "cpu", trust: Sequence[str] = ()) -> LoadedRun:
    """Load a finished run to predict ECGs with it; see `ecgcls.jobs.load.load_run`.

    ``run = ecgcls.load_run("outputs/default/cnn1d/fold_0")``, then
    ``run.predict(signal_mv, sampling_rate_hz=500, lead_names=["I", "II", ...])``.
    """
    from ecgcls.jobs import load  # torch is not imported before it is needed

    return load.load_run(path, device=device, trust=trust)


def load_bundle(path: str | Path, *, device: str = "cpu", n_threads: int | None = None) -> LoadedBundle:
    """Load a bundle, which predicts as the run that it was made from; see `ecgcls.jobs.load_bundle.load_bundle`.

    Neither torch nor Lightning is needed.
    """
    from ecgcls.jobs import load_bundle as bundles  # nothing is imported before it is needed

    return bundles.load_bundle(path, device=device, n_threads=n_threads)
