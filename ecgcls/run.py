"""Train and test one fold, or sweep folds and settings with ``-m``: ``python -m ecgcls.run --help``."""

import math
import sys
from pathlib import Path
from typing import Unpack

from ecgcls.command.processes import is_child, is_reporter
from ecgcls.command.start import is_sweep, name_job, read_run_dir, run_command
from ecgcls.config import RunConfig, check_run
from ecgcls.runs.provenance import remember_command
from ecgcls.sweeps.reports import is_trial, report_job


def run(**config: Unpack[RunConfig]) -> tuple[Path, float]:
    """Train what the configuration says, unless that is done, and print the test scores.

    Returns
    -------
    Path
        The run's folder.
    float
        The best validation PR-AUC, which a search maximizes.
    """
    from ecgcls.jobs.results import format_table, tabulate
    from ecgcls.runs.directory import RunDirectory
    from ecgcls.runs.find import place_run

    check_run(config)
    model, variant = name_job()
    directory = RunDirectory(read_run_dir() or place_run(config, model=model, variant=variant))
    if not config["overwrite"] and directory.is_finished:
        from ecgcls.jobs.parts import check_repeated

        check_repeated(directory, config)
        if is_reporter():
            print(f"Finished already: {directory.path} (overwrite=true retrains)")
    else:
        from ecgcls.jobs.build import build_job
        from ecgcls.jobs.logs import hold_log, quiet_lightning
        from ecgcls.jobs.train import train

        quiet_lightning()
        shows_bar = sys.stderr.isatty() and not is_sweep() and not is_child()
        with hold_log() as early:
            job = build_job(config, directory, model=model, variant=variant, shows_bar=shows_bar, is_trial=is_trial())
            train(job, early)
    if not is_reporter():
        return directory.path, math.nan
    objective: float = directory.read_metrics()["val"]["overall"]["pr_auc"]
    if is_trial():
        print(f"\nValidation PR-AUC {objective:.3f}: {directory.path}")  # a search must not see test scores
    else:
        directory.check_file("intervals.csv", missing_ok=True)
        table = format_table(tabulate(directory.path, "test"))
        print(f"\nTest of {model}, fold {config['fold']}:\n{table}\n\n{directory.path}")
    return directory.path, objective


if __name__ == "__main__":
    if not is_child():
        remember_command()
    run_command(run, around=report_job)
