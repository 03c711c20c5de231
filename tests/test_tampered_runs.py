"""Damage to each file of a finished run, and what every command that reads a run makes of it: one line, or a result."""

import json
import os
import shutil
from copy import deepcopy

import numpy as np
import pytest
import yaml

from ecgcls.command.refusal import explain, is_expected
from ecgcls.data.signals import LEADS
from ecgcls.jobs.compare import read_side
from ecgcls.jobs.external import predict_data_set
from ecgcls.jobs.load import load_run
from ecgcls.jobs.rescore import rescore
from ecgcls.reporting.experiment import collect
from ecgcls.reporting.facts import describe_data, summarize_configuration
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.find import open_configuration

SETTINGS = {"intervals": {}, "calibration": {}, "thresholds": {}, "subgroups": {}, "prevalence": None}
FILES = (
    "run.json", "manifest.json", ".hydra/config.yaml", "best.ckpt", "history.csv", "groups.csv", "predictions.csv",
    "predictions_uncalibrated.csv", "metrics.json",
)  # fmt: skip
CONTENTS = {
    "empty": b"", "text": b"hello", "list": b"[1, 2]", "number": b"3", "null": b"null", "binary": bytes(range(256)) * 9,
    "deep": b"[" * 100_000, "zip": b"PK\x05\x06" + bytes(18), "python": b'!!python/object/apply:os.system ["true"]',
}  # fmt: skip
WRONG = ("absent", "text", -1, 1.5, None, True, [], {}, [1], {"a": 1}, "\0", 10**18)


def predict(folder, root):
    load_run(folder).predict(np.zeros((12, 1000)) + np.sin(np.arange(1000)), sampling_rate_hz=100, lead_names=LEADS)


def evaluate(folder, root):
    rescore(open_configuration(folder), split="test", overrides=SETTINGS)


def evaluate_elsewhere(folder, root):
    one = open_configuration(folder)
    data = {"missing_records": "error", "bad_records": "error", "repairs": "note", "store_dir": None}
    where = {"root": root, "device": "cpu", **data}
    predict_data_set(one, split="test", overrides=SETTINGS, **where)


def compare(folder, root):
    side = read_side(str(folder), output_dir=folder)
    side.score_runs()
    side.count_records("train")


def report(folder, root):
    found = collect(folder.parent)
    describe_data(found.configurations)
    for one in found.configurations:
        summarize_configuration(one)
        _ = one.histories, one.groups, one.thresholds


def run_again(folder, root):
    run = RunDirectory(folder)
    if run.is_finished:
        run.read_metrics()["val"]["overall"]


def overwrite(folder, root):
    RunDirectory(folder).clear()
    assert not (folder / "run.json").exists()


COMMANDS = (predict, evaluate, evaluate_elsewhere, compare, report, run_again, overwrite)


class Bench:
    """A finished run, of which each damage gets a copy of its own."""

    def __init__(self, source, folder, root):
        self.source, self.folder, self.root = source, folder / "e" / "fold_0", root
        self.n_refused, self.faults = 0, []

    def try_all(self, label, damage, *, seals=False, commands=COMMANDS):
        """Damage a copy; with `seals` the manifest is made to agree, as somebody who means harm would."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.source, self.folder, ignore=shutil.ignore_patterns("figures", "log", "last.ckpt"))
        damage(self.folder)
        if seals:
            RunDirectory(self.folder).seal()
        for command in commands:
            try:
                command(self.folder, self.root)
            except Exception as error:
                self.n_refused += 1
                if not is_expected(error) or "\n" in explain(error):
                    self.faults.append(f"{label}: {command.__name__}: {type(error).__name__}: {error}")


@pytest.fixture
def bench(configuration, tmp_path, synthetic_root):
    return Bench(configuration / "fold_0", tmp_path, synthetic_root)


def write_content(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def replace(name, how):
    def damage(folder):
        path = folder / name
        path.unlink()
        {"folder": path.mkdir, "nothing": lambda: None, "pipe": lambda: os.mkfifo(path)}.get(
            how, lambda: path.symlink_to(path if how == "loop" else "/dev/zero")
        )()

    return damage


def list_keys(node, above=()):
    for key, value in node.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from list_keys(value, (*above, key))


def change(node, keys, value):
    changed = deepcopy(node)
    inner = changed
    for key in keys[:-1]:
        inner = inner[key]
    if value == "absent":
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return changed


def list_changes(source, name):
    """List a label and the content of each change of one key."""
    text = (source / name).read_text()
    node = json.loads(text) if name.endswith("json") else yaml.safe_load(text)
    for keys in list_keys(node):
        for value in WRONG:
            content = change(node, keys, value)
            text = json.dumps(content) if name.endswith("json") else yaml.safe_dump(content)
            yield f"{name}: {'.'.join(keys)}={value!r}", text.encode()


def test_a_sample_of_damages_is_refused_in_one_line(bench):
    """Two files, the damages that ended in a traceback once."""
    for name, content in (("best.ckpt", b""), ("best.ckpt", b"hello"), ("run.json", b"[]"), ("run.json", b'{"status')):
        bench.try_all(f"{name}: {content!r}", write_content(name, content), commands=(predict, run_again, overwrite))
    info = json.loads((bench.source / "run.json").read_text())
    for keys in (("data", "lead_names"), ("data", "parts"), ("decisions",), ("thresholds",), ("stages_s", "fit")):
        content = json.dumps(change(info, keys, "absent")).encode()
        bench.try_all(f"run.json without {keys}", write_content("run.json", content), seals=True)
    assert bench.faults == []
    assert bench.n_refused > 15


def test_names_in_another_order_are_found_out(bench):
    """Without the manifest's help as well; probabilities under the names of other classes look like any others."""
    info = json.loads((bench.source / "run.json").read_text())
    for key in ("class_names", "lead_names"):
        turned = change(info, ("data", key), info["data"][key][::-1])
        for seals in (False, True):
            damage = write_content("run.json", json.dumps(turned).encode())
            bench.try_all(key, damage, seals=seals, commands=(predict,))
    assert bench.faults == []
    assert bench.n_refused == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_no_damage_of_a_file_ends_in_a_traceback(bench, name):
    for label, content in CONTENTS.items():
        bench.try_all(f"{name}: {label}", write_content(name, content), seals=name != "manifest.json")
    bench.try_all(f"{name}: cut", cut(name))
    for how in ("folder", "nothing", "pipe", "loop", "zero"):
        bench.try_all(f"{name}: {how}", replace(name, how))
    assert bench.faults == []
    assert bench.n_refused > 15


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run.json", ".hydra/config.yaml", "metrics.json"])
def test_no_wrong_value_ends_in_a_traceback(bench, name):
    changes = list(list_changes(bench.source, name))
    for label, content in changes[:: max(1, len(changes) // 30)]:
        bench.try_all(label, write_content(name, content), seals=True)
    assert bench.faults == []
