"""Bundles from somebody who means harm: each is refused in one line, and nothing of it is run."""

import io
import json
import os
import pickle
import socket
import sys
import tracemalloc
import zipfile
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from numpy.lib import format as npy
from onnx import helper

import ecgcls
from ecgcls.bundles import directory
from ecgcls.bundles.directory import GRAPH, SUMS, open_bundle
from ecgcls.bundles.metadata import NAME
from ecgcls.command.refusal import explain, is_expected
from ecgcls.data.signals import LEADS
from ecgcls.errors import ConfigError, DataError
from ecgcls.jobs import load_bundle
from tests.bundles.hand_made import N_SAMPLES, make_certainty, make_metadata, make_model, pack, seal, write_bundle
from tests.bundles.hostile import list_refused

SIGNAL = np.sin(np.arange(12 * N_SAMPLES).reshape(12, -1) / 7.0)


class Trap:
    """Says so when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch sprung",)


@contextmanager
def bounded(n_bytes):
    """Fail if more memory is taken."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < n_bytes
    finally:
        tracemalloc.stop()


def ask(bundle, **more):
    return bundle.predict(SIGNAL, sampling_rate_hz=100, lead_names=LEADS, **more)


def refuse(folder, match="", *, use=ask):
    """Return the one line that a bundle is refused with when it is opened and used."""
    with pytest.raises((DataError, ConfigError), match=match) as caught:
        use(ecgcls.load_bundle(folder))
    text = explain(caught.value)
    assert is_expected(caught.value) and "\n" not in text and text.isprintable() and len(text) < 700, text
    return text


def change(key, value):
    """``metadata.json`` with another value at a dotted key; a number in it is a place in a list."""
    content = make_metadata()
    *parents, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    node = content
    for parent in parents:
        node = node[parent]
    if value is KeyError:
        del node[last]
    else:
        node[last] = value
    return content


def declare(shape, dtype="<f8", *, extra=b""):
    """An array that says it has a shape, and then has nothing but `extra`."""
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + extra


