import resource

import numpy as np
import pytest

from ecgcls.bundles import graph_file
from ecgcls.bundles.graph_file import check_graph
from ecgcls.bundles.session import open_session, run_session
from ecgcls.errors import DataError
from tests.bundles.hostile import list_growing, list_refused, make_graph, node, value

REFUSED, GROWING = list_refused(), list_growing()
SIGNAL = {"signal_mv": np.ones((1, 12, 5), np.float32)}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_could_do_more_than_compute_is_one_line(name):
    content, why = REFUSED[name]
    with pytest.raises(DataError, match=why) as caught:
        check_graph(content, where="model.onnx")
    text = str(caught.value)
    assert text.startswith("model.onnx: ") and "\n" not in text and text.isprintable() and len(text) < 400


def test_a_plain_graph_is_let_through_and_computes():
    content = make_graph([node("Add", "signal_mv w")], [value("w", np.float32(2))]).SerializeToString()
    check_graph(content, where="model.onnx")
    (found,) = run_session(open_session(content, where="model.onnx"), SIGNAL, where="model.onnx")
    assert (found == 3).all()


def test_too_many_operators_are_refused(monkeypatch):
    monkeypatch.setattr(graph_file, "_MAX_NODES", 2)
    check_graph(make_graph([node("Identity", "signal_mv")] * 2).SerializeToString(), where="m")
    with pytest.raises(DataError, match="more than 2 operators"):
        check_graph(make_graph([node("Identity", "signal_mv")] * 3).SerializeToString(), where="m")


@pytest.mark.parametrize("name", GROWING)
def test_a_small_file_never_takes_gigabytes(name):
    check_graph(GROWING[name], where="model.onnx")  # nothing that a look at the file could tell
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    session = open_session(GROWING[name], where="model.onnx")
    with pytest.raises(DataError, match=r"^model.onnx: ") as caught:
        run_session(session, SIGNAL, where="model.onnx")
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


@pytest.mark.parametrize("content", [b"", b"hello", REFUSED["cut"][0]], ids=["empty", "text", "cut"])
def test_what_onnxruntime_refuses_is_one_line(content):
    with pytest.raises(DataError, match=r"^model.onnx: onnxruntime refuses it \(") as caught:
        open_session(content, where="model.onnx")
    assert "\n" not in str(caught.value)


def test_settings_in_a_file_are_not_taken():
    model = make_graph([node("Identity", "signal_mv")])
    model.metadata_props.add(key="ort_config", value='{"session_options": {"enable_profiling": true}}')
    session = open_session(model.SerializeToString(), where="m")
    assert not session.get_session_options().enable_profiling
    assert session.get_providers() == ["CPUExecutionProvider"]
