"""List runs, and remove unfinished ones: ``python -m ecgcls.runs --help``."""

import sys
from pathlib import Path
from typing import Literal

from ecgcls.command.start import run_command
from ecgcls.config import Text
from ecgcls.errors import ConfigError


def runs(
    *,
    experiment: Text | None,
    model: Text | None,
    state: Literal["finished", "running", "interrupted", "failed", "killed", "damaged"] | None,
    delete: Literal["unfinished"] | None,
    confirm: bool,
    output_dir: Path,
) -> None:
    """Print the runs that the settings choose, the newest first; remove them where that is asked for."""
    if confirm and delete is None:
        raise ConfigError("confirm=true has no effect without delete=unfinished")
    from ecgcls.runs.find import find_experiment
    from ecgcls.runs.listing import UNFINISHED, list_runs, remove_runs, tabulate_runs

    folder = output_dir if experiment is None else find_experiment(output_dir, experiment)
    listed = [each for each in list_runs(folder) if state in (None, each.state)]
    listed = [each for each in listed if model is None or (each.info and each.info.model == model)]
    if delete is not None:
        if state not in (None, *UNFINISHED):
            raise ConfigError(f"state={state}: delete=unfinished removes runs that are {', '.join(UNFINISHED)}")
        listed = [each for each in listed if each.state in UNFINISHED]
    if not listed:
        what = "no run" if delete is None else "no unfinished run"
        print(f"{folder}: {what} of this kind" if folder.is_dir() else f"{folder}: there is no such folder")
        return
    print(tabulate_runs(listed).fillna("").to_string(index=False))
    if delete is not None and confirm:
        for run in remove_runs(listed):
            print(f"removed {run.path}")
    elif delete is not None:
        print(f"confirm=true removes {'these' if len(listed) > 1 else 'it'}; nothing is removed now", file=sys.stderr)


if __name__ == "__main__":
    run_command(runs)
