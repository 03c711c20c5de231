"""Data modules for tests, and the truth about their records, read without the code under test."""

import ast
import csv
from pathlib import Path

import numpy as np
import torch
import wfdb
from torch.utils.data import DataLoader

from ecgcls.data.folds import FoldTable
from ecgcls.data.module import ECGDataModule
from ecgcls.data.ptbxl import PTBXL
from ecgcls.data.signals import LEADS
from ecgcls.data.source import Source
from ecgcls.data.tasks import Task

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
PART_OF_STRAT_FOLD = dict.fromkeys(range(1, 9), "train") | {9: "val", 10: "test"}


def record_order(loader: DataLoader, epoch: int | None = None) -> list[int]:
    """The records that a loader yields, of training in an epoch."""
    if epoch is not None:
        loader.batch_sampler.sampler.set_epoch(epoch)
    return torch.cat([batch["record"] for batch in loader]).tolist()


def build(source: Source, store_dir: Path, **changed) -> ECGDataModule:
    task = Task(statements="diagnostic", classes="diagnostic_class", class_order=SUPERCLASSES)
    arguments = {"task": task, "folds": FoldTable(val=[[9]], test=[[10]]), "fold": 0, "store_dir": str(store_dir)}
    return ECGDataModule(source, **(arguments | changed))


def make(root: Path, store_dir: Path, *, missing_records="error", **changed) -> ECGDataModule:
    """A data module that is ready to use."""
    data = build(PTBXL(root=root, missing_records=missing_records), store_dir, **changed)
    data.prepare_data()
    data.setup()
    return data


def read_truth(root: Path) -> list[dict]:
    """Path, part and classes of every record with a superclass, read without the code under test."""
    with (root / "scp_statements.csv").open(newline="", encoding="utf-8") as file:
        class_of = {row[""]: row["diagnostic_class"] for row in csv.DictReader(file) if row["diagnostic"]}
    records = []
    with (root / "ptbxl_database.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            classes = {class_of[code] for code in ast.literal_eval(row["scp_codes"]) if code in class_of}
            part = PART_OF_STRAT_FOLD[int(row["strat_fold"])]
            if classes:
                target = [float(name in classes) for name in SUPERCLASSES]
                records.append({"path": root / row["filename_lr"], "part": part, "target": target})
    return records


def read_mv(path: Path) -> np.ndarray:
    """``(lead, sample)`` as wfdb gives it; the files have the leads in the order of `LEADS`."""
    record = wfdb.rdrecord(str(path))
    assert [name.upper() for name in record.sig_name] == [lead.upper() for lead in LEADS]
    assert set(record.units) == {"mV"}
    return record.p_signal.T
