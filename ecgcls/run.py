"""Train and test one fold, or sweep folds and settings with ``-m``: ``python -m ecgcls.run --help``."""

import logging
import math
import sys

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ecgcls.command import compose_default, run_command
from ecgcls.processes import is_of_command, read_rank
from ecgcls.provenance import remember_command

log = logging.getLogger(__name__)


def run_job(config: DictConfig) -> float | None:
    """Train what a composed configuration says, unless that is done; print the test metrics.

    Returns
    -------
    float or None
        The best validation PR-AUC, which a search can maximise; None if the job of a sweep failed.
    """
    from ecgcls.sweep import record_job  # heavy imports stay out of --help

    return record_job(_train, config)


def _train(config: DictConfig) -> "tuple[str, float]":
    from ecgcls.config import check, name_variant

    check(config)
    default_config, choices, default_choices = compose_default("config")
    variant = name_variant(config, choices=choices, default_config=default_config, default_choices=default_choices)
    from ecgcls.fit import train
    from ecgcls.runs import place_run, say_table
    from ecgcls.sweep import is_search

    model = choices["model"]
    run = place_run(config, model=model, variant=variant)
    tells = read_rank() == 0 and not is_of_command()
    if run.is_finished and not config.overwrite:
        run.check_same_config(config)
        if tells:
            print(f"Finished already: {run.path} (overwrite=true trains anew)")
    else:
        is_in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        shows_bar = sys.stderr.isatty() and not is_in_sweep and not is_of_command()
        train(config, run, model=model, variant=variant, shows_bar=shows_bar)
    if not tells:
        return str(run.path), math.nan
    objective: float = run.read_metrics()["val"]["overall"]["pr_auc"]
    if is_search(HydraConfig.get()):
        print(f"\nValidation PR-AUC {objective:.3f}: {run.path}")  # who searches must not see the test part
    else:
        print(f"\nTest of {model}, fold {config.fold}:\n{say_table(run.tabulate_test())}\n\n{run.path}")
    return str(run.path), objective


def main() -> None:
    """Run the command line."""
    remember_command()
    run_command(run_job, config_name="config")


if __name__ == "__main__":
    main()
