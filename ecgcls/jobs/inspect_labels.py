"""Which labels a task makes from a data set's statements, as tables, text and a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgcls.data.audit import Audit, audit_labels, format_lost_kinds
from ecgcls.data.folds import complete_strat_folds
from ecgcls.data.source import Source, split_settings
from ecgcls.data.survey import survey_files
from ecgcls.data.training_size import TrainingSize
from ecgcls.evaluation.precision import expect_precision
from ecgcls.evaluation.settings import Anticipated
from ecgcls.figures.panels import draw_likelihoods
from ecgcls.figures.style import save_figure
from ecgcls.files import encode_csv, write_atomically, write_json
from ecgcls.jobs.parts import build_part

_N_SHOWN = 80  # rows of a table on the screen
_FEW = 20  # positive patients below which the widths are rough


@dataclass(frozen=True, eq=False)
class Inspection:
    """The audit of a task's labels, and how wide the intervals of a model tested on them will be.

    `precision` is indexed by fold (its number, or 'all' together) and class; see `expect_precision` for its columns.
    `n_train` is what ``data.n_train`` asked for. Of a source that guesses, `understood` are tables of its columns and
    labels, and `files` lines about its files.
    """

    audit: Audit
    precision: pd.DataFrame
    anticipated: Anticipated
    root: str = ""
    n_train: int | None = None
    understood: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    files: Sequence[str] = ()


def inspect_labels(
    *, data: Mapping[str, Any], task: Mapping[str, Any], folds: Mapping[str, Any], anticipated: Anticipated
) -> Inspection:
    """Audit the labels of a data set; the parameters are the choices of these groups."""
    own, shared = split_settings(data)
    source: Source = build_part("data", own)
    n_train = shared.get("n_train")
    size = None if n_train is None else TrainingSize(n_train, shared.get("n_train_seed", 0))
    rule, table = build_part("task", task), build_part("folds", folds)
    source.prepare()
    records, statements = complete_strat_folds(source.read_records()), source.read_statements()
    audit = audit_labels(records, statements, task=rule, folds=table, training_size=size)
    labels = rule.label(records["scp_codes"], statements)
    n_folds = len(table.list_held_out(records))
    is_tested = [(table.assign(records, fold=fold) == "test").to_numpy() for fold in range(n_folds)]
    parts = {str(fold): is_part & labels.has_label for fold, is_part in enumerate(is_tested)}
    if n_folds > 1:
        parts["all"] = np.logical_or.reduce(list(parts.values()))
    patient_id = records["patient_id"].to_numpy()
    precision = {
        fold: expect_precision(labels.y_true[rows], patient_id[rows], labels.class_names, anticipated)
        for fold, rows in parts.items()
    }
    found = Inspection(audit, pd.concat(precision, names=["fold"]), anticipated, str(source.root), n_train)
    return _add_understood(found, source, records)


def _add_understood(found: Inspection, source: Any, records: pd.DataFrame) -> Inspection:
    """Add what a source that guesses has understood, and what its files are."""
    if not hasattr(source, "tabulate_columns"):
        return found
    tables = {"columns": source.tabulate_columns(), "labels": source.tabulate_labels()}
    n_patients = records["patient_id"].nunique()
    lines = [f"{len(records):,} records of {n_patients:,} patients", *survey_files(source.root, records["filename"])]
    return replace(found, understood=tables, files=lines)


def write_audit(found: Inspection, folder: Path) -> None:
    """Write the tables and ``audit.json``, and where statements differ in likelihood ``likelihoods.png``."""
    audit = found.audit
    by_likelihood = ("likelihoods", "rules") if audit.has_likelihoods else ()
    for name in ("statements", "by_fold", "by_part", *by_likelihood):
        write_atomically(folder / f"{name}.csv", encode_csv(getattr(audit, name)))
    counts = {name: getattr(audit, name) for name in ("n_records", "n_labeled", "n_kept", "labels_sha256")}
    write_atomically(folder / "precision.csv", encode_csv(found.precision))
    for name, table in found.understood.items():
        write_atomically(folder / f"{name}.csv", encode_csv(table))
    write_json(folder / "audit.json", {"data_root": found.root, **counts, "anticipated": asdict(found.anticipated)})
    if audit.has_likelihoods:
        save_figure(draw_likelihoods(audit.likelihoods), folder / "likelihoods.png")


def format_audit(found: Inspection) -> str:
    """Return the tables as text, and what the task leaves out."""
    audit, lines = found.audit, []
    titles = {"columns": "What the columns were taken for", "labels": "Records by label"}
    what, fold = ("Labels", "fold of the data") if found.understood else ("Statements", "strat_fold")
    for title, table in (
        *((titles[name], table) for name, table in found.understood.items()),
        (f"{what} and their classes", _shorten_statements(audit)),
        (f"Positive records by {fold}", audit.by_fold.rename_axis(fold)),
        *_list_training(found),
        *[
            ("Likelihoods in percent, by kind of statement", audit.likelihoods),
            ("What other rules would change", audit.rules),
        ][: 2 * audit.has_likelihoods],
        (_title_precision(found), _shorten_precision(found.precision)),
    ):
        lines.append(f"\n{title}\n{table.head(_N_SHOWN).to_string()}")
        if len(table) > _N_SHOWN:
            lines.append(f"... and {len(table) - _N_SHOWN} more rows")
    lines += ["", *found.files] if found.files else []
    passed_over = audit.statements.index[(audit.statements["class"] == "") & (audit.statements["n_records"] > 0)]
    if found.understood and len(passed_over):
        lines.append(f"Labels that are no class in the task: {', '.join(map(str, passed_over))}")
    if (found.precision["n_positive_patients"] < _FEW).any():
        lines.append(f"The widths are rough for classes with fewer than {_FEW} positive patients.")
    lines += ["", *format_lost_kinds(audit), _count_kept(audit), f"Fingerprint of the labels: {audit.labels_sha256}"]
    return "\n".join(lines)


def _list_training(found: Inspection) -> list[tuple[str, pd.DataFrame]]:
    """Return the training part of each fold, if only some of its records are wanted."""
    if found.n_train is None:
        return []
    train: Any = found.audit.by_part.xs("train", level="part")
    return [(f"Positive records to train on by fold, data.n_train={found.n_train}", train)]


def _count_kept(audit: Audit) -> str:
    """Say how many records take part, and why the others do not."""
    n_left_out, n_negative = audit.n_records - audit.n_kept, audit.n_kept - audit.n_labeled
    start = f"{audit.n_kept:,} of {audit.n_records:,} records take part: "
    if n_negative < 0:
        several = f"{-n_negative:,} have several and are left out (task.exclusive=true)"
        return f"{start}those with exactly one label in the task; {several}."
    if n_negative == 0:
        return f"{start}those with a label in the task."
    unknown = f"; {n_left_out:,} of which nothing is known are left out" if n_left_out else ""
    kept = f"{audit.n_labeled:,} with a positive label, {n_negative:,} kept as negatives (task.unlabelled=negative)"
    return f"{start}{kept}{unknown}."


def _shorten_statements(audit: Audit) -> pd.DataFrame:
    """Keep what counts in the task, without likelihoods if all are the same, and without kinds if there is none."""
    table = audit.statements[audit.statements["class"] != ""]
    if not audit.has_likelihoods:
        table = table[[name for name in table if not str(name).startswith("n_at_")]]
    kinds = ["diagnostic", "form", "rhythm"]
    return table if table[kinds].to_numpy().any() else table.drop(columns=kinds)


def _title_precision(found: Inspection) -> str:
    hoped, which = found.anticipated, "of all folds" if "all" in found.precision.index else "of the fold"
    return (
        f"Expected width of the {100 * hoped.level:g}% intervals, on the test records {which}, if ROC-AUC is "
        f"{hoped.roc_auc:g} and sensitivity {hoped.sensitivity:g}"
    )


def _shorten_precision(precision: pd.DataFrame) -> pd.DataFrame:
    """Keep the widths of all folds together (or the only one), and of one fold where a class is rarest."""
    every: Any = precision.xs("all" if "all" in precision.index else "0", level="fold")
    columns = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "sensitivity": "sensitivity", "slope": "slope", "oe": "O:E"}
    table = every[["n_positive", "n_positive_patients"]].rename(
        columns={"n_positive": "positive records", "n_positive_patients": "positive patients"}
    )
    table = table.join(every[list(columns)].rename(columns=columns).round(3))
    if "all" in precision.index:
        widest = precision.drop(index="all", level="fold").groupby("class", sort=False)["roc_auc"].max()
        table["ROC-AUC, one fold"] = widest.round(3)
    return table
