"""Damage to each file of a finished run, and what every command that reads a run makes of it: one line, or a result."""

import json
import os
import shutil
from copy import deepcopy
from dataclasses import replace as replace_fields

import numpy as np
import pytest
import torch
import yaml
from scipy.special import expit

from ecgcls.command.refusal import explain, is_expected
from ecgcls.data.signals import LEADS
from ecgcls.evaluation.decisions import learn_decisions
from ecgcls.evaluation.settings import ThresholdRule
from ecgcls.evaluation.thresholds import choose_thresholds
from ecgcls.files import STANDARDIZED_ON, hash_standardizer
from ecgcls.jobs.compare import read_side
from ecgcls.jobs.external import predict_data_set
from ecgcls.jobs.load import load_run, load_tested
from ecgcls.jobs.rescore import rescore
from ecgcls.reporting.experiment import collect
from ecgcls.reporting.facts import describe_data, summarize_configuration
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.find import open_configuration
from ecgcls.runs.manifest import hash_file
from ecgcls.training.standardizer import hash_weights, take_own

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
    predict_data_set(load_tested(open_configuration(folder)), data={"root": root}, split="test", overrides=SETTINGS)


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


def rewrite(run, **changed):
    """Write another run.json, and the manifest with it."""
    run.write_info(replace_fields(run.read_info(), **changed))


def tune_on_test(run):
    """Choose the thresholds on the test set, and say that they come from validation."""
    tested, info = run.read_predictions("test", is_calibrated=False), run.read_info()
    tuned, _ = choose_thresholds(tested.y_true, tested.y_prob, tested.class_names, ThresholdRule(min_positives=1))
    rewrite(run, thresholds=tuned)
    decided = replace_fields(info.read_decisions(), thresholds=tuned).apply(run._read_predictions(False))
    run.write_predictions(decided)


def change_calibrator(run):
    info = run.read_info()
    by_class = info.decisions["calibrator"]["by_class"] | {"MI": {"method": "platt", "slope": 1.3, "intercept": 0.4}}
    rewrite(run, decisions=info.decisions | {"calibrator": {"method": "platt", "by_class": by_class}})


def change_rule(run):
    """Say that the thresholds are fixed ones, by a rule that was none of the configuration."""
    fixed = replace_fields(run.read_info().evaluation, thresholds=ThresholdRule(rule="fixed", fixed=0.37))
    validation, info = run.read_predictions("val", is_calibrated=False), run.read_info()
    decisions = learn_decisions(validation, thresholds=fixed.thresholds, pos_weight=info.pos_weight)
    run.write_predictions(decisions.apply(run.read_predictions(is_calibrated=False)))
    rewrite(run, evaluation=fixed, decisions=decisions.to_dict(), thresholds=dict(decisions.thresholds))


def raise_probabilities(run):
    """Give the test records with MI a higher probability of it, after recalibration."""
    predictions = run.read_predictions()
    y_logit = predictions.y_logit + (predictions.y_true == 1) * (predictions.split == "test")[:, None]
    run.write_predictions(replace_fields(predictions, y_logit=y_logit, y_prob=expit(y_logit)))


def decide_better(run):
    predictions = run.read_predictions()
    run.write_predictions(replace_fields(predictions, y_pred=predictions.y_true))


def raise_logits(run):
    """Give the test records with MI a higher logit of it, before recalibration and after."""
    predictions = run.read_predictions(is_calibrated=False)
    y_logit = predictions.y_logit + (predictions.y_true == 1) * (predictions.split == "test")[:, None]
    raised = replace_fields(predictions, y_logit=y_logit, y_prob=expit(y_logit))
    run.write_predictions(raised, is_calibrated=False)
    run.write_predictions(run.read_info().read_decisions().apply(raised))


def change_table(column, change):
    """Change a column of both predictions files."""

    def damage(run):
        tables = {before: run.read_predictions(is_calibrated=not before) for before in (True, False)}
        for before, table in tables.items():
            changed = replace_fields(table, **{column: change(getattr(table, column))})
            run.write_predictions(changed, is_calibrated=not before)

    return damage


def flip_a_label(y_true):
    flipped = y_true.copy()
    flipped[-1, 0] = 1 - flipped[-1, 0]
    return flipped


def change_weights(key, change):
    def damage(run):
        stored = torch.load(run.best_checkpoint, weights_only=True)
        stored["state_dict"][key] = change(stored["state_dict"][key])
        torch.save(stored, run.best_checkpoint)

    return damage


