"""Trainings that start from another run's net, on simulated ECGs."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from ecgcls.data.seen import SeenRecords
from ecgcls.errors import ConfigError, DataError
from ecgcls.identity import identify
from ecgcls.jobs.build import build_job
from ecgcls.jobs.known_records import find_known
from ecgcls.jobs.load import load_run, load_tested
from ecgcls.runs.configuration import read_single
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.init_settings import settle_init
from ecgcls.runs.origin import check_same_origin
from tests.in_process import configure, fit

SETTINGS = ("evaluation.intervals.n_resamples=2", "evaluation.subgroups.n_resamples=2", "trainer.max_epochs=2")
OTHER_TASK = ("task=subdiagnostic", "task.absent_classes=drop")


def configure_from(path, root, *overrides):
    """Compose a configuration that starts from a path."""
    return configure(root, *SETTINGS, f"init.path='{path}'", *overrides)


def build(path, root, folder, *overrides):
    return build_job(configure_from(path, root, *overrides), RunDirectory(folder), model="cnn1d")


@pytest.fixture(scope="module")
def first(configuration):
    """A finished run of all twelve leads, trained for the superclasses."""
    return RunDirectory(configuration / "fold_0")


@pytest.fixture(scope="module")
def weights(first):
    return torch.load(first.best_checkpoint, weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def probe(first, synthetic_root, tmp_path_factory):
    """A linear probe of another task."""
    folder = tmp_path_factory.mktemp("probe") / "fold_0"
    own = f"init.path='{first.path}'", "init.freeze=backbone", "init.standardizer=own"
    return fit(folder, synthetic_root, *SETTINGS, *OTHER_TASK, *own)


def test_a_linear_probe_has_the_first_run_s_net_bit_by_bit_but_for_the_head(probe, weights):
    own = torch.load(probe.best_checkpoint, weights_only=True)["state_dict"]
    same = [key for key in weights if key.startswith(("net.features", "net.head.0", "standardizer"))]
    assert len(same) == 3 * 7 + 2 + 2  # of each block 2 + 5
    assert all(torch.equal(own[key], weights[key]) for key in same)
    assert own["net.head.3.weight"].shape != weights["net.head.3.weight"].shape


def test_a_run_records_where_it_started_and_what_was_taken(probe, first):
    init, info = json.loads((probe.path / "run.json").read_text())["init"], first.read_info()
    source = init["source"]
    assert (source["path"], source["model"], source["fold"]) == (str(first.path), "cnn1d", 0)
    assert source["weights_sha256"] == info.fingerprints["net"]
    assert [*init["taken"]["left_out"]] == ["head.3"]
    assert init["known_records"]["in_test"] == 0
    assert init["known_records"]["n_compared"] == sum(
        len(first.read_seen().groups[part]) for part in ("train", "val", "unlabeled")
    )
    assert (init["earlier"], init["standardizer"]) == ([], "own")
    assert probe.read_info().leakage["standardizer"]["fitted_on"] == "init"
    probe.attest()
    assert len(load_run(probe.path).nets) == 1  # the standardizer is that of the first run, and may be


def test_a_third_run_knows_what_the_first_has_learned_from_when_that_is_gone(probe, first, synthetic_root, tmp_path):
    kept, seen = probe.read_seen(), first.read_seen()
    learned = np.concatenate([seen.groups[part].ecg_ids for part in ("train", "val", "unlabeled")])
    assert {*np.concatenate([each.ecg_ids for each in kept.init]).tolist()} == {*learned.tolist()}
    copy = tmp_path / "fold_0"  # whose own waveforms know nothing
    shutil.copytree(probe.path, copy)
    for name in ("train", "val", "unlabeled"):
        (copy / "waveforms" / f"{name}.npz").write_bytes((copy / "waveforms" / "test.npz").read_bytes())
    (copy / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"no manifest\.json|not of the records"):
        build(copy, synthetic_root, tmp_path / "x", "fold=1")
    with pytest.raises(DataError, match=r"test records are among those that init \(cnn1d, fold 0 of default\)"):
        build(probe.path, synthetic_root, tmp_path / "x", "fold=1")
    assert not (tmp_path / "x").exists()
    third = build(probe.path, synthetic_root, tmp_path / "third")
    assert [each["model"] for each in third.info.init["earlier"]] == ["cnn1d"]
    assert sum(map(len, third.data.seen.init)) >= len({*learned.tolist()})


def test_evaluation_elsewhere_knows_the_records_of_the_first_run(probe, first, synthetic_root, tmp_path):
    seen = probe.read_seen()
    store = build(first.path, synthetic_root, tmp_path / "x").data.store
    trained = first.read_seen().groups["train"].ecg_ids
    known = find_known(load_tested(read_single(probe)), store, store.find_rows(trained))
    assert len(known) == len(trained)
    assert {*known["part"]} <= {"train", "init"}
    of_others = SeenRecords({part: each for part, each in seen.groups.items() if part == "test"}, seen.init)
    again = of_others.find_in(store, store.find_rows(trained)).known
    assert again["part"].tolist() == ["init"] * len(trained)
    windows = store.read_mv(store.find_rows(trained[:1]))
    assert load_run(probe.path).seen.recognize(windows, sampling_rate_hz=100)[0].startswith(f"{trained[0]} (")


def test_the_identity_is_of_the_weights_wherever_they_are(first, synthetic_root, tmp_path):
    moved = shutil.copytree(first.path, tmp_path / "elsewhere")
    here, there = (identify(settle_init(configure_from(path, synthetic_root))) for path in (first.path, moved))
    assert here == there
    assert here["init.source"] == f"cnn1d-{first.read_info().fingerprints['net'][:12]}"
    assert not any(key.startswith("init.") for key in identify(settle_init(configure(synthetic_root))))
    folds = [settle_init(configure_from(first.path.parent, synthetic_root, f"fold={fold}")) for fold in (0, 1)]
    assert folds[0]["init"]["source"] == folds[1]["init"]["source"] != here["init.source"]
    built = build(first.path.parent, synthetic_root, tmp_path / "x", "fold=1")
    assert built.info.init["source"]["fold"] == 1
    probe = RunDirectory(tmp_path / "begun")
    probe.write_info(built.info)
    with pytest.raises(ConfigError, match="started from other weights than init= names now"):
        check_same_origin(probe, first.read_info().fingerprints["net"])


def test_weights_of_a_file_are_taken_and_nobody_knows_what_they_have_seen(weights, first, synthetic_root, tmp_path):
    save_file(
        {key.removeprefix("net."): each for key, each in weights.items() if "net." in key}, tmp_path / "w.safetensors"
    )
    job = build(tmp_path / "w.safetensors", synthetic_root, tmp_path / "x", *OTHER_TASK, "fold=1")
    assert torch.equal(job.fitter.classifier.net.features[4].weight, weights["net.features.4.weight"])
    assert job.info.init["known_records"]["unchecked"] == ["all: nothing is known"]
    assert job.info.init["taken"]["left_out"] == {"head.3": "which classes it is of there is not known"}
    seen = f"init.seen='{first.path / 'waveforms'}'"
    with pytest.raises(DataError, match=r"leak: \d+ of the \d+ test records are among those that init \(w.safetensors"):
        build(tmp_path / "w.safetensors", synthetic_root, tmp_path / "x", "fold=1", seen)
    (tmp_path / "bad.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(DataError, match=r"bad\.safetensors: no file in the format safetensors") as refused:
        build(tmp_path / "bad.safetensors", synthetic_root, tmp_path / "x")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (("init.path=nowhere",), "init: there is no nowhere; expected a finished run's folder"),
        (("init.path='{first}/best.ckpt'",), r"a single file must be \.safetensors"),
        (("init.path='{first}/..'", "fold=7"), r"has no fold_7, which fold=7 starts from \(there: fold_0, fold_1"),
        (("init.path='{first}'", "init.seen=x"), r"init\.seen has no effect with the run"),
        (("init.path='{first}'", "init.lr_decay=0"), r"init\.lr_decay must be above 0 and at most 1, got 0"),
        (("init.path='{first}'", "init.unfreeze_every=1"), r"init\.unfreeze_every needs init\.freeze=backbone"),
        (("init.freeze=backbone",), r"init\.freeze=backbone has no effect without a net to start from"),
    ],
)
def test_what_cannot_be_started_from_is_refused_at_once(first, tmp_path, overrides, match):
    given = [each.format(first=first.path) for each in overrides]
    with pytest.raises(ConfigError, match=match) as refused:
        settle_init(configure(tmp_path, *given))
    assert "\n" not in str(refused.value)


def test_what_a_frozen_net_would_lack_is_refused(first, synthetic_root, tmp_path):
    with pytest.raises(ConfigError, match=r"model=prevalence is a baseline, which starts from no net"):
        build_job(
            configure_from(first.path, synthetic_root, "model=prevalence"),
            RunDirectory(tmp_path / "x"),
            model="prevalence",
        )
    net = {key: each for key, each in torch.load(first.best_checkpoint, weights_only=True)["state_dict"].items()}
    kept = {key.removeprefix("net."): each for key, each in net.items() if key.startswith("net.") and ".4." not in key}
    save_file(kept, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"would freeze what was never trained: features\.4: starts anew"):
        build(tmp_path / "w.safetensors", synthetic_root, tmp_path / "x", "init.freeze=backbone")


def test_weights_that_were_changed_since_are_refused(first, synthetic_root, tmp_path):
    copy = RunDirectory(shutil.copytree(first.path, tmp_path / "fold_0"))
    stored = torch.load(copy.best_checkpoint, weights_only=True)
    stored["state_dict"]["net.head.0.bias"] += 1
    torch.save(stored, copy.best_checkpoint)
    with pytest.raises(DataError, match=r"best\.ckpt: not the file that the run wrote"):
        build(copy.path, synthetic_root, tmp_path / "x")
    copy.seal()
    with pytest.raises(DataError, match="other weights than the run trained"):
        build(copy.path, synthetic_root, tmp_path / "x")


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on_from_its_own_weights(first, synthetic_root, tmp_path):
    gradual = "init.freeze=backbone", "init.unfreeze_every=1", "init.lr_decay=0.5", "trainer.max_epochs=3"
    histories = {}
    for name, epochs in (("whole", (3,)), ("stopped", (1, 3))):
        for n_epochs in epochs:
            job = build(first.path, synthetic_root, tmp_path / name, *OTHER_TASK, *gradual)
            job.fitter.trainer.fit_loop.max_epochs = n_epochs
            histories[name] = job.fitter.fit(job.data, tmp_path / name, resume=True)
    pd.testing.assert_frame_equal(histories["stopped"], histories["whole"], check_exact=True)
    for name in ("best.ckpt", "last.ckpt"):
        whole, stopped = (torch.load(tmp_path / each / name, weights_only=True)["state_dict"] for each in histories)
        assert all(torch.equal(whole[key], stopped[key]) for key in whole)
