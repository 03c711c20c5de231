"""ONNX files as somebody would write them who means harm, or who knows no better."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HUGE = 2_000_000_000


def make_graph(nodes, weights=(), *, opset="", **more):
    """A graph of ``signal_mv`` (batch, 12, sample) with the output ``y``, as bytes; `more` are fields of the model."""
    signal = helper.make_tensor_value_info("signal_mv", TensorProto.FLOAT, ["batch", 12, "sample"])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "graph", [signal], [answer], list(weights))
    opsets = [helper.make_opsetid(name, version) for name, version in (("", 20), (opset, 1)) if name or version > 1]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **more)


def node(operator, inputs, output="y", **more):
    return helper.make_node(operator, inputs.split(), [output], **more)


def value(name, content):
    return numpy_helper.from_array(np.asarray(content), name)


def elsewhere(location):
    """A weight whose values lie in another file."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[5], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    return make_graph([node("Add", "signal_mv w")], [weight])


def weighing(dims, **content):
    """A weight that says it has these dimensions."""
    kind = content.pop("data_type", TensorProto.FLOAT)
    return make_graph([node("Add", "signal_mv w")], [TensorProto(name="w", data_type=kind, dims=dims, **content)])


def around(operator):
    """A graph inside an operator: a loop without an end, or a branch."""
    scalar = helper.make_tensor_value_info
    kept, branch = (
        helper.make_node("Identity", ["go"], ["on"]),
        helper.make_node("Constant", [], ["z"], value_float=1.0),
    )
    number = helper.make_node("Cast", ["i"], ["z"], to=TensorProto.FLOAT)
    if operator == "If":
        inner = helper.make_graph([branch], "inner", [], [scalar("z", TensorProto.FLOAT, [])])
        outer = node("If", "go", "q", then_branch=inner, else_branch=inner)
    else:
        given = [scalar("i", TensorProto.INT64, []), scalar("go", TensorProto.BOOL, [])]
        given_back = [scalar("on", TensorProto.BOOL, []), scalar("z", TensorProto.FLOAT, [])]
        outer = node("Loop", "n go", "q", body=helper.make_graph([kept, number], "inner", given, given_back))
    return make_graph([outer, node("Add", "signal_mv q")], [value("n", 2**62), value("go", True)])


def growing(operator, inputs, weights, **more):
    """A small file that takes gigabytes when it runs."""
    parts = [node(operator, inputs, "k", **more), node("ReduceMax", "k", "q", keepdims=0), node("Add", "signal_mv q")]
    return make_graph(parts, weights)


def nested(depth):
    """A message in a message in a message."""
    content = b""
    for _ in range(depth):
        content = b"\x3a" + _varint(len(content)) + content
    return content


def _varint(number):
    digits = []
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])


def list_refused():
    """Files that are refused before a runtime sees them: by name, content and a part of the message."""
    function = helper.make_function(
        "mine", "F", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])], [helper.make_opsetid("", 20)]
    )
    nothing = make_graph([node("Identity", "signal_mv")])
    sparse = make_graph([node("Identity", "signal_mv")])
    sparse.graph.sparse_initializer.append(onnx.SparseTensorProto(dims=[3]))
    trained = make_graph([node("Identity", "signal_mv")])
    trained.training_info.add()
    one_float = {"raw_data": b"1234"}
    every = {
        "text": (b"hello, I am an ONNX file", "no ONNX file"),
        "zeros": (bytes(100), "no ONNX file"),
        "cut": (nothing.SerializeToString()[:-3], "no ONNX file"),
        "endless number": (b"\xff" * 40, "no ONNX file"),
        "length beyond the end": (b"\x3a\xff\xff\xff\xff\x7fabc", "no ONNX file"),
        "a number where a graph is": (b"\x38\x01", "no ONNX file"),
        "external": (elsewhere("../../../../etc/passwd"), "another file"),
        "external absolute": (elsewhere("/etc/passwd"), "another file"),
        "external here": (elsewhere("weights.bin"), "another file"),
        "huge weight": (weighing([10**6, 10**6], **one_float), "1000000 x 1000000 values"),
        "overflowing weight": (weighing([2**31, 2**31, 4], **one_float), "and has 4 bytes"),
        "negative weight": (weighing([-1], **one_float), "and has 4 bytes"),
        "twice negative weight": (weighing([-1, -1], **one_float), "and has 4 bytes"),
        "empty and overflowing": (weighing([0, -1]), "and has 0 bytes"),
        "weights of text": (weighing([1], data_type=TensorProto.STRING, string_data=[b"a"]), "expected numbers"),
        "weights of unknown type": (weighing([1], data_type=77, **one_float), "expected numbers"),
        "loop": (around("Loop"), "operator Loop has a graph inside"),
        "if": (around("If"), "operator If has a graph inside"),
        "function": (make_graph([node("Identity", "signal_mv")], functions=[function]), "functions of its own"),
        "training": (trained, "training information"),
        "sparse": (sparse, "sparse weights"),
        "microsoft": (make_graph([node("Gelu", "signal_mv", domain="com.microsoft")]), "operator of com.microsoft"),
        "own domain": (make_graph([node("Evil", "signal_mv", domain="evil\x1b[2J")]), r"evil\\x1b\[2J"),
        "imported domain": (make_graph([node("Identity", "signal_mv")], opset="evil"), "operators of evil"),
        "random": (make_graph([node("RandomNormalLike", "signal_mv")]), "draws random numbers"),
        "constant elsewhere": (
            make_graph([node("Constant", "", "k", value=elsewhere("a").graph.initializer[0]), node("Identity", "k")]),
            "another file",
        ),
    }
    return {
        name: (content if isinstance(content, bytes) else content.SerializeToString(), why)
        for name, (content, why) in every.items()
    }


def list_growing():
    """Files that ask for more memory than a graph gets."""
    column, row = np.ones((60_000, 1), np.float32), np.ones((1, 60_000), np.float32)
    one = np.ones(1, np.float32)
    every = {
        "constant": growing("ConstantOfShape", "s", [value("s", [HUGE])]),
        "expand": growing("Expand", "v s", [value("s", [HUGE]), value("v", one)]),
        "tile": growing("Tile", "v s", [value("s", [HUGE]), value("v", one)]),
        "pad": growing("Pad", "v s", [value("s", [0, HUGE]), value("v", one)]),
        "outer": growing("Mul", "u w", [value("u", column), value("w", row)]),
        "product": growing("MatMul", "u w", [value("u", column), value("w", row)]),
        "of the signal": make_graph(
            [node("ReduceMax", "signal_mv", "v", keepdims=0), node("Expand", "v s", "k"), node("ReduceMax", "k")],
            [value("s", [HUGE])],
        ),
    }
    return {name: model.SerializeToString() for name, model in every.items()}
