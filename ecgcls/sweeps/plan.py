"""How the jobs of a sweep share a machine: how many at a time, with how many threads, on which GPU."""

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
    """How many jobs run side by side, the threads of each, and the GPUs that they share.

    All jobs but the last few have the same number of threads; the remainder share all cores, and start only when the
    others are done.
    """

    n_at_a_time: int
    threads: tuple[int, ...]
    n_gpus: int = 0

    @property
    def n_first(self) -> int:
        """The jobs before the remainder; all of them if there is none."""
        n_jobs = len(self.threads)
        return n_jobs - n_jobs % self.n_at_a_time if n_jobs > self.n_at_a_time else n_jobs


def make_plan(
    n_jobs: int, *, n_cores: int, n_gpus: int = 0, n_at_a_time: int | None = None, n_threads: int | None = None
) -> Plan:
    """Divide a machine so that no more threads than cores are busy, unless the user asks for more jobs.

    One thread per job gets more done than all threads on one job at a time: the steps of a small net are too short to
    be split well. A GPU has one job at a time. `n_at_a_time` and `n_threads` are the user's own choices.
    """
    if n_at_a_time is None:
        n_at_a_time = min(n_gpus or n_cores, n_cores)
    n_at_a_time = max(1, min(n_at_a_time, n_jobs))
    n_left = n_jobs % n_at_a_time
    side_by_side = [n_at_a_time] * (n_jobs - n_left) + [n_left] * n_left
    threads = [max(1, min(n_cores // n, n_threads or n_cores)) for n in side_by_side]
    return Plan(n_at_a_time, tuple(threads), n_gpus)


def take_share(sweep_folder: Path, job: int) -> None:
    """Use no more of the machine than the sweep's plan gives this job, if there is a plan; end with the sweep."""
    path = sweep_folder / "plan.json"
    if path.is_file():
        plan = json.loads(path.read_text())
        end_with(plan["process"])
        if plan["n_gpus"] and plan["n_at_a_time"] > 1:
            claim_gpu(sweep_folder, plan["n_gpus"])
        n_threads = plan["threads"][job]
    elif "SLURM_CPUS_PER_TASK" in os.environ:  # SLURM may let a job see all cores
        n_threads = int(os.environ["SLURM_CPUS_PER_TASK"])
    else:  # a launcher that divides the machine itself
        return
    import torch  # once its GPU is claimed

    torch.set_num_threads(n_threads)


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
