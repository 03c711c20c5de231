"""Commands as a user types them, each in a process of its own.

The processes are forks of one that has imported the heavy packages, torch among them, but nothing of ecgcls: a command
then takes tenths of a second to start, not the eight seconds of a new interpreter. ``is_new=True`` pays these, for what
depends on a new interpreter.
"""

import atexit
import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

REPOSITORY = Path(__file__).parents[1]
QUICK = ("data=synthetic", "data.n_records=60", "trainer.max_epochs=1", "trainer.accelerator=cpu")
HEAVY = ("torch", "pytorch_lightning", "torchmetrics", "pandas", "sklearn", "matplotlib", "numpy", "scipy")
"""What a command that trains nothing and refuses at once never imports."""
_PRELOADED = (
    *HEAVY, "torchmetrics.classification", "sklearn.metrics", "scipy.signal", "scipy.stats", "matplotlib.figure",
    "matplotlib.backends.backend_agg", "hydra.main", "statsmodels.api", "captum.attr", "wfdb", "plotly.graph_objects",
)  # fmt: skip
_TIMEOUT_S = 400

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(_PRELOADED))
MODULES = {  # of each command
    path.parent.name if path.stem == "__main__" else path.stem: path
    for path in [*(REPOSITORY / "ecgcls").glob("*.py"), *(REPOSITORY / "ecgcls").glob("*/__main__.py")]
    if "    run_command(" in path.read_text()
}


@dataclass(frozen=True)
class Done:
    """A command that has ended; its exit code is negative after a signal."""

    returncode: int
    stdout: str
    stderr: str


class Started:
    """A command that is under way; killed, if need be, at the end of a ``with`` block.

    Parameters
    ----------
    folder, arguments, command, environment
        As for `ecgcls`.
    before
        Called in the command's process before the command begins; importable by its name, for it is pickled.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        command: str = "run",
        environment: Mapping[str, str] | None = None,
        before: Callable[[], object] | None = None,
    ) -> None:
        self._streams = tempfile.TemporaryDirectory()
        given = (str(folder), self._streams.name, command, arguments, _clean(environment), before)
        self._process = _context.Process(target=_run, args=given)
        self._process.start()

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.join()
        self._streams.cleanup()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid or 0

    def wait(self) -> Done:
        """Wait for its end."""
        self._process.join(_TIMEOUT_S)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
        stdout, stderr = (Path(self._streams.name, str(number)).read_text() for number in (1, 2))
        assert code is not None, f"the command did not end in {_TIMEOUT_S} s:\n{stderr[-3000:]}"
        return Done(code, stdout, stderr)


def ecgcls(folder, *arguments, command="run", environment=None, is_new=False, flags=(), before=None):
    """Run ``python -m ecgcls.run``, or another command, in a folder.

    Parameters
    ----------
    environment
        Variables besides those of this process; `PYTHONPATH` comes before this process's own.
    is_new, flags
        Whether a new interpreter is started, and with which flags.
    before
        As for `Started`.
    """
    if not is_new:
        with Started(folder, *arguments, command=command, environment=environment, before=before) as started:
            return started.wait()
    return subprocess.run(
        [sys.executable, *flags, "-m", f"ecgcls.{command}", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        env=_clean(environment),
    )


def find_imported(done):
    """Return the modules that a command imported, which was run with the flags ``-X importtime``."""
    return set(re.findall(r"\|\s+([\w.]+)$", done.stderr, flags=re.MULTILINE))


def succeed(*arguments, **options):
    done = ecgcls(*arguments, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def _clean(environment):
    """Return the environment of a command, without what a test of a command in this process has set."""
    own = {name: value for name, value in os.environ.items() if name not in ("HYDRA_FULL_ERROR", "ECGCLS_TRACEBACK")}
    return {**own, "COLUMNS": "200", **(environment or {})}


def _run(folder, streams, command, arguments, environment, before):
    """Be ``python -m ecgcls.<command>``."""
    for number in (1, 2):  # standard output and standard error
        descriptor = os.open(f"{streams}/{number}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [f"ecgcls.{command}", *arguments]
    sys.orig_argv = [sys.executable, "-m", f"ecgcls.{command}", *arguments]
    code = 0
    try:
        if before is not None:
            before()
        runpy.run_module(f"ecgcls.{command}", run_name="__main__", alter_sys=True)
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # what the end of an interpreter does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def write_third_party(folder):
    """Write somebody's package with a linear net; return the environment and the argument that make it known."""
    package = folder / "mylab"
    (package / "conf" / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "conf" / "__init__.py").touch()
    (package / "nets.py").write_text(
        "from torch import nn\n\n\n"
        "class Linear(nn.Module):\n"
        "    def __init__(self, n_leads, n_samples, n_classes, *, scale: float = 1.0):\n"
        "        super().__init__()\n"
        "        self.layer, self.scale = nn.Linear(n_leads * n_samples, n_classes), scale\n\n"
        "    def forward(self, signal):\n"
        "        return self.layer(self.scale * signal.flatten(1))\n"
    )
    (package / "conf" / "model" / "linear.yaml").write_text(
        "_target_: mylab.nets.Linear\n_partial_: true\nscale: 0.01\n"
    )
    return {"PYTHONPATH": str(folder)}, "hydra.searchpath=[pkg://mylab.conf]"
