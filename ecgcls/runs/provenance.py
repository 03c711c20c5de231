"""Where a result comes from: command, versions, machine, process and commit, for ``run.json``."""

import json
import os
import platform
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ecgcls import __version__

_PACKAGES = [
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "wfdb",
    "numpy",
    "pandas",
    "scikit-learn",
]
_COMMAND = "ECGCLS_COMMAND"  # in the environment, which a sweep's processes inherit


def remember_command() -> None:
    """Keep what was typed for the processes that the command starts, whose own command lines are of no use."""
    os.environ[_COMMAND] = json.dumps(_read_command())


def _read_command() -> list[str]:
    return [Path(sys.executable).name, *sys.orig_argv[1:]]


def describe_provenance() -> dict[str, Any]:
    """Return what produces this process's results, as keyword arguments of `RunInfo`."""
    return {
        "command": json.loads(os.environ[_COMMAND]) if _COMMAND in os.environ else _read_command(),
        "process": {"host": socket.gethostname(), "pid": os.getpid()},
        "machine": {"platform": platform.platform(), "n_cpus": os.cpu_count()},
        "versions": {"ecgcls": __version__, "python": platform.python_version()}
        | {name: version(name) for name in _PACKAGES},
        "git": find_git_commit(),
    }


def find_git_commit() -> dict[str, Any] | None:
    """Return the commit of this package's own checkout; None where it is installed from a wheel."""
    package = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return {"commit": git("rev-parse", "HEAD"), "modified": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None
