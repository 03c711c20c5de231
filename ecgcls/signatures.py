"""What a class or function takes, read from its source: importing PyTorch only to tell of a slip takes seconds.

Only plain source is understood: a name that is defined or imported once, at the top of a module. Of anything else
nothing is said, and whoever wants to know has to import it.
"""

import ast
import importlib.util
import inspect
import typing
from collections import abc
from functools import lru_cache, reduce
from operator import or_
from pathlib import Path
from typing import Any

_KNOWN: dict[str, Any] = {
    **{kind.__name__: kind for kind in (bool, int, float, str, bytes, list, dict, tuple, set, object, type, Path)},
    **{name: getattr(typing, name) for name in ("Any", "Literal", "List", "Dict", "Tuple", "Set")},
    **{name: getattr(abc, name) for name in ("Callable", "Iterable", "Mapping", "Sequence")},
}
_MAX_STEPS = 10  # from one module to the next


class _UnclearError(Exception):
    """The source does not settle it."""


class _Module:
    """A module's source.

    Attributes
    ----------
    name, path
        Its dotted name and its file.
    """

    def __init__(self, name: str) -> None:
        first, *rest = name.split(".")
        spec = importlib.util.find_spec(first)  # of the topmost package alone: a deeper one would be imported
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            raise _UnclearError
        path = Path(spec.origin)
        for part in rest:
            there = [path.parent / part / "__init__.py", path.parent / f"{part}.py"]
            found = [each for each in there if path.name == "__init__.py" and each.is_file()]
            if not found or (path.parent / part).name not in {Path(entry).stem for entry in path.parent.iterdir()}:
                raise _UnclearError  # the second: some file systems take torch.optim.Adam for adam.py
            path = found[0]
        self.name, self.path = name, path

    @property
    def package(self) -> str:
        """What a relative import begins at."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def find(self, name: str) -> ast.stmt:
        """Return the one statement that binds a name."""
        bindings = _list_bindings(self.path).get(name, [])
        if len(bindings) != 1:
            raise _UnclearError
        return bindings[0]


def read_signature(target: str) -> inspect.Signature | None:
    """Read the signature of a class or function from its source.

    Parameters
    ----------
    target
        Its dotted name, as in a ``_target_``.

    Returns
    -------
    inspect.Signature or None
        Without ``self``. Defaults are all ``...``; an annotation that is not clear is left out. None if the source is
        not clear.
    """
    try:
        module_name, _, name = target.rpartition(".")
        module, definition = _follow(_Module(module_name), name)
        if isinstance(definition, ast.ClassDef):
            methods = [node for node in definition.body if isinstance(node, ast.FunctionDef)]
            inits = [method for method in methods if method.name == "__init__"]
            if len(inits) != 1 or definition.decorator_list or any(method.name == "__new__" for method in methods):
                return None
            function = inits[0]
        elif isinstance(definition, ast.FunctionDef):
            function = definition
        else:
            return None
        if not all(_keeps_signature(module, decorator) for decorator in function.decorator_list):
            return None
        parameters = [*_list_parameters(module, function.args)]
        return inspect.Signature(parameters[1:] if isinstance(definition, ast.ClassDef) else parameters)
    except (_UnclearError, OSError, SyntaxError, ValueError, ImportError):
        return None


def _follow(module: _Module, name: str) -> tuple[_Module, ast.stmt]:
    """Follow imports to the module where a name is defined."""
    for _ in range(_MAX_STEPS):
        binding = module.find(name)
        if not isinstance(binding, ast.ImportFrom):
            return module, binding
        above = module.package.rsplit(".", binding.level - 1)[0] if binding.level else ""
        source = ".".join(filter(None, [above, binding.module]))
        name = next(alias.name for alias in binding.names if (alias.asname or alias.name) == name)
        module = _Module(source)
    raise _UnclearError


@lru_cache
def _list_bindings(path: Path) -> dict[str, list[ast.stmt]]:
    """List the statements at the top of a module that bind each name, be it on a condition."""
    bindings: dict[str, list[ast.stmt]] = {}
    for statement in ast.parse(path.read_bytes()).body:
        is_conditional = isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.While)
        for node in ast.walk(statement) if is_conditional else [statement]:  # the If stands for what is in it
            for name in _list_names(node):
                bindings.setdefault(name, []).append(statement)
    return bindings


def _list_names(node: ast.AST) -> list[str]:
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return [node.name]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
        case ast.Assign():
            names = [name for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            return [name.id for name in names if isinstance(name.ctx, ast.Store)]
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _keeps_signature(module: _Module, decorator: ast.expr) -> bool:
    """Whether a decorator is a function whose wrapper is marked by `functools.wraps`."""
    if not isinstance(decorator, ast.Name):
        return False
    _, definition = _follow(module, decorator.id)
    if not isinstance(definition, ast.FunctionDef):
        return False
    wrappers = [node for node in definition.body if isinstance(node, ast.FunctionDef)]
    return bool(wrappers) and all(
        any("wraps(" in ast.unparse(mark) for mark in wrapper.decorator_list) for wrapper in wrappers
    )


def _list_parameters(module: _Module, arguments: ast.arguments) -> typing.Iterator[inspect.Parameter]:
    def make(argument: ast.arg, kind: Any, *, has_default: bool = False) -> inspect.Parameter:
        empty = inspect.Parameter.empty
        return inspect.Parameter(
            argument.arg, kind, default=... if has_default else empty, annotation=_evaluate(module, argument.annotation)
        )

    plain = [*arguments.posonlyargs, *arguments.args]
    for number, argument in enumerate(plain):
        is_named = number >= len(arguments.posonlyargs)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if is_named else inspect.Parameter.POSITIONAL_ONLY
        yield make(argument, kind, has_default=number >= len(plain) - len(arguments.defaults))
    if arguments.vararg:
        yield make(arguments.vararg, inspect.Parameter.VAR_POSITIONAL)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield make(argument, inspect.Parameter.KEYWORD_ONLY, has_default=default is not None)
    if arguments.kwarg:
        yield make(arguments.kwarg, inspect.Parameter.VAR_KEYWORD)


def _evaluate(module: _Module, annotation: ast.expr | None) -> Any:
    """Return an annotation without the classes that no YAML file can hold; empty if that is not clear."""
    try:
        members = [*_list_members(module, annotation, _MAX_STEPS)] if annotation else []
    except (_UnclearError, OSError, SyntaxError, ImportError):
        members = []
    return reduce(or_, members) if members else inspect.Parameter.empty


def _list_members(module: _Module, annotation: ast.expr, steps: int) -> typing.Iterator[Any]:
    """Yield the members of a union, aliases resolved."""
    match annotation:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            parts = [left, right]
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=elements)):
            parts = elements
        case ast.Subscript(value=ast.Name(id="Optional"), slice=element):
            parts = [element, ast.Constant(None)]
        case ast.Constant(value=None):
            yield None | type(None)  # so that `|` works on it
            return
        case ast.Name(id=name) if name not in _KNOWN:
            where, definition = _follow(module, name)
            value = definition.value if isinstance(definition, ast.Assign) else None
            if value is not None and steps:
                yield from _list_members(where, value, steps - 1)
            elif not isinstance(definition, ast.ClassDef) or any(map(_is_plain, definition.bases)):
                raise _UnclearError
            return
        case _:
            names = [node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)]
            has_text = any(
                isinstance(node, ast.Constant) and isinstance(node.value, str) for node in ast.walk(annotation)
            )
            if any(name not in _KNOWN for name in names) or (has_text and "Literal" not in names):
                raise _UnclearError
            yield eval(compile(ast.Expression(annotation), "annotation", "eval"), {"__builtins__": {}}, _KNOWN)
            return
    for part in parts:
        yield from _list_members(module, part, steps)


def _is_plain(base: ast.expr) -> bool:
    """Whether a plain value may be an instance of a class with this base."""
    return ast.unparse(base).rpartition(".")[2].partition("[")[0] in (
        "TypedDict", "Protocol", "Enum", "StrEnum", "IntEnum", "NamedTuple", "str", "int", "float", "dict", "list",
    )  # fmt: skip
