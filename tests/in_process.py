"""Runs that are composed, built and trained in the test's own process, without a command line."""

from pathlib import Path

import hydra
from hydra import compose

from ecgcls.command.start import resolve
from ecgcls.config import CONF_DIR, RunConfig, check_arguments
from ecgcls.jobs.build import build_job
from ecgcls.jobs.logs import hold_log
from ecgcls.jobs.train import train
from ecgcls.run import run as run_command
from ecgcls.runs.directory import RunDirectory


def configure(root: Path, *overrides: str) -> RunConfig:
    """Compose a configuration of three epochs on the CPU, as the command line does."""
    of_tests = (
        f"data.root={root}",
        "trainer.max_epochs=3",
        "trainer.enable_progress_bar=false",
        "trainer.accelerator=cpu",
        "evaluation.intervals.n_resamples=50",
        "evaluation.subgroups.n_resamples=20",
    )
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return check_arguments(run_command, resolve(compose("config", overrides=[*of_tests, *overrides])))


def train_in(folder: Path, config: RunConfig, *, model: str = "cnn1d") -> RunDirectory:
    """Train a configuration in a folder."""
    run = RunDirectory(folder)
    with hold_log() as early:
        train(build_job(config, run, model=model), early)
    return run


def fit(folder: Path, root: Path, *overrides: str) -> RunDirectory:
    """Compose a configuration and train it in a folder."""
    models = [override.partition("=")[2] for override in overrides if override.startswith("model=")]
    return train_in(folder, configure(root, *overrides), model=models[0] if models else "cnn1d")
