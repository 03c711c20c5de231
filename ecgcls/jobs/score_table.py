"""The scores of a folder that `ecgcls.jobs.results` has written, as the table that a command shows."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ecgcls.evaluation.challenge import read_weights
from ecgcls.evaluation.label_noise import format_readings
from ecgcls.evaluation.metrics import METRICS, OVERALL, RANKING, class_metrics, find_macro
from ecgcls.files import printable, restore
from ecgcls.jobs.results import OPTIMISTIC, read_intervals

_RATES_OF = {
    "youden": ("sensitivity", "specificity"),
    "sensitivity": ("sensitivity", "precision"),
    "specificity": ("specificity", "precision"),
    "cost": ("sensitivity", "precision"),
    "fixed": ("sensitivity", "precision"),
}
"""What a table shows beside F1, by the rule for thresholds."""


def tabulate(folder: Path, split: str, *, rule: str = "f1", not_tuned: Collection[str] = ()) -> pd.DataFrame:
    """Return the scores of the split that was drawn: one row per class, then the macro averages.

    The second of these, if there is one, is over the classes with enough patients for a reliable interval. The
    intervals are beside PR-AUC and ROC-AUC, those of classes with too few patients marked by ``!``. With a rule for
    thresholds other than f1 there are the rates that it is about, and classes that it was not applied to are marked by
    ``*``. Of several folds the columns are means over the folds, and PR-AUC and ROC-AUC pooled stand beside them. The
    attribute ``fmax`` of the table is Fmax as text, ``challenge`` the Challenge's metric where the classes are its, and
    ``label_noise`` the headline under stricter readings of the labels.
    """
    written = json.loads((folder / "metrics.json").read_text())
    scores, pooled = written[split], written.get("pooled", {}).get(split)
    shown = [*class_metrics(headline=True), *(METRICS[key] for key in _RATES_OF.get(rule, ()))]
    columns = {"n_positive": "positives"} | {metric.key: metric.label for metric in shown}
    table = pd.DataFrame(scores["by_class"]).T[list(columns)].rename(columns=columns)
    macros = [find_macro(metric.key) for metric in shown]
    overall = {None: float("nan")} | scores["overall"]
    table.loc["macro"] = [overall["n_positive"], *(overall[macro.key if macro else None] for macro in macros)]
    if label := _label_supported(scores):
        found = {None: {"value": float("nan")}} | scores["supported"]
        n_positive = scores["supported"]["pr_auc"]["n_positive"]
        table.loc[label] = [n_positive, *(found[macro.key if macro else None]["value"] for macro in macros)]
    table = table.astype(float).astype({"positives": int})
    if any(n_unknown := [of_class.get("n_unknown", 0) for of_class in scores["by_class"].values()]):
        counts = [*n_unknown, sum(n_unknown)]
        table.insert(1, "unknown", pd.Series(counts, table.index[: len(counts)]).reindex(table.index).astype("Int64"))
    if pooled is not None:
        for key in RANKING:
            together = [*(of_class[key] for of_class in pooled["by_class"].values()), pooled["overall"][key]]
            table[f"{METRICS[key].label} pooled"] = pd.Series(together, table.index[: len(together)], dtype=float)
    intervals = read_intervals(folder)
    table.attrs["split"] = split
    alone = [key for key in ("fmax", "challenge") if overall.get(key) is not None]
    table.attrs |= {key: f"{overall[key]:.3f}" for key in alone}
    if intervals is not None:
        for metric in reversed(RANKING):
            of_metric = intervals.xs(metric, level="metric").rename(index={OVERALL: "macro"}).T
            if label:
                of_metric[label] = pd.Series(scores["supported"][metric] | {"is_supported": True})
            texts = [format_interval(of_metric[name]) for name in table.index]
            level = f"{100 * intervals['level'].iloc[0]:g}%"
            table.insert(list(table.columns).index(columns[metric]) + 1, level, texts, allow_duplicates=True)
        for key in alone:
            table.attrs[key] += f" {format_interval(intervals.xs(key, level='metric').T[OVERALL])}"
    if "challenge" in alone and (n_left := len(read_weights()) - int(overall["n_classes"])):
        table.attrs["challenge"] += f" (without {n_left} of its {len(read_weights())} classes)"
    if (path := folder / "label_noise.csv").is_file():
        readings = pd.read_csv(path, keep_default_na=False, na_values=[""], converters={"class": restore})
        table.attrs["label_noise"] = format_readings(readings.set_index(["at_least", "class"]))
    return table.rename(index=lambda name: printable(name) + (" *" if name in not_tuned else ""))


def format_table(table: pd.DataFrame) -> str:
    """Return a table of scores as text, and what its marks mean."""
    text = table.to_string(float_format="{:.3f}".format, na_rep="")
    lines = [text]
    is_averaged = any(str(name).endswith(" pooled") for name in table)
    if is_averaged:
        lines.append("means over the folds; pooled: the records of all folds ranked together, by different nets")
    if fmax := table.attrs.get("fmax", "").strip():
        lines.append(f"{METRICS['fmax'].label}, at the best threshold for all classes: {fmax}")
    if challenge := table.attrs.get("challenge", "").strip():
        lines.append(f"{METRICS['challenge'].label}, at the thresholds; 1 is right, 0 always sinus rhythm: {challenge}")
    lines.append(f"{METRICS['f1'].label} is at the thresholds as they are; how uncertain these are is left out")
    if table.attrs.get("split") == "val":
        lines.append(OPTIMISTIC)
    if readings := table.attrs.get("label_noise"):
        lines.append(readings)
    if note := describe_mark(text, "intervals.csv"):
        lines.append(note)
    if any(str(name).endswith(" *") for name in table.index):
        lines.append(
            "* no threshold of its own (too few validation records, or none that keeps what the rule asks for): it is "
            "decided as by 0.5 before recalibration, of an ensemble as by the mean of its members' thresholds"
            f"{', in one fold or more' * is_averaged}"
        )
    return "\n".join(lines)


def describe_mark(text: str, file: str) -> str:
    """Say what the mark of `format_interval` means, if a table as text has it; `file` has the counts."""
    if "!\n" not in f"{text}\n" and " ! " not in text:
        return ""
    return f"! too few patients for a reliable interval: see n_patients in {file}"


def format_interval(row: pd.Series) -> str:
    """Return the interval of a metric as text, marked by ``!`` if unreliable; empty if there is none."""
    if pd.isna(row["low"]):
        return "one patient !" if row.get("n_patients") == 1 else ""
    return f"[{row['low']:.3f}, {row['high']:.3f}]" + ("" if row["is_supported"] else " !")


def _label_supported(scores: Mapping[str, Any]) -> str:
    """Return what a table calls the macro mean over the classes with enough patients; nothing if these are all."""
    n_classes = scores.get("supported", {}).get("pr_auc", {}).get("n_classes", 0)
    return f"macro of {n_classes} without !" if 0 < n_classes < scores["overall"]["n_defined_classes"] else ""
