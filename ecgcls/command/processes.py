"""One run in several processes, one per device: which is the first, and how they are started.

Each process does what ``python -m ecgcls.run`` does. Only the first one (rank 0) writes. A cluster starts them itself
(``srun``, ``torchrun``); on one machine the command starts them and waits.
"""

import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.core.hydra_config import HydraConfig

from ecgcls.command.arguments import quote
from ecgcls.command.interruption import TRY_AGAIN, remember_sigterm, was_told_to_stop
from ecgcls.errors import ConfigError

_PARENT = "ECGCLS_PROCESS_OF"  # in the environment of the processes that a command has started
_WATCH = "watch of the parent"
_GRACE_S = 20  # seconds for a process that has been told to stop


def read_rank() -> int:
    """Return this process's number among those that train one net together; only the first, 0, writes."""
    return _read("RANK", "SLURM_PROCID", default=0) if count_started() > 1 else 0


def count_started() -> int:
    """Return how many processes have been started to train one net together."""
    return _read("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", default=1)


def is_child() -> bool:
    """Whether another process of this command has started this one."""
    return _PARENT in os.environ


def read_parent() -> int:
    """Return the process that has started this one for a share of its net."""
    return int(os.environ[_PARENT])


def end_with(parent: int) -> None:
    """Let this process end within seconds of its parent, however that ends: nobody else would stop it."""

    if os.getppid() != parent or any(thread.name == _WATCH for thread in threading.enumerate()):
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)  # whatever it writes is whole or not there

    threading.Thread(target=watch, name=_WATCH, daemon=True).start()


def is_reporter() -> bool:
    """Whether this process is the one that prints the command's answer."""
    return read_rank() == 0 and not is_child()


def must_start_processes(*, n_devices: int, n_nodes: int) -> bool:
    """Return whether this process has to start one per device; a number that does not fit is a `ConfigError`."""
    n_started = count_started()
    n_wanted = n_devices * n_nodes
    if n_started == n_wanted:
        return False
    need = f"trainer.devices={n_devices} and trainer.num_nodes={n_nodes} need {n_wanted} processes"
    if n_started > 1:
        raise ConfigError(
            f"{need}, {n_started} were started: use one task per device (srun --ntasks-per-node={n_devices})"
        )
    if n_nodes > 1:
        raise ConfigError(
            f"{need}, one task per device: start the command with srun --nodes={n_nodes} "
            f"--ntasks-per-node={n_devices}, or with torchrun on each node"
        )
    return True


def run_processes(n_processes: int) -> None:
    """Run this job's command in one process per device of this machine, and wait for them.

    An error that ends one of them, which it has reported itself, is a `ConfigError`; a signal to stop, to them or to
    this process, is a `KeyboardInterrupt`.
    """
    import torch
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    settings = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=n_processes, run_id=uuid.uuid4().hex, rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", local_addr="127.0.0.1", shutdown_timeout=_GRACE_S,
        max_restarts=0,  # the same command resumes from the last epoch
    )  # fmt: skip
    with _own_state():
        os.environ[_PARENT] = str(os.getpid())
        os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # n_threads, of each
        try:
            elastic_launch(settings, sys.executable)("-m", "ecgcls.run", *_list_overrides())
        except SignalException as stopped:
            if stopped.sigval == signal.SIGTERM:
                remember_sigterm()
            raise KeyboardInterrupt from stopped
        except ChildFailedError as failed:
            rank, failure = failed.get_first_failure()
            if failure.exitcode in (TRY_AGAIN, -signal.SIGTERM):
                remember_sigterm()
            if was_told_to_stop() or failure.exitcode in (130, -signal.SIGINT):
                raise KeyboardInterrupt from failed
            raise ConfigError(
                f"process {rank} of {n_processes} ended with code {failure.exitcode}; its error message is above"
            ) from failed


def _list_overrides() -> Sequence[str]:
    """Return the arguments that give this job's configuration to a process without a sweep."""
    hydra = HydraConfig.get()
    folders = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    own = [override for override in hydra.overrides.hydra if override.startswith("hydra.searchpath")]
    if any(override.startswith("hydra.run.dir=") for override in hydra.overrides.hydra):
        own.append(f"hydra.run.dir={quote(hydra.run.dir)}")  # resolved: the time of day is another in another process
    return [*(part for folder in folders for part in ("--config-dir", folder)), *own, *hydra.overrides.task]


def _read(*names: str, default: int) -> int:
    """Return the first of these environment variables that is set: torchrun's, then SLURM's."""
    return int(next((os.environ[name] for name in names if name in os.environ), default))


@contextmanager
def _own_state() -> Iterator[None]:
    """Restore this process's signal handlers and environment afterwards."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    handlers, environment = {number: signal.getsignal(number) for number in numbers}, dict(os.environ)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(environment)
