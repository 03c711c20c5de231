"""Show what a task makes of a data set's statements: ``python -m ecgcls.labels --help``."""

from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ecgcls.command import run_command

if TYPE_CHECKING:
    from ecgcls.data.audit import Audit

_N_SHOWN = 80  # rows of a table on the screen


def labels_job(config: DictConfig) -> None:
    """Audit the labels that a configuration asks for, print the tables and write them."""
    from hydra.utils import instantiate

    from ecgcls.config import check_nodes
    from ecgcls.errors import ConfigError

    for key in ("output_dir", "output"):
        if not isinstance(config[key], str) and not (key == "output" and config[key] is None):
            raise ConfigError(f"{key} must be a text, got {config[key]!r}")
    check_nodes(config, ["task", "folds"])
    from ecgcls.data.audit import audit_labels
    from ecgcls.data.folds import complete_strat_folds
    from ecgcls.data.source import Source, split_settings

    task, folds = instantiate(config.task), instantiate(config.folds)
    source: Source = instantiate(split_settings(config.data)[0])
    choices = HydraConfig.get().runtime.choices
    source.prepare()
    records = complete_strat_folds(source.read_records())
    audit = audit_labels(records, source.read_statements(), task=task, folds=folds)
    output = Path(config.output or Path(config.output_dir) / "labels" / choices["task"])
    _write(audit, output, source=str(source.root))
    _print(audit, output)


def _write(audit: "Audit", output: Path, *, source: str) -> None:
    from ecgcls.evaluation.figures import save_figure
    from ecgcls.evaluation.panels import draw_likelihoods
    from ecgcls.files import write_atomically, write_json

    for name in ("statements", "by_fold", "by_part", "likelihoods", "rules"):
        write_atomically(output / f"{name}.csv", getattr(audit, name).to_csv().encode())
    write_json(
        output / "audit.json",
        {
            "data_root": source,
            "n_records": audit.n_records,
            "n_labeled": audit.n_labeled,
            "labels_sha256": audit.labels_sha256,
        },
    )
    save_figure(draw_likelihoods(audit.likelihoods), output / "likelihoods.png")


def _print(audit: "Audit", output: Path) -> None:
    from ecgcls.data.audit import format_lost_kinds

    for title, table in (
        ("Statements and their classes", audit.statements[audit.statements["class"] != ""]),
        ("Positive records by strat_fold", audit.by_fold),
        ("Likelihoods in percent, by kind of statement", audit.likelihoods),
        ("What other rules would make of it", audit.rules),
    ):
        print(f"\n{title}\n{table.head(_N_SHOWN).to_string()}")
        if len(table) > _N_SHOWN:
            print(f"... and {len(table) - _N_SHOWN} more rows")
    print()
    for sentence in format_lost_kinds(audit):
        print(sentence)
    print(f"{audit.n_labeled:,} of {audit.n_records:,} records have a label in the task.")
    print(f"Fingerprint of the labels: {audit.labels_sha256}\n\n{output}")


def main() -> None:
    """Run the command line."""
    run_command(labels_job, config_name="labels", texts=("output_dir", "output"))


if __name__ == "__main__":
    main()
