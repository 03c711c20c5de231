"""What an explanation writes: maps with their pictures, summaries by class, the scorecard; `explain` lists it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.explanation.attribution import METHODS
from ecgcls.explanation.method import Method
from ecgcls.explanation.summary import ClassSummary, tabulate_beats, tabulate_leads
from ecgcls.figures.ecg_paper import draw_ecg
from ecgcls.figures.explanation import draw_beat, draw_lead_shares, draw_scorecard
from ecgcls.figures.style import save_figure
from ecgcls.files import encode_csv, write_atomically, write_json
from ecgcls.outputs import claimed

_RECORD = "interpret.json"
_CHECKS = ("randomization", "deletion", "insertion", "completeness")


@contextmanager
def recorded(output: Path, requested: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Claim a folder for the results of a ``with`` block, and say in ``interpret.json`` what was requested.

    What is put into the dict that it gives is written there at the end, and that the results are complete.
    """
    found: dict[str, Any] = {}
    with claimed(output, "interpret"):
        write_json(output / _RECORD, {**requested, "is_complete": False})
        yield found
        write_json(output / _RECORD, {**requested, **found, "is_complete": True})


def write_map(
    output: Path,
    name: str,
    method: Method,
    values: NDArray[np.float32],
    signal_mv: NDArray[np.float32],
    *,
    title: str,
    subtitle: str,
    sampling_rate_hz: float,
    lead_names: Sequence[str],
    facts: Mapping[str, Any],
) -> dict[str, str]:
    """Write an attribution ``(lead, sample)`` with its facts, and its picture; return both files, as in the output."""
    arrays, picture = Path("attributions", method.name, f"{name}.npz"), Path("figures", method.name, f"{name}.png")
    (output / arrays).parent.mkdir(parents=True, exist_ok=True)
    leads: dict[str, Any] = {"sampling_rate_hz": sampling_rate_hz, "lead_names": lead_names}
    np.savez_compressed(
        output / arrays, attribution=values, signal_mv=signal_mv, method=method.name, unit=method.unit, **facts, **leads
    )
    label = f"{method.label} ({method.unit})"
    figure = draw_ecg(
        signal_mv,
        title=title,
        subtitle=subtitle,
        attribution=values,
        label=label,
        is_signed=method.is_signed,
        **leads,
    )
    save_figure(figure, output / picture)
    return {"attribution": str(arrays), "figure": str(picture)}


def format_rows(columns: Sequence[str], values: Mapping[str, Sequence[str]]) -> Callable[[Mapping[str, Any]], str]:
    """Return what formats the rows of a table that is shown row by row, each column as wide as its values."""
    widths = {name: max(map(len, (name, *values.get(name, ())))) for name in columns}

    def format_row(row: Mapping[str, Any]) -> str:
        texts = [f"{row[name]:.3f}" if isinstance(row[name], float) else str(row[name]) for name in columns]
        return "  ".join(text.ljust(widths[name]) for name, text in zip(columns, texts, strict=True)).rstrip()

    return format_row


def write_summaries(
    output: Path, summaries: Mapping[tuple[str, str], ClassSummary], *, lead_names: Sequence[str], title: str
) -> None:
    """Write each lead's share of the attribution, and each phase's, by method and class, as tables and a figure."""
    by_lead = tabulate_leads(summaries, lead_names)
    write_table(by_lead, output / "by_lead.csv")
    write_table(tabulate_beats(summaries), output / "by_beat.csv")
    for name in by_lead["method"].unique():
        of_method = by_lead[by_lead["method"] == name]
        if np.ptp(of_method["share"]) < 1e-6:
            continue  # a method that gives every lead the same
        shares = of_method.pivot(index="class", columns="lead", values="share")
        shares = shares.loc[of_method["class"].unique(), list(lead_names)]
        figure = draw_lead_shares(
            shares, title=f"{title}: where the attribution lies", label=f"Share of |{METHODS[name].label}|"
        )
        save_figure(figure, output / "figures" / name / "by_lead.png")


def write_beat(
    output: Path, method: Method, summary: ClassSummary, name: str, *, lead_names: Sequence[str], title: str
) -> None:
    """Draw a class's attribution around the R peak; the name is that of the file."""
    figure = draw_beat(
        summary.times_s,
        summary.attribution,
        summary.signal_mv,
        lead_names=lead_names,
        title=f"{title}, mean of {summary.n_beats} beats of {summary.n_records} records",
        label=f"{method.label} ({method.unit})",
        is_signed=method.is_signed,
    )
    save_figure(figure, output / "figures" / method.name / f"by_beat_{name}.png")


def write_scorecard(output: Path, card: Mapping[str, Any], records: Sequence[Mapping[str, Any]], *, title: str) -> None:
    """Write the scores of some methods, and draw them."""
    content = {"methods": card, "records": list(records)}
    write_json(output / "scorecard.json", content)
    figure = draw_scorecard(content, title=f"{title}: can the maps be trusted?")
    save_figure(figure, output / "figures" / "scorecard.png")


def describe_scores(method: str, scores: Mapping[str, Any]) -> str:
    """Say in a line which checks a method passes."""
    checks = {name: scores[name] for name in _CHECKS if scores[name]}
    return f"{method}: " + ", ".join(
        f"{name} {'passes' if found['passes'] else 'fails'}" for name, found in checks.items()
    )


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, whole or not at all."""
    write_atomically(path, encode_csv(table, index=False))
