"""Write one page over all runs of an experiment: ``python -m ecgcls.report --help``."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ecgcls.command import run_command

_TYPES: dict[str, Any] = {"experiment": str, "output_dir": str, "data.root": str | None, "output": str | None}


def report_job(config: DictConfig) -> None:
    """Write the page that a configuration asks for."""
    from ecgcls.config import check_types

    settings = check_types(config, _TYPES)
    from ecgcls.runs import find_experiment

    folder = find_experiment(Path(settings["output_dir"]), settings["experiment"])
    from ecgcls.reporting.page import write_report  # heavy: only once the experiment is found

    page = write_report(
        folder,
        output=Path(settings["output"] or folder / "report.html"),
        data_root=Path(settings["data.root"]) if settings["data.root"] else None,
    )
    print(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")


def main() -> None:
    """Run the command line."""
    run_command(report_job, config_name="report", texts=("experiment", "output_dir", "data.root", "output"))


if __name__ == "__main__":
    main()
