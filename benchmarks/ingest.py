"""Reading the data set: the signal store against a loop of wfdb, and the tables."""

import statistics
import subprocess
import sys
import tempfile

import numpy as np
import wfdb

from benchmarks.findings import Finding, Setting
from benchmarks.interleave import median_ratio, take_turns
from ecgcls.data.module import ECGDataModule
from ecgcls.data.source import split_settings

_N_WFDB = 1000  # records of a turn: all of them would take minutes


def measure(setting: Setting) -> list[Finding]:
    """Build stores, open one, and read the tables."""
    module = load_module(setting)
    filenames = module.source.read_records()["filename"]
    paths = [setting.root / name for name in filenames]

    def read_with_wfdb() -> None:
        for path in paths[:_N_WFDB]:
            wfdb.rdsamp(str(path))

    def read_bytes() -> None:
        for path in paths:
            path.with_name(f"{path.name}.hea").read_bytes()
            data = path.with_name(f"{path.name}.dat").read_bytes()
            np.frombuffer(data, "<i2").reshape(-1, 12).sum(axis=0, dtype=np.int64)  # WFDB's checksum

    def build() -> None:
        with tempfile.TemporaryDirectory(dir=setting.folder) as folder:
            assert load_module(setting, store_dir=folder).store is not None

    with tempfile.TemporaryDirectory(dir=setting.folder) as folder:
        load_module(setting, store_dir=folder).store  # noqa: B018 (builds it)
        ready = [load_module(setting, store_dir=folder) for _ in range(setting.rounds)]
        for module in ready:
            module.cohort  # noqa: B018 (reads the tables)
        seconds = take_turns(
            {
                "wfdb": read_with_wfdb,
                "bytes": read_bytes,
                "store": build,
                "tables": lambda: load_module(setting).cohort,
                "open": lambda: ready.pop().store,
            },
            setting.rounds,
        )
    seconds["wfdb"] = [each * len(paths) / min(_N_WFDB, len(paths)) for each in seconds["wfdb"]]
    seconds["store"] = [a - b for a, b in zip(seconds["store"], seconds["tables"], strict=True)]
    peak = statistics.median(_measure_peak(setting) for _ in range(3))
    return [
        Finding("building the store, s", statistics.median(seconds["store"]), "", seconds["store"]),
        Finding("times as fast as a loop of `wfdb.rdsamp`", median_ratio(seconds["wfdb"], seconds["store"]), ">= 40"),
        Finding("times reading and summing the bytes", median_ratio(seconds["store"], seconds["bytes"]), "<= 3"),
        Finding("most memory of a building process, GB", peak, "<= 1.2"),
        Finding("opening a finished store, s", statistics.median(seconds["open"]), "<= 0.5", seconds["open"]),
        Finding("tables, labels and folds, s", statistics.median(seconds["tables"]), "<= 1", seconds["tables"]),
    ]


def load_module(setting: Setting, *, store_dir: str | None = None) -> ECGDataModule:
    """Return fold 0 of the simulated data set, nothing read yet."""
    import hydra
    from hydra import compose
    from hydra.utils import instantiate

    from ecgcls.config import CONF_DIR

    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("config", overrides=setting.overrides)
    if store_dir is not None:
        config.data.store_dir = store_dir
    source, settings = split_settings(config.data)
    return ECGDataModule(
        instantiate(source), task=instantiate(config.task), folds=instantiate(config.folds), fold=0, **settings
    )


def _measure_peak(setting: Setting) -> float:
    """Build a store in a process of its own and return the most memory that it or one of its children had, GB."""
    code = (
        "import resource, sys, tempfile\n"
        "from pathlib import Path\n"
        "from benchmarks.findings import Setting\n"
        "from benchmarks.ingest import load_module\n"
        f"setting = Setting(Path({str(setting.folder)!r}), {setting.n_records}, 1)\n"
        f"with tempfile.TemporaryDirectory(dir={str(setting.folder)!r}) as folder:\n"
        "    load_module(setting, store_dir=folder).store\n"
        "whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)\n"
        "print(max(resource.getrusage(who).ru_maxrss for who in whose) / 1e6)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])
