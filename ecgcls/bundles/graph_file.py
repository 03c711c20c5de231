"""An ONNX file from anybody, looked through before a runtime opens it.

A graph runs no code of its own, but a runtime would read other files for it (external data), go around in a loop that
never ends, or load what a name stands for. A graph that ecgcls exports has none of that: one line of computation in
ONNX's own operators, all weights inside. Whatever else is in a file is refused by name.

The file is protocol buffers' wire format [1]_ with ONNX's messages [2]_, of which only the fields are read that matter
here, so that nothing but onnxruntime is needed. What is not checked: whether the operators fit each other, which the
runtime does, and how much memory and time they take, which `ecgcls.bundles.session` bounds.

References
----------
.. [1] https://protobuf.dev/programming-guides/encoding/
.. [2] https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from collections.abc import Iterator
from math import prod

from ecgcls.errors import DataError
from ecgcls.files import printable

_MAX_NODES = 100_000
_OWN_DOMAINS = ("", "ai.onnx")
_REFUSED = {
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), "has a graph inside, which may never end"),
    **dict.fromkeys(
        ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"),
        "draws random numbers",
    ),
    **dict.fromkeys(
        ("ImageDecoder", "StringNormalizer", "StringSplit", "StringConcat", "RegexFullMatch"), "is no math"
    ),
}
_NUMBERS = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""Bytes of a value, by ONNX's number of a type: float, the integers, bool, float16, double, bfloat16."""


def check_graph(content: bytes, *, where: object) -> None:
    """Refuse an ONNX file that could do more than compute; `where` names it in the `DataError`."""
    try:
        for number, value in _read_fields(memoryview(content)):
            if number == 7:
                _check_graph(_as_message(value))
            elif number == 8:
                _check_domain(value, 1)
            elif number in (20, 25):
                raise DataError(f"it has {'training information' if number == 20 else 'functions of its own'}")
    except DataError as error:
        hint = "it was not written by ecgcls.export; do not use it unless you know who made it"
        raise DataError(f"{where}: {printable(str(error))[:200]}: {hint}") from None


def _check_graph(graph: memoryview) -> None:
    n_nodes = 0
    for number, value in _read_fields(graph):
        if number == 1:
            n_nodes += 1
            _check_node(_as_message(value))
        elif number == 5:
            _check_tensor(_as_message(value))
        elif number == 15:
            raise DataError("it has sparse weights")
        if n_nodes > _MAX_NODES:
            raise DataError(f"it has more than {_MAX_NODES:,} operators")


def _check_node(node: memoryview) -> None:
    for number, value in _read_fields(node):
        if number == 4 and (name := _as_text(value)) in _REFUSED:
            raise DataError(f"its operator {name} {_REFUSED[name]}")
        if number == 7 and (domain := _as_text(value)) not in _OWN_DOMAINS:
            raise DataError(f"it has an operator of {domain}, expected ONNX's own")
        if number == 5:
            _check_attribute(_as_message(value))


def _check_attribute(attribute: memoryview) -> None:
    for number, value in _read_fields(attribute):
        if number in (5, 10):
            _check_tensor(_as_message(value))
        elif number in (6, 11, 21, 22, 23):
            raise DataError("an operator has a graph, a sparse tensor or a reference inside")


def _check_tensor(tensor: memoryview) -> None:
    """Refuse weights that lie elsewhere, are no numbers, or are fewer than they say."""
    dims: list[int] = []
    data_type, n_bytes, is_raw = 0, 0, False
    for number, value in _read_fields(tensor):
        if number == 1:
            dims += [value] if isinstance(value, int) else _read_varints(value)
        elif number == 2:
            data_type = value if isinstance(value, int) else 0
        elif number in (4, 5, 7, 9, 10, 11):
            n_bytes += len(_as_message(value)) if not isinstance(value, int) else 10
            is_raw |= number == 9
        elif number == 13 or (number == 14 and value):
            raise DataError("its weights lie in another file")
    if data_type not in _NUMBERS:
        raise DataError(f"a tensor has values of type {data_type}, expected numbers")
    n_least = prod(dims) * (_NUMBERS[data_type] if is_raw else 1)  # a value outside of raw data takes a byte or more
    if any(size >= 2**63 for size in dims) or n_least > n_bytes:
        raise DataError(f"a tensor says that it has {' x '.join(map(str, dims))} values, and has {n_bytes:,} bytes")


def _check_domain(opset: int | memoryview, field: int) -> None:
    for number, value in _read_fields(_as_message(opset)):
        if number == field and (domain := _as_text(value)) not in _OWN_DOMAINS:
            raise DataError(f"it asks for operators of {domain}, expected ONNX's own")


def _read_fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number of each field of a message with its value: a number, or bytes."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        kind, size = key & 7, {1: 8, 5: 4}.get(key & 7, 0)
        if key < 8 or kind not in (0, 1, 2, 5):
            raise _damaged()
        if kind == 0:
            value, at = _read_varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _read_varint(message, at)
        if at + size > len(message):
            raise _damaged()
        yield key >> 3, message[at : at + size]
        at += size


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise _damaged()


def _read_varints(message: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(message):
        value, at = _read_varint(message, at)
        values.append(value)
    return values


def _as_message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _damaged()
    return value


def _as_text(value: int | memoryview) -> str:
    return bytes(_as_message(value)).decode(errors="backslashreplace")


def _damaged() -> DataError:
    return DataError("it is damaged, or no ONNX file")
