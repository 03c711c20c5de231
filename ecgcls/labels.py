"""Show which labels a task makes from a data set's statements: ``python -m ecgcls.labels --help``."""

from pathlib import Path
from typing import Annotated, Any

from ecgcls.command.start import read_choice, run_command
from ecgcls.config import Group
from ecgcls.evaluation.settings import Anticipated


def labels(
    *,
    data: Group,
    task: Group,
    folds: Group,
    anticipated: Annotated[dict[str, Any], Anticipated],
    output_dir: Path,
    output: Path | None,
) -> None:
    """Audit the labels that the settings ask for, write the tables and print them."""
    from ecgcls.jobs.parts import check_data

    check_data({"data": data, "task": task, "folds": folds})
    from ecgcls.jobs.inspect_labels import format_audit, inspect_labels, write_audit
    from ecgcls.outputs import check_output, claimed

    folder = output or output_dir / "labels" / read_choice("task")
    check_output(folder, "labels")
    found = inspect_labels(data=data, task=task, folds=folds, anticipated=Anticipated(**anticipated))
    with claimed(folder, "labels"):
        write_audit(found, folder)
    print(f"{format_audit(found)}\n\n{folder}")


if __name__ == "__main__":
    run_command(labels)
