"""Which labels a task makes from a data set's statements, as tables, text and a figure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecgcls.data.audit import Audit, audit_labels, format_lost_kinds
from ecgcls.data.folds import complete_strat_folds
from ecgcls.data.source import Source, split_settings
from ecgcls.figures.panels import draw_likelihoods
from ecgcls.figures.style import save_figure
from ecgcls.files import encode_csv, write_atomically, write_json
from ecgcls.jobs.parts import build_part

_N_SHOWN = 80  # rows of a table on the screen


def inspect_labels(*, data: Mapping[str, Any], task: Mapping[str, Any], folds: Mapping[str, Any]) -> Audit:
    """Audit the labels of a data set; the parameters are the choices of these groups."""
    source: Source = build_part("data", split_settings(data)[0])
    how = {"task": build_part("task", task), "folds": build_part("folds", folds)}
    source.prepare()
    records = complete_strat_folds(source.read_records())
    return audit_labels(records, source.read_statements(), **how)


def write_audit(audit: Audit, folder: Path, *, source: str) -> None:
    """Write the tables, ``audit.json`` and ``likelihoods.png``."""
    for name in ("statements", "by_fold", "by_part", "likelihoods", "rules"):
        write_atomically(folder / f"{name}.csv", encode_csv(getattr(audit, name)))
    counts = {name: getattr(audit, name) for name in ("n_records", "n_labeled", "n_kept", "labels_sha256")}
    write_json(folder / "audit.json", {"data_root": source, **counts})
    save_figure(draw_likelihoods(audit.likelihoods), folder / "likelihoods.png")


def format_audit(audit: Audit) -> str:
    """Return the tables as text, and what the task leaves out."""
    lines = []
    for title, table in (
        ("Statements and their classes", audit.statements[audit.statements["class"] != ""]),
        ("Positive records by strat_fold", audit.by_fold),
        ("Likelihoods in percent, by kind of statement", audit.likelihoods),
        ("What other rules would change", audit.rules),
    ):
        lines.append(f"\n{title}\n{table.head(_N_SHOWN).to_string()}")
        if len(table) > _N_SHOWN:
            lines.append(f"... and {len(table) - _N_SHOWN} more rows")
    counts = f"{audit.n_labeled:,} of {audit.n_records:,} records have a label in the task."
    if audit.n_kept > audit.n_labeled:
        counts += f" The other {audit.n_kept - audit.n_labeled:,} are kept as negatives (task.unlabelled=negative)."
    elif audit.n_kept < audit.n_labeled:
        counts += f" {audit.n_labeled - audit.n_kept:,} have several and are left out (task.exclusive=true)."
    lines += ["", *format_lost_kinds(audit), counts, f"Fingerprint of the labels: {audit.labels_sha256}"]
    return "\n".join(lines)