def forge_standardizer(run):
    """Change the standardizer, and every fingerprint that is of it."""
    stored, info = torch.load(run.best_checkpoint, weights_only=True), run.read_info()
    stored["state_dict"]["standardizer.sd_mv"] *= 1.001
    values = stored["state_dict"]["standardizer.mean_mv"], stored["state_dict"]["standardizer.sd_mv"]
    stored[STANDARDIZED_ON] = hash_standardizer(info.hash_part("train", "signals"), *values)
    torch.save(stored, run.best_checkpoint)
    net = hash_weights(take_own(stored["state_dict"]))
    own = {"net": net, "best.ckpt": hash_file(run.best_checkpoint)}
    rewrite(run, standardized_on=stored[STANDARDIZED_ON], fingerprints=info.fingerprints | own)


def forge_weights(run):
    """Change a weight and its fingerprint."""
    stored = torch.load(run.best_checkpoint, weights_only=True)
    stored["state_dict"]["net.head.3.bias"] += 2.0
    torch.save(stored, run.best_checkpoint)
    net = hash_weights(take_own(stored["state_dict"]))
    own = {"net": net, "best.ckpt": hash_file(run.best_checkpoint)}
    rewrite(run, fingerprints=run.read_info().fingerprints | own)


def change_config(run):
    path = run.path / ".hydra/config.yaml"
    path.write_text(path.read_text().replace("lr: ", "lr: 1"))


READING = (evaluate, predict, evaluate_elsewhere, compare, report)
TAMPERED = {  # what was changed, by whom it must be found, and in which words
    "thresholds tuned on test": (tune_on_test, READING, "leak: .* give other decisions: the threshold of "),
    "calibrator": (change_calibrator, READING, "leak: .* give other decisions: the calibrator is another"),
    "rule": (change_rule, READING, r"evaluation\.thresholds\.rule is not as in run\.json"),
    "probabilities": (raise_probabilities, READING, "not what the run's calibrator and thresholds make of"),
    "decisions": (decide_better, READING, "not what the run's calibrator and thresholds make of"),
    "logits": (raise_logits, READING, r"not what the run's net predicted \(fingerprint"),
    "labels": (change_table("y_true", flip_a_label), READING, "other ids, patients or labels"),
    "patients": (change_table("patient_id", lambda ids: ids + 1), READING, "other ids, patients or labels"),
    "configuration": (change_config, READING, "not the configuration that the run was trained with"),
    "standardizer": (
        change_weights("standardizer.sd_mv", lambda sd: sd * 1.01), READING,
        "not what the run's predictions are from|leak: the standardizer was fitted on",
    ),
    "weights": (
        change_weights("net.head.3.bias", lambda bias: bias + 0.5), READING,
        "not what the run's predictions are from|other weights than the run",
    ),
    "forged standardizer": (forge_standardizer, (evaluate_elsewhere,), "leak: .* its training records give when it"),
    "forged weights": (forge_weights, (evaluate_elsewhere,), r"predicts its own test record \d+ otherwise than its"),
}  # fmt: skip


def find_out(bench, kind, commands):
    """Tamper with a copy of the run, and with its manifest so that it agrees; each command must refuse it."""
    damage, _, words = TAMPERED[kind]
    run = RunDirectory(shutil.copytree(bench.source, bench.folder, ignore=shutil.ignore_patterns("figures", "log")))
    damage(run)
    run.seal()
    for command in commands:
        with pytest.raises(ValueError, match=words) as refused:
            command(bench.folder, bench.root)
        assert is_expected(refused.value) and "\n" not in explain(refused.value)


@pytest.mark.parametrize("kind", TAMPERED)
def test_what_was_changed_is_found_out_though_the_manifest_agrees(bench, kind):
    find_out(bench, kind, TAMPERED[kind][1][:1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", TAMPERED)
def test_what_was_changed_is_found_out_by_every_command(bench, kind):
    find_out(bench, kind, TAMPERED[kind][1])


def test_decisions_of_another_version_that_differ_are_told(bench, caplog):
    run = RunDirectory(shutil.copytree(bench.source, bench.folder))
    info = run.read_info()
    thresholds = {name: at * 0.9 for name, at in info.thresholds.items()}
    decisions = replace_fields(info.read_decisions(), thresholds=thresholds)
    run.write_predictions(decisions.apply(run.read_predictions(is_calibrated=False)))
    rewrite(run, thresholds=thresholds, versions=info.versions | {"ecgcls": "0.0.1"})
    evaluate(bench.folder, bench.root)
    assert (
        "give other decisions: the threshold of " in caplog.text
        and "the run is of an earlier ecgcls, 0.0.1" in caplog.text
    )


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
