import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import wfdb
from filelock import FileLock

from ecgcls.data.synthetic import write_synthetic
from tests.commands import QUICK, succeed


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory) -> Path:
    """60 simulated records at 100 Hz. Read it; to change a file, copy it first."""
    root = tmp_path_factory.mktemp("synthetic") / "ecgs"
    write_synthetic(root, n_records=60, seed=0, sampling_rate_hz=100)
    return root


@pytest.fixture(scope="session")
def ptbxl_root() -> Path:
    """The folder of real PTB-XL records that the environment names."""
    if "ECGCLS_PTBXL_ROOT" not in os.environ:
        pytest.skip("ECGCLS_PTBXL_ROOT names no folder of real PTB-XL records")
    return Path(os.environ["ECGCLS_PTBXL_ROOT"])


@pytest.fixture(scope="session")
def write_record() -> Callable[..., Path]:
    """Write a twelve-lead record with the wfdb package, by default in PTB-XL's own layout; return its path."""

    def write(path: Path, samples: np.ndarray, **changed) -> Path:
        """Write `samples`, ``(sample, lead)`` integers; `changed` are arguments of `wfdb.wrsamp`."""
        leads = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]
        arguments = {
            "fs": 100,
            "sig_name": leads,
            "units": ["mV"] * 12,
            "fmt": ["16"] * 12,
            "adc_gain": [1000.0] * 12,
            "baseline": [0] * 12,
        }
        wfdb.wrsamp(path.name, d_signal=samples, write_dir=str(path.parent), **(arguments | changed))
        return path

    return write


@pytest.fixture(scope="session")
def work(tmp_path_factory, synthetic_root) -> Path:
    """A working directory in which the simulated data set of quick commands lies already."""
    folder = tmp_path_factory.mktemp("work")
    home = folder / "data" / "synthetic" / "60_records_seed_0"
    home.parent.mkdir(parents=True)
    home.symlink_to(synthetic_root, target_is_directory=True)
    return folder


@pytest.fixture(scope="session")
def sweep(work, tmp_path_factory) -> str:
    """Train both nets on five folds in `work`, as the experiment 'sweep'; return what the command printed.

    Processes that share out the tests share the training, and have a copy each.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "sweep"
    with FileLock(shared.with_suffix(".lock")):
        if not shared.exists():
            partial = shared.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a process that failed
            (partial / "data").mkdir(parents=True)
            (partial / "data" / "synthetic").symlink_to(work / "data" / "synthetic", target_is_directory=True)
            folds = ("model=cnn1d,cnn2d", "fold=0,1,2,3,4")
            done = succeed(partial, "-m", "experiment=sweep", *folds, *QUICK)
            (partial / "stdout.txt").write_text(done.stdout)
            partial.rename(shared)
    shutil.copytree(shared / "outputs", work / "outputs", dirs_exist_ok=True)
    return (shared / "stdout.txt").read_text()


@pytest.fixture(scope="session")
def configuration(work, sweep) -> Path:
    """The folder that holds the five finished folds of cnn1d."""
    (fold,) = work.glob("outputs/sweep/cnn1d/*/fold_0")
    return fold.parent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI, where every tool is installed, a skipped test is a failed one, but for those of the real records."""
    report = yield
    if report.skipped and os.environ.get("ECGCLS_REQUIRE_TOOLS") == "1" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if "ECGCLS_PTBXL_ROOT" not in reason:
            report.outcome, report.longrepr = "failed", f"skipped where nothing may be skipped: {reason}"
    return report