def archive(content, *, name="scores.npy", compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as opened:
        opened.writestr(name, content)
    return file.getvalue()


def test_the_bundle_that_the_others_differ_from_predicts(tmp_path):
    prediction = ask(ecgcls.load_bundle(write_bundle(tmp_path)), error_rate=0.3)
    expected = 1 / (1 + np.exp(-SIGNAL.mean()))
    assert prediction.y_prob == {"MI": pytest.approx(expected, abs=1e-6), "CD": pytest.approx(1 - expected, abs=1e-6)}
    assert set(prediction.y_set) == {"MI", "CD"}


def test_no_code_of_a_bundle_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trap = b"import os; os.system('touch sprung')\nraise SystemExit(3)\n"
    names = ("predict.py", "onnxruntime.py", "numpy.py", "__init__.py", "sitecustomize.py", "model.pt")
    folder = write_bundle(tmp_path / "bundle", dict.fromkeys(names, trap) | {"model.pt": pickle.dumps(Trap())})
    modules = {*sys.modules}
    ask(ecgcls.load_bundle(folder), error_rate=0.3)
    assert not (tmp_path / "sprung").exists()
    assert not {name for name in {*sys.modules} - modules if name == "predict"}


@pytest.mark.parametrize("name", list_refused())
def test_a_graph_that_could_do_more_than_compute(tmp_path, name):
    content, why = list_refused()[name]
    refuse(write_bundle(tmp_path, {GRAPH: content}), why)


def test_a_graph_that_takes_too_much_time_is_told_when_it_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(load_bundle, "_LIMIT_S", 0.01)
    products = [helper.make_node("MatMul", [f"m{number}", "m0"], [f"m{number + 1}"]) for number in range(30)]
    parts = [
        helper.make_node("ReduceMax", ["signal_mv"], ["most"], keepdims=0),
        helper.make_node("Expand", ["most", "square"], ["m0"]),
        *products,
        helper.make_node("ReduceMax", ["m30"], ["again"], keepdims=0),
        helper.make_node("Add", ["scaled", "again"], ["slow"]),
        helper.make_node("Sigmoid", ["slow"], ["probabilities"]),
    ]
    model = make_model(extra=parts)
    del model.graph.node[6]
    model.graph.initializer.add(name="square", data_type=7, dims=[2], raw_data=np.array([600, 600]).tobytes())
    refuse(write_bundle(tmp_path, {GRAPH: model.SerializeToString()}), "has not answered within 0.01 s")


def test_a_graph_that_takes_too_much_memory_is_told_when_it_is_opened(tmp_path):
    parts = [
        helper.make_node("ReduceMax", ["signal_mv"], ["most"], keepdims=0),
        helper.make_node("Expand", ["most", "huge"], ["all"]),
        helper.make_node("ReduceMax", ["all"], ["again"], keepdims=0),
    ]
    model = make_model(extra=parts)
    model.graph.initializer.add(name="huge", data_type=7, dims=[1], raw_data=np.int64(2 * 10**9).tobytes())
    model.graph.output.add().CopyFrom(helper.make_tensor_value_info("again", 1, []))
    refuse(write_bundle(tmp_path / "named", {GRAPH: model.SerializeToString()}), "expected probabilities")
    del model.graph.output[3], model.graph.node[6]
    model.graph.node.append(helper.make_node("Add", ["scaled", "again"], ["with it"]))
    model.graph.node.append(helper.make_node("Sigmoid", ["with it"], ["probabilities"]))
    refuse(write_bundle(tmp_path / "hidden", {GRAPH: model.SerializeToString()}), "more than 4 GB of memory")


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (make_model(n_leads=8), "signal_mv must be any x 12 x any"),
        (make_model(names=("p", "logits", "net_logits")), "expected probabilities, logits, net_logits, got p, logits"),
        (make_model(names=("probabilities", "l\x1b[2J", "net_logits")), r"got probabilities, l\\x1b\[2J, net_logits"),
        (make_model(scale=np.nan), "probabilities are not finite"),
        (make_model(scale=np.inf), "probabilities are not finite"),
    ],
    ids=["leads", "outputs", "escape", "nan", "infinite"],
)
def test_a_graph_that_does_not_fit_its_metadata(tmp_path, model, why):
    refuse(write_bundle(tmp_path, {GRAPH: model.SerializeToString()}), why)


def test_answers_that_are_no_numbers_for_some_recordings_only(tmp_path):
    model = make_model()
    model.graph.node[4].CopyFrom(helper.make_node("Div", ["both", "both"], ["scaled"]))  # 0 / 0 of a flat recording
    refuse(write_bundle(tmp_path / "flat", {GRAPH: model.SerializeToString()}), "not finite")
    model.graph.node[4].CopyFrom(helper.make_node("Log", ["both"], ["scaled"]))
    refuse(write_bundle(tmp_path / "log", {GRAPH: model.SerializeToString()}), "not finite")


