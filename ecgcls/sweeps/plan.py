"""How the jobs of a sweep share a machine: how many at a time, on which GPU."""

import contextlib
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ecgcls.command.processes import end_with

_CLAIMS: list[FileLock] = []  # on a GPU, held until this process ends


@dataclass(frozen=True)
class Plan:
    """How many jobs run side by side, and the GPUs that they share."""

    n_jobs: int
    n_at_a_time: int
    n_gpus: int = 0


def make_plan(
    n_jobs: int, *, n_cores: int, n_threads: int = 1, n_gpus: int = 0, n_at_a_time: int | None = None
) -> Plan:
    """Divide a machine so that no more threads than cores are busy, unless the user asks for more jobs.

    A job's `n_threads` are its own and do not depend on its place here: a sum in other parts rounds otherwise, and fold
    0 would not be the same alone and among five. A GPU has one job at a time. `n_at_a_time` is the user's own choice.
    """
    if n_at_a_time is None:
        n_side_by_side = max(1, n_cores // n_threads)
        n_at_a_time = min(n_gpus or n_side_by_side, n_side_by_side)
    return Plan(n_jobs, max(1, min(n_at_a_time, n_jobs)), n_gpus)


def join_sweep(sweep_folder: Path) -> None:
    """End with the sweep, and use one GPU where its plan has several jobs share them; do nothing without a plan."""
    path = sweep_folder / "plan.json"
    if not path.is_file():  # a launcher that divides the machine itself
        return
    plan = json.loads(path.read_text())
    end_with(plan["process"])
    if plan["n_gpus"] and plan["n_at_a_time"] > 1:
        claim_gpu(sweep_folder, plan["n_gpus"])


def claim_gpu(folder: Path, n_gpus: int) -> None:
    """Let this process see only one GPU, the one with the fewest claims, until it ends."""
    if _CLAIMS:
        return
    for place, gpu in ((place, gpu) for place in itertools.count() for gpu in range(n_gpus)):
        lock = FileLock(folder / f"gpu{gpu}_{place}.lock")
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=0)
            _CLAIMS.append(lock)
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)
            return
