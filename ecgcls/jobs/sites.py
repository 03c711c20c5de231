"""What a cross-validation over sites says about a new site: tables, a figure, and text.

The records that the last fold tests together, of many small sites, are no site: they are listed by themselves, and left
out of the summary.
"""

from pathlib import Path

import pandas as pd

from ecgcls.evaluation.metrics import OVERALL, overall_metrics
from ecgcls.evaluation.sites import measure_sites, summarize_sites
from ecgcls.figures.forest import draw_sites
from ecgcls.figures.style import save_figure
from ecgcls.files import encode_csv, write_atomically
from ecgcls.runs.configuration import Configuration

_FILES = ("sites.csv", "sites_summary.csv", "figures/sites.png")


def write_sites(one: Configuration, folder: Path, *, title: str) -> None:
    """Write ``sites.csv``, ``sites_summary.csv`` and ``figures/sites.png`` where each fold tests a site; else none."""
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    is_site = {info.held_out: info.is_one_group for info in one.infos if info.held_out}
    if not is_site:
        return
    settings = one.evaluation.intervals
    measured = measure_sites(dict(zip(is_site, one.predictions("test"), strict=True)), settings)
    measured = measured.assign(is_site=measured["site"].map(is_site))
    summary = summarize_sites(measured[measured["is_site"]], level=settings.level)
    write_atomically(folder / "sites.csv", encode_csv(measured, index=False))
    write_atomically(folder / "sites_summary.csv", encode_csv(summary.assign(level=settings.level)))
    save_figure(draw_sites(measured, summary, title=title, level=settings.level), folder / "figures" / "sites.png")


def format_sites(folder: Path) -> str:
    """Return the summary of the macro metrics as text; empty where no fold tests a site."""
    if not (folder / "sites.csv").is_file():
        return ""
    measured, summary = (pd.read_csv(folder / name) for name in _FILES[:2])
    measured = measured[measured["class"] == OVERALL]
    found_of = summary[summary["class"] == OVERALL].set_index("metric").to_dict("index")
    rows = []
    for metric in overall_metrics(headline=True):
        found = found_of[metric.key]
        row = {"": metric.label if "macro" in metric.label else f"macro {metric.label}"}
        for site in measured[measured["metric"] == metric.key].to_dict("records"):
            row[str(site["site"])] = f"{site['value']:.3f}" + ("" if site["is_supported"] else " !")
        row["mean of the sites"] = _format(found["mean"], found["low"], found["high"])
        row["a new site"] = _format(None, found["new_low"], found["new_high"])
        has_tau = found["n_sites"] >= 2  # of enough patients; else nothing is known of how sites differ
        row["tau (logit)"], row["I2"] = (f"{found['tau']:.2f}", f"{found['i2']:.0%}") if has_tau else ("", "")
        rows.append(row)
    text = pd.DataFrame(rows).to_string(index=False)
    few = "" if measured["is_supported"].all() else "\n! too few patients of a class at this site: not in the mean"
    return f"Sites that no net had seen (random effects, {100 * summary['level'].iloc[0]:g}% intervals):\n{text}{few}"


def _format(value: float | None, low: float, high: float) -> str:
    if pd.isna(low):
        return "" if value is None or pd.isna(value) else f"{value:.3f}"
    return ("" if value is None else f"{value:.3f} ") + f"[{low:.3f}, {high:.3f}]"