@pytest.mark.parametrize("name", ["graph", "certainty"])
@pytest.mark.parametrize("change_size", [False, True])
def test_a_file_that_was_changed_is_refused_before_it_is_used(tmp_path, name, change_size):
    folder = write_bundle(tmp_path)
    path = folder / (GRAPH if name == "graph" else "certainty_0.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content + bytes(change_size))
    refuse(folder, "not the file that the bundle was made with", use=lambda bundle: bundle.conformals)


LINES = {
    "empty": ("", "lines of a SHA-256"),
    "outside": ("{0}  ../model.onnx\n", "lines of a SHA-256"),
    "absolute": ("{0}  /etc/passwd\n", "lines of a SHA-256"),
    "parent": ("{0}  ..\n", "lines of a SHA-256"),
    "backslash": ("{0}  ..\\model.onnx\n", "lines of a SHA-256"),
    "drive": ("{0}  C:model.onnx\n", "lines of a SHA-256"),
    "twice": ("{0}  a\n{1}  a\n", "each once"),
    "itself": (f"{{0}}  {SUMS}\n", "of another file"),
    "many": ("".join(f"{number:064x}  f{number}\n" for number in range(1001)), "up to 1000 lines"),
    "escape": ("{0}  a\x1b[2J\n", "lines of a SHA-256"),
    "long": ("{0}  " + "a" * 300 + "\n", "lines of a SHA-256"),
    "not text": ("{0}  \xff\n", "lines of a SHA-256"),
    "other": ("{0}  other.json\n", "metadata.json is not listed"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_list_of_files_that_leaves_the_folder(tmp_path, name):
    text, why = LINES[name]
    folder = write_bundle(tmp_path)
    (folder / SUMS).write_bytes(text.format("0" * 64, "1" * 64).encode("latin-1"))
    refuse(folder, why)


@pytest.mark.parametrize("name", [SUMS, NAME, GRAPH, "certainty_0.npz"])
@pytest.mark.parametrize("kind", ["missing", "link", "pipe", "folder", "socket", "device", "huge"])
def test_what_is_no_file_of_the_folder(tmp_path, monkeypatch, name, kind):
    folder = write_bundle(tmp_path / "bundle")
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if kind == "link":  # to the very same content
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        monkeypatch.chdir(folder)
        socket.socket(socket.AF_UNIX).bind(name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(3_000_000_000)  # of which the disk holds nothing
    why = {
        "huge": "expected (a file of )?at most|npz files, expected at most",
        "missing": "missing|no metadata.json",
        "link": "a link, expected a file",
        "device": "a link|no metadata.json",
    }
    refuse(folder, why.get(kind, "expected a file of at most|cannot be opened"), use=lambda bundle: bundle.conformals)


_ENTRY = make_certainty()[make_certainty().index(b"PK\x01\x02") :][:10]  # up to how it is compressed
CERTAINTIES = {
    "no archive": b"hello",
    "empty": b"",
    "cut": make_certainty()[:-30],
    "pickle": pickle.dumps(Trap()),
    "pickle in an archive": archive(pickle.dumps(Trap())),
    "objects": pack({"scores": np.array([Trap()], dtype=object)}),
    "declared objects": archive(declare((1,), "|O", extra=pickle.dumps([Trap()]))),
    "declared terabytes": archive(declare((10**12,), extra=bytes(8))),
    "declared overflow": archive(declare((2**62, 8))),
    "declared negative": archive(declare((-1,))),
    "declared less": archive(declare((1,), extra=bytes(800))),
    "bad header": archive(b"\x93NUMPY\x01\x00\x10\x00" + b"__import__('os')"),
    "newer header": archive(b"\x93NUMPY\x09\x00\x10\x00" + b" " * 16),
    "compressed zeros": archive(declare((10**6,), extra=bytes(8 * 10**6)), compression=zipfile.ZIP_DEFLATED),
    "compressed arrays": pack({"scores": np.zeros(10**5)}, save=np.savez_compressed),
    "unknown compression": make_certainty().replace(_ENTRY + b"\0\0", _ENTRY + b"\x63\0"),
    "many": pack({f"a{number}": np.zeros(1) for number in range(1001)}),
    "missing scores": pack({"n_records": np.ones(4), "n_patients": np.ones(4)}),
    "other classes": pack({
        "n_records": np.full(2, 1), "n_patients": np.full(2, 1), "scores": np.arange(2.0), "weights": np.ones(2),
    }),
    "not a number": pack({
        "n_records": np.full(4, 1), "n_patients": np.full(4, 1), "scores": np.full(4, np.nan), "weights": np.ones(4),
    }),
    "negative counts": pack({
        "n_records": np.array([-1, 1, 1, 1]), "n_patients": np.ones(4), "scores": np.ones(2), "weights": np.ones(2),
    }),
    "overflowing counts": pack({
        "n_records": np.full(4, 2**62), "n_patients": np.ones(4), "scores": np.ones(0), "weights": np.ones(0),
    }),
    "infinite counts": pack({
        "n_records": np.full(4, 1), "n_patients": np.full(4, np.inf), "scores": np.ones(4), "weights": np.ones(4),
    }),
    "negative weights": pack({
        "n_records": np.full(4, 1), "n_patients": np.full(4, 9), "scores": np.ones(4), "weights": np.full(4, -5.0),
    }),
    "infinite weights": pack({
        "n_records": np.full(4, 1), "n_patients": np.full(4, 9), "scores": np.ones(4), "weights": np.full(4, np.nan),
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", CERTAINTIES)
def test_arrays_that_are_no_plain_numbers_or_say_that_they_are_more(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    folder = write_bundle(tmp_path / "bundle", {"certainty_0.npz": CERTAINTIES[name]})
    with bounded(50e6) if name.startswith(("declared", "compressed")) else nullcontext():
        refuse(folder, "certainty_0.npz", use=lambda bundle: bundle.conformals)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", CERTAINTIES)
def test_likenesses_and_waveforms_are_read_as_carefully(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    names = ["likeness_0.npz", *(f"waveforms_{part}.npz" for part in ("train", "val", "test", "unlabeled"))]
    folder = write_bundle(tmp_path / "bundle", dict.fromkeys(names, CERTAINTIES[name]))
    refuse(folder, "likeness_0.npz", use=lambda bundle: bundle.likenesses)
    refuse(folder, "waveforms_train.npz", use=lambda bundle: bundle.seen)
    assert not (tmp_path / "sprung").exists()


METADATA = {
    "format": ("other", "format must be"),
    "format_version": (2, "format_version 2"),
    "name": ("a\x1b]0;owned\x07", r"control character, \\x1b"),
    "description": ("left \u202e right", r"control character, \\u202e"),
    "license": ("\ud800", r"control character, \\ud800"),
    "input": (KeyError, "'input' is missing"),
    "input.unit": ("uV", "input.unit must be 'mV'"),
    "input.shorter": ("guess", "input.shorter"),
    "input.sampling_rate_hz": (1e9, "at most 10000 Hz"),
    "input.sampling_rate_hz ": (0, "at least 50 Hz"),
    "input.sampling_rate_hz  ": ("100", "input.sampling_rate_hz"),
    "input.n_samples": (10**12, "for 3600 s at most"),
    "input.n_samples ": (-5, "min_samples <= n_samples"),
    "input.n_samples  ": (1.5, "input.n_samples"),
    "input.n_samples   ": (2000, "n_samples is 2000, and 100 by run.data"),
    "input.min_samples": (0, "0 < min_samples"),
    "input.lead_names": ([], "got 0 leads"),
    "input.lead_names ": (["I", "I"], "different names"),
    "input.lead_names  ": (["I", "X9"], "no standard lead"),
    "input.lead_names   ": (list(LEADS[::-1]), "lead_names is"),
    "input.lead_names    ": (5, "lead_names"),
    "input.metadata": (["age", "age"], "different names"),
    "input.metadata ": (["age"], "expected signal_mv, metadata, got signal_mv"),
    "input.metadata  ": ([""], "1 to 200 characters"),
    "input.may_lack_leads": ("yes", "may_lack_leads"),
    "classes": ([], "calibrators"),
    "classes ": ([{"name": f"c{number}", "threshold": 0.5} for number in range(1001)], "up to 1000 different names"),
    "classes  ": ([{"threshold": 0.5}], "'name' is missing"),
    "classes   ": ([{"name": "MI", "threshold": 0.5}], "class_names is|calibrators"),
    "classes.0.name": ("CD", "different names"),
    "classes.0.name ": ("M\nI", "1 to 200 characters"),
    "classes.0.name  ": ("M" * 5000, "1 to 200 characters"),
    "classes.0.name   ": ("<script>", "the calibrator does not know the class <script>"),
    "classes.0.name    ": (7, "name"),
    "classes.0.threshold": (1.5, "threshold of MI must be in 0..1"),
    "classes.0.threshold ": (-0.1, "threshold of MI must be in 0..1"),
    "classes.0.threshold  ": ("0.5", "threshold"),
    "classes.0.threshold   ": (KeyError, "'threshold' is missing"),
    "classes.0.scp_codes": (5, "scp_codes"),
    "classes.0.snomed_ct": (["x"], "snomed_ct"),
    "parity": ({"n_records": "many"}, "parity.n_records"),
    "training_data": ([1], "training_data must be a mapping"),
    "nets.n": (3, "1 decisions.calibrators of 3 nets"),
    "nets.n ": (10**9, "1 decisions.calibrators of 1000000000 nets"),
    "decisions.calibrators": ([], "0 decisions.calibrators of 1 nets"),
    "decisions.calibrators.0": ({"method": "none"}, "decisions.calibrators"),
    "decisions.calibrators.0.by_class": ({}, "does not know the class MI"),
    "decisions.calibrators.0.by_class ": ([1], "decisions.calibrators"),
    "decisions.calibrators.0.by_class.MI": ({}, "decisions.calibrators"),
    "decisions.calibrators.0.by_class.MI ": ({"method": "platt", "slope": "1", "intercept": 0}, "calibrators"),
    "decisions.calibrators.0.by_class.MI  ": ({"method": "platt", "slope": -1, "intercept": 0}, "rising, finite"),
    "decisions.calibrators.0.by_class.MI   ": ({"method": "platt", "slope": 1e308, "intercept": 0}, "rising, finite"),
    "decisions.calibrators.0.by_class.MI    ": (
        {"method": "isotonic", "prob": [0.1, 0.2], "calibrated": [0.1]}, "decisions.calibrators",
    ),
    "run": ({}, "'status' is missing"),
    "run.status": ("hacked", "status"),
    "run.data": ({"class_names": ["A", "B"]}, "class_names is"),
    "run.other": (1, "unknown key 'other'"),
    "task": ([], "task"),
}  # fmt: skip


@pytest.mark.parametrize("key", METADATA)
def test_metadata_that_does_not_fit(tmp_path, key):
    value, why = METADATA[key]
    refuse(write_bundle(tmp_path, metadata=change(key.strip(), value)), why)


CONTENTS = {
    "empty": b"", "text": b"hello", "list": b"[1]", "binary": bytes(range(256)), "deep": b"[" * 200_000,
    "deep mapping": b'{"a":' * 5000 + b"1" + b"}" * 5000, "digits": b'{"format": ' + b"9" * 5000 + b"}",
    "nan": b'{"format": NaN}', "infinite": b'{"format": 1e999}',
}  # fmt: skip


@pytest.mark.parametrize("name", CONTENTS)
def test_metadata_that_is_no_metadata(tmp_path, name):
    refuse(write_bundle(tmp_path, {NAME: CONTENTS[name]}), "metadata.json")


def test_metadata_of_too_many_values(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "_MAX_VALUES", 20)
    refuse(write_bundle(tmp_path), "metadata.json: damaged .*at most 30 levels and 20 values")


def test_files_are_bounded_by_their_kind(tmp_path, monkeypatch):
    monkeypatch.setitem(directory._MAX_BYTES, ".json", 100)
    refuse(write_bundle(tmp_path), "metadata.json: expected a file of at most 100 bytes, got ")


def test_a_file_that_nobody_lists_is_not_read(tmp_path):
    folder = write_bundle(tmp_path)
    (folder / "likeness_0.npz").write_bytes(b"hello")
    bundle = ecgcls.load_bundle(folder)
    assert ask(bundle).y_prob and "likeness_0.npz" not in bundle.bundle
    with pytest.raises(DataError, match=r"likeness_0\.npz is not listed"):
        bundle.bundle.read("likeness_0.npz")
    with pytest.raises(DataError, match="is not listed"):
        bundle.bundle.check("../secret")


def test_check_hashes_large_files_without_reading_them_whole(tmp_path):
    folder = write_bundle(tmp_path, {"model.safetensors": None})
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(20_000_000)
    seal(folder)
    bundle = open_bundle(folder)
    with bounded(5e6):
        assert bundle.check("model.safetensors") == folder / "model.safetensors"


def test_the_sums_are_as_sha256sum_writes_them(tmp_path):
    bundle = open_bundle(write_bundle(tmp_path))
    assert [*bundle.sums] == ["certainty_0.npz", NAME, GRAPH]
    assert json.loads(bundle.read(NAME))["name"] == "hand-made"
