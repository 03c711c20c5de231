"""What every source of records promises, and that a node of the group ``data`` fits one of them."""

import inspect

import pandas as pd
import pytest
import yaml
from hydra.utils import get_object, instantiate

from ecgcls.config import CONF_DIR
from ecgcls.data.challenge import Challenge
from ecgcls.data.module import ECGDataModule
from ecgcls.data.ptbxl import PTBXL
from ecgcls.data.record_files import find_missing
from ecgcls.data.source import ModuleSettings, Source, split_settings
from ecgcls.data.synthetic import Synthetic
from ecgcls.data.table import Table
from tests.data.challenge_files import write_record

SOURCES = {"challenge": Challenge, "ptbxl": PTBXL, "synthetic": Synthetic, "table": Table}


def read_node(name: str) -> dict:
    node: dict = yaml.safe_load((CONF_DIR / "data" / f"{name}.yaml").read_text())
    return {key: value for key, value in node.items() if key != "defaults"}  # which Hydra reads


@pytest.fixture(params=SOURCES)
def source(request, synthetic_root, tmp_path) -> Source:
    """Each source, made as a configuration makes it, of 60 records."""
    more: dict = {"n_records": 60} if request.param == "synthetic" else {}
    root = synthetic_root
    if request.param == "challenge":
        root = tmp_path
        for number in range(60):
            write_record(root / f"g{number % 3}", f"E{number:05d}")
    if request.param == "table":
        more["manifest"] = str(tmp_path / "ecgs.csv")
        database = pd.read_csv(root / "ptbxl_database.csv")
        table = pd.DataFrame({"file": database["filename_lr"], "SR": database["scp_codes"].str.contains("'SR'")})
        table.to_csv(more["manifest"], index=False)
    return instantiate(split_settings(read_node(request.param))[0] | {"root": str(root)} | more)


def test_every_source_of_the_configuration_is_tested():
    names = {path.stem for path in (CONF_DIR / "data").glob("*.yaml")}
    assert {name: get_object(read_node(name)["_target_"]) for name in names} == SOURCES


def test_a_source_provides_what_the_protocol_lists(source):
    source.prepare()
    assert source.root.is_dir() and source.sampling_rate_hz == 100 and source.missing_records == "error"
    records, statements = source.read_records(), source.read_statements()
    assert records.index.name == "ecg_id" and records.index.is_unique and len(records) == 60
    if "strat_fold" in records:
        assert records[["patient_id", "strat_fold"]].dtypes.eq("int64").all()
    assert records["patient_id"].notna().all()
    assert find_missing(source.root, records["filename"]).empty
    listed = {statement for codes in records["scp_codes"] for statement in codes}
    assert listed and listed <= set(statements.index)
    assert statements[["diagnostic", "form", "rhythm"]].dtypes.eq(bool).all()
    assert {"diagnostic_class", "diagnostic_subclass"} <= set(statements)
    prints = source.fingerprint()
    assert prints and all(len(digest) == 64 for digest in prints.values())


def test_whether_ecgs_are_simulated_is_what_the_source_says():
    assert {name: source.is_synthetic for name, source in SOURCES.items()} == dict.fromkeys(SOURCES, False) | {
        "synthetic": True
    }


@pytest.mark.parametrize("name", SOURCES)
def test_a_node_is_split_between_source_and_data_module(name):
    node = read_node(name)
    source, module = split_settings(node)
    assert source | module == node and set(module) == set(ModuleSettings.__annotations__)
    assert set(source) - {"_target_"} <= set(inspect.signature(SOURCES[name]).parameters)


def test_the_shared_settings_are_those_of_the_data_module():
    of_a_run = {"source", "task", "folds", "fold", "seed", "metadata", "initial"}
    assert {*inspect.signature(ECGDataModule).parameters} == of_a_run | set(ModuleSettings.__annotations__)
