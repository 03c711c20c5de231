"""What a run has saved, read as data: within bounds, of plain values, and complete where it is asked.

A run's folder may come from anybody. Whatever is wrong with one of its files is a `DataError` of one line.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml

from ecgcls.errors import DataError
from ecgcls.files import check_regular

CURE = "retrain with overwrite=true"
"""What is to be done about a damaged file of a run."""
_MAX_DEPTH = 30  # of nodes in nodes; a configuration has about five
_MAX_VALUES = 100_000  # of YAML, whose aliases repeat what they name


class Node(dict[str, Any]):
    """A mapping that was read from a file; a key that it lacks is a `DataError` that names both."""

    def __init__(self, content: Any = (), where: str = "a file of the run") -> None:
        super().__init__(content)
        self.where = where

    def __missing__(self, key: object) -> NoReturn:
        raise damaged(self.where, f"{key!r} is missing")

    def __reduce__(self) -> tuple[Any, ...]:
        return Node, (dict(self), self.where)


def read_json(path: Path, *, max_bytes: int) -> Node:
    """Read a mapping from a JSON file without NaN."""
    return _read(path, max_bytes, _load_json)


def parse_json(content: bytes, *, where: str, max_values: int = sys.maxsize) -> Node:
    """Read a mapping from the content of a JSON file, as `read_json`."""
    return _parse(content, where, _load_json, max_values)


def read_yaml(path: Path, *, max_bytes: int) -> Node:
    """Read a mapping from a YAML file of plain values."""
    return _read(path, max_bytes, lambda text: yaml.load(text, _PlainLoader), max_values=_MAX_VALUES)


def to_plain(value: Any) -> Any:
    """Return nodes as the dicts that they were made of."""
    if isinstance(value, Mapping):
        return {key: to_plain(each) for key, each in value.items()}
    return [to_plain(each) for each in value] if isinstance(value, list) else value


def check_types(node: Mapping[str, Any], hints: Mapping[str, Any], *, where: str, key: str = "") -> None:
    """Hold what is there against annotations, by key; the hint of a node is a mapping itself."""
    from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

    for name in hints.keys() & node.keys():
        hint, value, inner = hints[name], node[name], f"{key}.{name}" if key else name
        if isinstance(hint, Mapping):
            if not isinstance(value, Mapping):
                raise damaged(where, f"{inner} must be a mapping, got {value!r}")
            check_types(value, hint, where=where, key=inner)
            continue
        try:
            check_type(value, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        except TypeCheckError as error:
            raise damaged(where, f"{inner}: {error}") from error


def damaged(where: object, why: object) -> DataError:
    """Return the error of a file of a run that cannot be used."""
    return DataError(f"{where}: damaged ({' '.join(str(why).split())[:200]}); {CURE}")


class _PlainLoader(yaml.SafeLoader):
    """`yaml.SafeLoader` without merge keys, a few of which can stand for millions of values."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.YAMLError("a saved configuration has no merge keys (<<)")
        super().flatten_mapping(node)


def _read(path: Path, max_bytes: int, parse: Callable[[str], Any], *, max_values: int = sys.maxsize) -> Node:
    try:
        check_regular(path, max_bytes=max_bytes)
        return _parse(path.read_bytes(), str(path), parse, max_values)
    except FileNotFoundError as error:
        raise DataError(f"{path}: this file of the run is missing; {CURE}") from error


def _parse(content: bytes, where: str, parse: Callable[[str], Any], max_values: int) -> Node:
    try:
        mapping = parse(content.decode("utf-8"))
        if not isinstance(mapping, dict):
            raise DataError(f"expected a mapping, got {type(mapping).__name__}")
        return _wrap(mapping, where, iter(range(max_values)), max_values)
    except (yaml.YAMLError, ValueError, RecursionError, MemoryError) as error:
        if where in str(error):
            raise
        raise damaged(where, error) from error


def _load_json(text: str) -> Any:
    return json.loads(text, parse_constant=_read_finite, parse_float=_read_finite)


def _wrap(value: Any, where: str, counted: Iterator[int], most: int, *, depth: int = 0) -> Any:
    """Make every mapping a `Node`; refuse what is not plain, nested too deeply, or too much."""
    if depth > _MAX_DEPTH or next(counted, None) is None:
        raise DataError(f"expected at most {_MAX_DEPTH} levels and {most:,} values")
    if isinstance(value, dict):
        if unnamed := [key for key in value if not isinstance(key, str | int)]:
            raise DataError(f"a key must be text, got {unnamed[0]!r}")
        return Node(
            {str(key): _wrap(each, where, counted, most, depth=depth + 1) for key, each in value.items()}, where
        )
    if isinstance(value, list):
        return [_wrap(each, where, counted, most, depth=depth + 1) for each in value]
    if isinstance(value, int) and abs(value) >= 2**63:
        raise DataError(f"a whole number of {len(str(value))} digits")
    if isinstance(value, float) and math.isnan(value):
        raise DataError("a value must be a number or text, got NaN")
    if value is not None and not isinstance(value, bool | int | float | str):
        raise DataError(f"a value must be a number or text, got {type(value).__name__}")
    return value


def _read_finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise DataError(f"a number must be finite, got {text}")
    return number
