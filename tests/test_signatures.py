import inspect
import subprocess
import sys
import typing
from dataclasses import is_dataclass

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf
from typeguard import TypeCheckError, check_type

from ecgcls.config import CONF_DIR
from ecgcls.signatures import read_signature

GROUPS = [OmegaConf.to_container(OmegaConf.load(path)) for path in CONF_DIR.glob("*/*.yaml")]
NODES = [node for group in GROUPS for node in [group, *group.values()] if isinstance(node, dict)]
TARGETS = sorted({node["_target_"] for node in NODES if "_target_" in node})
VALUES = [None, True, 1, 0.5, "a", "min", "bf16-mixed", [1, 2], {"a": 1}, 100]


def fits(value, hint):
    try:
        check_type(value, hint)
    except TypeCheckError:
        return False
    return True


def test_the_targets_of_the_configuration_are_many():
    assert {"pytorch_lightning.Trainer", "torch.optim.AdamW", "ecgcls.models.cnn1d.CNN1D"} <= set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_the_source_says_what_the_imported_object_says(target):
    read = read_signature(target)
    if read is None:
        assert is_dataclass(get_object(target))  # writes its own
        return
    called = get_object(target)
    true = inspect.signature(called)
    assert list(read.parameters) == list(true.parameters)
    try:
        hints = typing.get_type_hints(called.__init__ if inspect.isclass(called) else called)
    except NameError:  # names what is imported for type checkers alone
        hints = {}
    for name, parameter in read.parameters.items():
        assert parameter.kind is true.parameters[name].kind
        assert (parameter.default is parameter.empty) == (true.parameters[name].default is parameter.empty)
        if parameter.annotation is not parameter.empty and name in hints:
            found = [fits(value, parameter.annotation) for value in VALUES]
            assert found == [fits(value, hints[name]) for value in VALUES], name


def test_what_a_slip_needs_is_read_from_the_source():
    read = read_signature("torch.optim.AdamW").parameters["lr"].annotation
    assert (fits(1e-3, read), fits("fast", read)) == (True, False)
    read = read_signature("pytorch_lightning.Trainer").parameters["precision"].annotation
    assert (fits("bf16-mixed", read), fits(None, read), fits("fast", read)) == (True, True, False)


def test_a_slip_is_told_without_importing_pytorch(tmp_path):
    code = (
        "import sys\n"
        "from ecgcls.run import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    assert not {'torch', 'pytorch_lightning'} & set(sys.modules)\n"
    )
    for slip in ("optimizer.lr=fast", "trainer.max_epochs=abc", "+model.drop=1", "fold=7"):
        done = subprocess.run(
            [sys.executable, "-c", code, slip], cwd=tmp_path, timeout=120, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("error: "), done.stderr


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose import would fail."""
    folder = tmp_path / "unimportable"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(**modules):
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(f"{text}\nraise RuntimeError('imported')\n")

    write(__init__="from .inner import Net as Model, build")
    return write


def test_imports_and_aliases_are_followed_without_importing(package):
    package(
        inner="from typing import Literal, Optional, Union\nWidth = Union[Literal['a', 'b'], None]\nclass Other: ...\n"
        "class Net:\n"
        "    def __init__(self, n, /, width: 'x', *, kind: Width = None, more: int | Other = 3, **rest): ...\n"
        "def build(a: Optional[int], *, b): ..."
    )
    read = read_signature("unimportable.Model")
    assert str(read).replace("Ellipsis", "...") == (
        "(n, /, width, *, kind: Optional[Literal['a', 'b']] = ..., more: int = ..., **rest)"
    )
    assert str(read_signature("unimportable.build")) == "(a: int | None, *, b)"


@pytest.mark.parametrize(
    "inner",
    [
        "class Net:\n    pass",  # its base may say
        "class Net:\n    def __new__(cls, a): ...\n    def __init__(self, a): ...",
        "@decorate\nclass Net:\n    def __init__(self, a): ...",
        "class Net:\n    def __init__(self, a): ...\nNet = wrap(Net)",
        "if 1:\n    class Net:\n        def __init__(self, a): ...\nelse:\n    Net = None",
        "def change(f):\n    def g(b): ...\n    return g\nclass Net:\n    @change\n    def __init__(self, a): ...",
        "import elsewhere as Net",
        "from nowhere_at_all import Net",
        "class Net(",
    ],
)
def test_of_what_is_not_plain_nothing_is_said(package, inner):
    package(inner=inner)
    assert read_signature("unimportable.Model") is None


def test_a_wrapper_that_says_so_keeps_the_signature(package):
    package(
        inner="from functools import wraps\ndef keep(f):\n    @wraps(f)\n    def g(*args): ...\n    return g\n"
        "class Net:\n    @keep\n    def __init__(self, a: int): ..."
    )
    assert str(read_signature("unimportable.Model")) == "(a: int)"


@pytest.mark.parametrize("target", ["", "Net", "no_such_package.Net", "math.sqrt", "json", "ecgcls.models.cnn1d"])
def test_of_what_has_no_source_nothing_is_said(target):
    assert read_signature(target) is None
