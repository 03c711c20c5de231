"""What an explained run's folder holds: tables, arrays and figures, each written from what was computed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgcls.explanation.attribution import METHODS
from ecgcls.explanation.method import Method
from ecgcls.explanation.selection import OUTCOMES, Example
from ecgcls.explanation.summary import ClassSummary, tabulate_beats, tabulate_leads
from ecgcls.figures.ecg_paper import draw_ecg
from ecgcls.figures.maps import draw_beat, draw_lead_shares
from ecgcls.figures.scorecard import draw_scorecard
from ecgcls.figures.style import save_figure
from ecgcls.files import name_files, write_atomically, write_json
from ecgcls.jobs.load import LoadedRun


def write_example(
    run: LoadedRun,
    example: Example,
    method: Method,
    output: Path,
    *,
    title: str,
    signal_mv: NDArray[np.float32],
    values: NDArray[np.float32],
    logit: np.float32,
) -> dict[str, Any]:
    """Write one attribution and its picture.

    Parameters
    ----------
    run, example, method, output
        Which record and class of which run by which method, and the folder of the results.
    title
        Of the run.
    signal_mv, values
        ``(lead, sample)``: the record and its attribution.
    logit
        Of the example's class.

    Returns
    -------
    dict
        Its row of ``records.csv``.
    """
    name = f"ecg_{example.ecg_id}_{name_files(run.class_names)[example.class_name]}"
    arrays = Path("attributions") / method.name / f"{name}.npz"
    picture = Path("figures") / method.name / f"{name}.png"
    (output / arrays).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        output / arrays,
        attribution=values,
        signal_mv=signal_mv,
        lead_names=np.array(run.lead_names),
        sampling_rate_hz=run.sampling_rate_hz,
        ecg_id=example.ecg_id,
        class_name=example.class_name,
        method=method.name,
        unit=method.unit,
        y_prob=example.y_prob,
        logit=logit,
    )
    truth = ", ".join(example.true_classes) or "none"
    figure = draw_ecg(
        signal_mv,
        sampling_rate_hz=run.sampling_rate_hz,
        lead_names=run.lead_names,
        title=f"ecg_id {example.ecg_id}: why {example.class_name}? probability {example.y_prob:.2f} "
        f"({OUTCOMES[example.outcome]}); true: {truth}",
        subtitle=f"{title}; {method.label}",
        attribution=values,
        label=f"{method.label} ({method.unit})",
        is_signed=method.is_signed,
    )
    save_figure(figure, output / picture)
    return {
        "ecg_id": example.ecg_id,
        "class": example.class_name,
        "outcome": example.outcome,
        "method": method.name,
        "y_true": " ".join(example.true_classes),
        "y_prob": example.y_prob,
        "threshold": run.thresholds[example.class_name],
        "logit": float(logit),
        "attribution": str(arrays),
        "figure": str(picture),
    }


def write_summaries(
    run: LoadedRun, summaries: Mapping[tuple[str, str], ClassSummary], output: Path, *, title: str
) -> None:
    """Write each lead's share of the attribution, and the attribution around the R peak, as tables and figures.

    Parameters
    ----------
    run, output
        The run, and the folder of the results.
    summaries
        By method and class.
    title
        Of the run.
    """
    by_lead = tabulate_leads(summaries, run.lead_names)
    write_table(by_lead, output / "by_lead.csv")
    write_table(tabulate_beats(summaries), output / "by_beat.csv")
    file_names = name_files(run.class_names)
    for (name, class_name), summary in summaries.items():
        if summary.n_beats:
            figure = draw_beat(
                summary.times_s,
                summary.attribution,
                summary.signal_mv,
                lead_names=run.lead_names,
                title=f"{title}: {class_name}, mean of {summary.n_beats} beats of {summary.n_records} records",
                label=f"{METHODS[name].label} ({METHODS[name].unit})",
                is_signed=METHODS[name].is_signed,
            )
            save_figure(figure, output / "figures" / name / f"by_beat_{file_names[class_name]}.png")
    for method, of_method in by_lead.groupby("method", sort=False):
        if np.ptp(of_method["share"]) < 1e-6:
            continue  # a method that gives every lead the same
        shares = of_method.pivot(index="class", columns="lead", values="share")
        figure = draw_lead_shares(
            shares.loc[list(of_method["class"].unique()), list(run.lead_names)],
            title=f"{title}: where the attribution lies",
            label=f"Share of |{METHODS[str(method)].label}|",
        )
        save_figure(figure, output / "figures" / str(method) / "by_lead.png")


def write_scorecard(
    card: Mapping[str, Mapping[str, Any]], examples: Sequence[Example], output: Path, *, title: str
) -> None:
    """Write what `score_method` found of each method on some examples, as JSON and as a figure."""
    records = [{"ecg_id": example.ecg_id, "class": example.class_name} for example in examples]
    content = {"methods": card, "records": records}
    write_json(output / "scorecard.json", content)
    figure = draw_scorecard(content, title=f"{title}: can the maps be trusted?")
    save_figure(figure, output / "figures" / "scorecard.png")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV file that others see whole or not at all."""
    write_atomically(path, table.to_csv(index=False).encode())
