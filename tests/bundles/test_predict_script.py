"""The script in a bundle, held against sums worked out by hand and against what ecgcls itself does with an ECG."""

import ast
import json
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ecgcls.bundles.directory import GRAPH, READER
from ecgcls.data import signal_checks
from ecgcls.data.lead_sets import INDEPENDENT, LEADS
from ecgcls.data.limb_leads import derive_limb_leads
from ecgcls.data.metadata import take_values
from ecgcls.data.recordings import MIN_RECORDED_S, Recording, prepare
from ecgcls.data.sample_tables import read_table
from ecgcls.errors import DataError
from ecgcls.jobs.export import write_sums

N_SAMPLES = 200  # 2 s at 100 Hz


def write_graph(path: Path, n_leads: int, n_metadata: int) -> None:
    """Write a graph whose probabilities are the logistic functions of the means of lead 1, lead 5 and the metadata."""

    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    nodes = [
        helper.make_node("ReduceMean", ["signal_mv", "last"], ["means"], keepdims=0),
        helper.make_node("Gather", ["means", "two"], ["leads"], axis=1),
        helper.make_node("Concat", ["leads", "metadata"][: 1 + bool(n_metadata)], ["logits"], axis=1),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
    ]
    inputs = [value("signal_mv", ["batch", n_leads, "sample"]), value("metadata", ["batch", n_metadata])]
    constants = [numpy_helper.from_array(np.array(each), name) for name, each in (("last", [-1]), ("two", [1, 5]))]
    outputs = [value("probabilities", ["batch", 2 + n_metadata])]
    graph = helper.make_graph(nodes, "graph", inputs[: 1 + bool(n_metadata)], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Write a bundle around such a graph and import its script; `changed` is what its input has differently."""

    def write(**changed):
        folder = tmp_path_factory.mktemp("bundle")
        form = {"lead_names": list(LEADS), "sampling_rate_hz": 100, "unit": "mV", "n_samples": N_SAMPLES}
        form |= {"metadata": [], "may_lack_leads": False, "shorter": "refuse"} | changed
        names = ["up", "left", *form["metadata"]]
        content = {"format": "ecgcls bundle", "format_version": 1, "name": "means", "version": "1.0.0", "input": form}
        content["classes"] = [{"name": name, "threshold": 0.6} for name in names]
        (folder / "metadata.json").write_text(json.dumps(content))
        write_graph(folder / GRAPH, len(form["lead_names"]), len(form["metadata"]))
        (folder / READER.name).write_bytes(READER.read_bytes())
        write_sums(folder)
        return import_script(folder)

    return write


@pytest.fixture(scope="module")
def plain(make):
    """The script of a bundle that no test changes."""
    return make()


def import_script(folder: Path):
    spec = spec_from_file_location("script", folder / READER.name)
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def simulate(n_samples=N_SAMPLES, *, offset_mv=0.5):
    """Twelve leads that obey Einthoven and Goldberger, ``(lead, sample)``; the mean of II is the offset."""
    rng = np.random.default_rng(7)
    noise = rng.normal(size=(8, n_samples)).round(3)
    free = dict(zip(INDEPENDENT, noise - noise.mean(axis=1, keepdims=True), strict=True))
    free["II"] = free["II"] + offset_mv
    found = derive_limb_leads(free)
    return np.stack([found[name] for name in LEADS])


def logistic(value):
    return 1 / (1 + np.exp(-value))


def test_probabilities_are_those_of_leads_found_by_name(plain):
    bundle = plain.load()
    order = np.random.default_rng(0).permutation(12)
    names = [f"Lead {LEADS[number].lower()}" for number in order]
    found = bundle.predict(simulate()[order], sampling_rate_hz=100, lead_names=names)
    expected = {"up": logistic(0.5), "left": logistic(0.5)}  # aVF = II - I / 2, and I has the mean 0
    assert found["probabilities"] == pytest.approx(expected, abs=1e-6)
    assert (found["decisions"], found["notes"]) == ({"up": True, "left": True}, [])
    eight = simulate()[[LEADS.index(name) for name in INDEPENDENT]]
    found = bundle.predict(eight, sampling_rate_hz=100, lead_names=INDEPENDENT)
    assert found["probabilities"] == pytest.approx(expected, abs=1e-6)
    assert found["notes"] == ["derived from other limb leads: III, aVR, aVL, aVF"]


def test_probabilities_of_stretches_are_averaged_and_the_last_ends_with_the_recording(plain):
    long = np.concatenate([simulate(offset_mv=3), simulate(offset_mv=-1)], axis=1)[:, : 3 * N_SAMPLES // 2]
    found = plain.load().predict(long, sampling_rate_hz=100, lead_names=LEADS)
    expected = (logistic(3) + logistic(long[1, N_SAMPLES // 2 :].mean())) / 2
    assert found["probabilities"]["up"] == pytest.approx(expected, abs=1e-6)
    assert found["notes"] == ["cut into 2 stretches of 2 s, whose probabilities are averaged"]


def test_metadata_reach_the_graph_in_its_order(make, monkeypatch):
    script = make(metadata=["sex", "age"])
    monkeypatch.setattr(script, "OLDEST", 2.0)
    given = {"sampling_rate_hz": 100, "lead_names": LEADS}
    found = script.load().predict(simulate(), **given, metadata={"age": "3", "sex": -1})
    assert found["probabilities"]["age"] == pytest.approx(logistic(2.0))
    assert found["probabilities"]["sex"] == pytest.approx(logistic(-1))
    with pytest.raises(script.ConfigError, match=r"takes the metadata sex, age alone, as numbers; got weight=70"):
        script.load().predict(simulate(), **given, metadata={"weight": 70})
    with pytest.raises(script.DataError, match="not finite"):  # this graph has no median to take
        script.load().predict(simulate(), **given, metadata={"age": None})


@pytest.mark.parametrize(
    ("rate_hz", "n_samples", "names", "changed"),
    [
        (500, 1000, LEADS, {}),
        (257.3, 700, INDEPENDENT, {}),
        (100, 470, LEADS[:6], {"lead_names": ["aVF", "I"]}),
        (125, 150, LEADS, {"shorter": "pad"}),
        (100, 200, ("V1", "II", "V4"), {"may_lack_leads": True}),
        (100, 200, ("V1", "III", "II"), {"may_lack_leads": True, "lead_names": list(LEADS[:7])}),
        (100, 199, LEADS, {}),
        (100, 99, LEADS, {"shorter": "pad"}),
        (100, 200, LEADS[:7], {}),
        (100, 200, ("I", "II", "ECG_I", *LEADS[6:]), {}),
    ],
)
def test_an_ecg_becomes_what_ecgcls_makes_of_it(make, rate_hz, n_samples, names, changed):
    script = make(**changed)
    form = script.load().info["input"]
    standard = [script.standardize(name) for name in names]
    signal_mv = simulate(n_samples)[[LEADS.index(name) for name in standard]]
    options = {"may_lack": form["may_lack_leads"], "pads": form["shorter"] == "pad"}
    wanted = {key: form[key] for key in ("lead_names", "sampling_rate_hz", "n_samples")}
    try:
        expected = prepare(Recording(signal_mv, rate_hz, names), **wanted, **options)
    except DataError as error:
        with pytest.raises(script.DataError) as found:
            script.prepare(signal_mv, float(rate_hz), list(names), form)
        assert str(found.value) == str(error)
    else:
        stretches_mv, _ = script.prepare(signal_mv, float(rate_hz), list(names), form)
        np.testing.assert_allclose(stretches_mv, expected.windows_mv, atol=1e-6)


def test_what_the_script_repeats_of_ecgcls_is_as_there():
    script = import_script(READER.parent)
    assert script.LEADS == LEADS
    bounds = (script.MIN_RATE_HZ, script.MAX_RATE_HZ, script.MAX_AMPLITUDE_MV, script.MIN_RANGE_MV)
    kept = ("MIN_SAMPLING_RATE_HZ", "MAX_SAMPLING_RATE_HZ", "MAX_AMPLITUDE_MV", "MIN_RANGE_MV")
    assert bounds == tuple(getattr(signal_checks, name) for name in kept)
    assert script.MIN_RECORDED_S == MIN_RECORDED_S
    assert take_values({"age": 300}, ["age"])[0] == script.OLDEST


def test_the_script_needs_nothing_but_numpy_onnxruntime_and_scipy():
    tree = ast.parse(READER.read_text(), feature_version=(3, 9))
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    found |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    rooms = {name.partition(".")[0] for name in found} - {*sys.stdlib_module_names}
    assert rooms == {"numpy", "onnxruntime", "scipy"}


TABLES = {
    "times": "time_s,I_mV,II (uV),V1\n0,1.5,-20,0.25\n0.002,1.25,30,0.5\n0.004,1,40,0.125\n",
    "rounded ms": "sep=;\nTime [ms];DI;Lead II\n0;0,5;1\n3;0,25;2\n6;0,75;3\n8;1;4\n",
    "comment": "# fs: 360.5\n\nMDC_ECG_LEAD_I\tecg aVF\tRESP\tnote\n1e-1\t-2\t7\ta\n+.3\t4\t8\tb\n",
    "quoted": '\ufeff"t","I","c1"\r\n"0","1","2"\r\n"0.01","3","4"\r\n',
    "bars": "seconds|V6/mV|V5\n1.00|1|2\n1.0025|3|4\n1.005|5|6\n",
}


@pytest.mark.parametrize("form", [*TABLES, "utf-16", "latin-1"])
def test_a_table_is_read_as_ecgcls_reads_it(tmp_path, form):
    script, path = import_script(READER.parent), tmp_path / "ecg.csv"
    text = TABLES.get(form, "time\tI (\xb5V)\tII\n0\t1,5\t2\n0,01\t2,5\t3\n")
    path.write_bytes(text.encode("utf-8" if form in TABLES else form))
    expected = read_table(path)
    signal_mv, rate_hz, names, notes = script.read_table(path, None, None)
    np.testing.assert_array_equal(signal_mv, expected.signal_mv)
    assert (rate_hz, tuple(names)) == (expected.sampling_rate_hz, expected.lead_names)
    told = ["no unit is stated: taken as mV (if not, say --unit uV)"]
    assert notes == [*told, *(["left out: RESP, note"] if form == "comment" else [])]


def format_table(signal_mv, header="", *, names=LEADS, decimals=3):
    rows = [",".join(f"{value:.{decimals}f}" for value in sample) for sample in signal_mv.T]
    return "\n".join([*([header] if header else []), ",".join(names), *rows, ""])


GOOD = simulate()
RATE = "# sampling_rate_hz=100"
BAD = {
    "no file": (None, "No such file"),
    "empty": ("", "expected a header that names leads"),
    "WFDB": ("00001_lr 12 100 1000\n", "neither a table nor a .npy file; --help shows"),
    "xml": ("<?xml version='1.0'?><ecg/>", "neither a table nor a .npy file"),
    "no header": ("1,2\n3,4\n", "expected a header that names leads.*got '1,2'"),
    "no rate": (format_table(GOOD), "no sampling rate: add --rate 500, a column time_s, or"),
    "header twice": (format_table(GOOD, RATE) * 2, "row 201 below the header: .*'I'"),
    "cells": (format_table(GOOD, RATE).replace("V5,V6", "V6"), "row 1 below the header: 12 cells, the header has 11"),
    "decimal commas": (f"{RATE}\nI,II\n0,1,0,2\n", "row 1 below the header: 4 cells, the header has 2"),
    "empty cell": (f"{RATE}\nI,II\n0.1,\n", "row 1 below the header: could not convert"),
    "one lead": (f"{RATE}\nI\n0.1\n0.3\n", "the leads II, III.*V6 are missing, got I "),
    "microvolt": (format_table(1000 * GOOD, RATE), r"an ECG stays within 32.767 mV: is it uV \(--unit uV\)"),
    "volt": (format_table(GOOD / 1000, RATE, decimals=6), "an ECG has at least 0.02 mV: is it in V"),
    "called uV": (format_table(GOOD, RATE, names=[f"{name}_uV" for name in LEADS]), "mV called uV"),
    "flat": (format_table(0 * GOOD, RATE), "a flat line"),
    "nan": (re.sub(r"\n-?\d\.\d+,", "\nnan,", format_table(GOOD, RATE), count=3), r"missing samples in I \(3\)"),
    "ms as s": ("time,I,II\n0,1,2\n2,3,4\n4,5,6\n", "got 0.5; are the times ms"),
    "gap": ("time_s,I\n0,1\n1,2\n4,3\n5,4\n6,5\n7,6\n", "not evenly spaced"),
    "times fall": ("time_s,I\n1,1\n0,1\n", "the times must rise"),
    "volts of time": ("time_mV,I\n0,1\n1,1\n", "the times must rise"),
    "two rates": (format_table(GOOD, "# fs=250"), "the file states 250 Hz, --rate 100 Hz"),
    "negative": (format_table(GOOD), "the sampling rate must be 50 to 10000 Hz, got -5"),
    "two units": (format_table(GOOD, names=[f"{name}_mV" for name in LEADS]), "the file states mv, --unit uV"),
    "kPa": (format_table(GOOD, names=[*LEADS[:-1], "V6 (ms)"]), "the unit of a lead must be mV.*got ms"),
    "short": (format_table(GOOD[:, :150], RATE), "too short: 1.5 s, the net needs 2 s"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_used_is_one_line(plain, tmp_path, monkeypatch, capsys, case):
    text, message = BAD[case]
    monkeypatch.chdir(tmp_path)
    file = "ecg.hea" if case == "WFDB" else "ecg.csv"
    if text is not None:
        Path(file).write_text(text)
    options = {
        "negative": ["--rate", "-5"],
        "two rates": ["--rate", "100"],
        "two units": ["--unit", "uV", "--rate", "100"],
        "kPa": ["--rate", "100"],
    }
    assert plain.main([file, *options.get(case, [])]) == 2
    found = capsys.readouterr()
    assert found.err.count("\n") == 1
    assert found.err.startswith(f"not used: {file}: ")
    assert re.search(message, found.err), found.err
    assert "research software, not a medical device" in found.out


def test_arrays_have_the_leads_in_order(plain, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("uv.npy", np.rint(1000 * GOOD).astype(np.int16))
    np.save("turned.npy", GOOD.T)
    np.save("objects.npy", np.array([{}]))
    Path("text.npy").write_text("I,II\n")
    names = ["uv.npy", "turned.npy", "objects.npy", "text.npy"]
    assert plain.main([*names, "--rate", "100", "--unit", "uV", "--json"]) == 2
    good, *bad = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert good["probabilities"]["up"] == pytest.approx(logistic(0.5), abs=1e-3)
    assert (good["file"], good["disclaimer"]) == ("uv.npy", "research software, not a medical device")
    assert [one["file"] for one in bad] == names[1:]
    assert "as rows, got float64 (200, 12)" in bad[0]["error"]
    assert all("not a .npy file of numbers" in one["error"] for one in bad[1:])


def test_a_bundle_that_was_changed_or_a_wrong_call_ends_with_code_1(make, monkeypatch, capsys):
    script = make()
    folder = Path(script.__file__).parent
    calls = {"files": [], "--rate": ["a.csv", "--rate", "fast"], "metadata": ["a.csv", "--metadata", "age=6"]}
    for word, arguments in calls.items():
        with pytest.raises(SystemExit, match=word):  # which Python prints, with code 1
            script.main(arguments)
    with monkeypatch.context() as without, pytest.raises(SystemExit, match="pip install onnxruntime"):
        without.setitem(sys.modules, "onnxruntime", None)
        script.main(["a.csv"])
    (folder / GRAPH).write_bytes((folder / GRAPH).read_bytes() + b"\0")
    with pytest.raises(SystemExit, match=r"model.onnx: not the file that SHA256SUMS.txt lists"):
        script.main(["a.csv"])
    write_sums(folder)
    with pytest.raises(SystemExit, match=r"not a bundle that this version can use \(.+\)$"):
        script.main(["a.csv"])
    (folder / "metadata.json").unlink()
    with pytest.raises(SystemExit, match="not a whole bundle"):
        script.main(["a.csv"])
    assert capsys.readouterr().out == ""
