"""Write one page over all runs of an experiment: ``python -m ecgcls.report --help``."""

from pathlib import Path

from ecgcls.command.start import run_command
from ecgcls.config import DataPlace, Text


def report(*, experiment: Text, reference: Text | None, output_dir: Path, data: DataPlace, output: Path | None) -> None:
    """Write the page that the settings ask for."""
    from ecgcls.outputs import check_output_file
    from ecgcls.runs.find import find_experiment

    folder = find_experiment(output_dir, experiment)
    from ecgcls.reporting.page import write_report  # heavy: only once the experiment is found

    page = output or folder / "report.html"
    check_output_file(page, begins_with=b'<meta name="generator" content="ecgcls')
    write_report(folder, output=page, data_root=data["root"], reference=reference)
    print(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    run_command(report)
