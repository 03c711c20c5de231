"""Train and test one fold, or sweep folds and settings with ``-m``: ``python -m ecgcls.run --help``."""

import logging
import math
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from ecgcls.command.processes import is_child, is_reporter
from ecgcls.command.start import is_first_job, is_sweep, list_shadowed, name_job, read_run_dir, run_command
from ecgcls.config import RunConfig, check_arguments, check_run
from ecgcls.runs.init_settings import settle_init
from ecgcls.runs.place import place_run
from ecgcls.runs.provenance import remember_command
from ecgcls.sweeps.reports import is_trial, report_job

if TYPE_CHECKING:
    from ecgcls.runs.directory import RunDirectory

log = logging.getLogger(__name__)


def run(**config: Unpack[RunConfig]) -> tuple[Path, float]:
    """Train what the configuration says, unless that is done, and print the test scores.

    Returns
    -------
    Path
        The run's folder.
    float
        The best validation PR-AUC, which a search maximizes.
    """
    from ecgcls.jobs.build import build_job
    from ecgcls.jobs.logs import hold_log, name_lines, quiet_lightning, title_job
    from ecgcls.jobs.train import train
    from ecgcls.runs.directory import RunDirectory
    from ecgcls.runs.searched import doubt_settings

    config = settle_init(config)
    model, variant = name_job(config)
    directory = RunDirectory(read_run_dir() or place_run(config, model=model, variant=variant))
    quiet_lightning()
    shows_bar = sys.stderr.isatty() and not is_sweep() and not is_child()
    title = title_job(model, variant, config["fold"])
    with hold_log() as early, name_lines(title, is_first=is_first_job()) if is_sweep() else nullcontext():
        for choice in list_shadowed():
            log.warning("%s", choice)
        if not is_trial() and (doubt := doubt_settings(config["output_dir"] / config["experiment"], config)):
            log.warning("%s", doubt)
        job = build_job(config, directory, model=model, variant=variant, shows_bar=shows_bar, is_trial=is_trial())
        train(job, early)
    return _show(directory)


def answer_early(plain: dict[str, Any]) -> tuple[Path, float] | None:
    """Do what needs neither torch nor Lightning: tell of a finished run, or refuse data that are not there."""
    config = cast(RunConfig, check_arguments(run, plain, is_early=True))
    check_run(config)
    config = settle_init(config)
    model, variant = name_job(config)
    place = read_run_dir() or place_run(config, model=model, variant=variant)
    from ecgcls.jobs.parts import check_data, check_repeated, list_without_effect, settle_data

    config = settle_data(config)

    if not config["overwrite"] and (place / "run.json").exists():
        from ecgcls.runs.directory import RunDirectory

        if (directory := RunDirectory(place)).is_finished and directory.has_seen:
            check_repeated(directory, config)
            if is_reporter():
                print(f"Finished already: {place} (overwrite=true retrains)")
                if idle := list_without_effect(directory, config):
                    print(f"{', '.join(idle)}: no effect on a finished run")
            return _show(directory)
    check_data(config)
    return None


def _show(directory: "RunDirectory") -> tuple[Path, float]:
    """Print the scores of a finished run, if this process is the one that does."""
    if not is_reporter():
        return directory.path, math.nan
    objective: float = directory.read_metrics()["val"]["overall"]["pr_auc"]
    if is_trial():
        print(
            f"\nValidation PR-AUC {objective:.3f} (optimistic): {directory.path}"
        )  # a search must not see test scores
    else:
        from ecgcls.jobs.score_table import format_table, tabulate

        info = directory.read_info()
        rule, not_tuned = info.evaluation.thresholds.rule, info.read_decisions().not_tuned
        for name in ("intervals.csv", "label_noise.csv"):
            directory.check_file(name, missing_ok=True)
        table = format_table(tabulate(directory.path, "test", rule=rule, not_tuned=not_tuned))
        print(f"\nTest of {info.title}:\n{table}\n\n{directory.path}")
    return directory.path, objective


if __name__ == "__main__":
    if not is_child():
        remember_command()
    run_command(run, around=report_job, early=answer_early)
