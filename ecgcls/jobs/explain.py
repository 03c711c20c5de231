"""Explain a finished run: pictures of single records, summaries by class, and a scorecard of the methods.

The output folder holds

- ``records.csv``: a row per picture: record, class, outcome, probability, method, files;
- ``attributions/<method>/ecg_<id>_<CLASS>.npz``: the attribution ``(lead, sample)`` with its unit, and the signal;
- ``figures/<method>/ecg_<id>_<CLASS>.png``: the same on ECG paper;
- ``by_lead.csv``, ``figures/<method>/by_lead.png``: each lead's share of the attribution, by class;
- ``by_beat.csv``, ``figures/<method>/by_beat_<CLASS>.png``: the attribution around the R peak, by class;
- ``scorecard.json``, ``figures/scorecard.png``: whether to believe each method;
- ``interpret.json``: what was requested.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ecgcls.errors import DataError
from ecgcls.explanation.attribution import METHODS, attribute, choose_methods
from ecgcls.explanation.beats import find_r_peaks
from ecgcls.explanation.method import Method
from ecgcls.explanation.scorecard import score_method
from ecgcls.explanation.selection import (
    OUTCOMES,
    Example,
    check_classes,
    choose_examples,
    draw_sample,
    list_examples,
)
from ecgcls.explanation.summary import ClassSummary, summarize_maps, tabulate_beats, tabulate_leads
from ecgcls.figures.ecg_paper import draw_ecg
from ecgcls.figures.maps import draw_beat, draw_lead_shares
from ecgcls.figures.scorecard import draw_scorecard
from ecgcls.figures.style import save_figure
from ecgcls.files import write_atomically, write_json
from ecgcls.jobs.subject import ExplainSettings, Subject, open_subject
from ecgcls.runs.configuration import Configuration

log = logging.getLogger(__name__)

_BATCH_SIZE = 16  # records that are attributed together
_OUTPUTS = ("records.csv", "by_lead.csv", "by_beat.csv", "scorecard.json", "interpret.json", "attributions", "figures")


def explain_run(one: Configuration, output: Path, settings: ExplainSettings) -> tuple[pd.DataFrame, list[str]]:
    """Explain records of a run's test set and write the results; the head of this module lists the files.

    Parameters
    ----------
    one
        The run.
    output
        Receives the results; those of an earlier call are replaced.
    settings
        What to explain, and how.

    Returns
    -------
    table
        The content of ``records.csv``.
    warnings
        Why a method should not be believed, in sentences.

    Raises
    ------
    ConfigError
        There is no such run, method, class, layer or device, or the data set is not the one that the run was trained
        on.
    DataError
        A requested record is not in the test set, or no record is left to show.
    """
    settings = replace(settings, methods=choose_methods(settings.methods))
    explained = open_subject(one, settings)
    run = explained.run
    class_names = run.class_names if settings.class_names is None else tuple(settings.class_names)
    check_classes(class_names, run.class_names)
    if settings.records is None:
        examples, absent = choose_examples(explained.test, thresholds=run.thresholds, class_names=class_names)
        for sentence in absent:
            log.info("Nothing to show for %s in the test set", sentence)
    else:
        examples = list_examples(explained.test, thresholds=run.thresholds, class_names=settings.class_names)
    if not examples:
        raise DataError(f"{one.folder}: the test set has no record to show for {', '.join(class_names)}")
    _clear(output)
    table = _explain_examples(explained, examples, output, settings)
    if settings.n_summary:
        _write_summaries(explained, _summarize(explained, class_names, settings), output)
    warnings = []
    if settings.n_scorecard:
        spread = np.linspace(0, len(examples) - 1, min(settings.n_scorecard, len(examples))).round().astype(int)
        warnings = _write_scorecard(explained, [examples[number] for number in spread], output, settings)
    requested: dict[str, Any] = {
        "run": str(one.folder),
        "methods": list(settings.methods),
        "class_names": list(class_names),
        "records": settings.records,
        "n_summary": settings.n_summary,
        "seed": settings.seed,
        "warnings": warnings,
    }
    write_json(output / "interpret.json", requested)
    return table, warnings


def _explain_examples(
    explained: Subject, examples: Sequence[Example], output: Path, settings: ExplainSettings
) -> pd.DataFrame:
    """Write the attribution and the picture of each example, by each method; return ``records.csv``."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in settings.methods}
    progress = tqdm(total=len(examples) * len(rows), desc="Explaining", unit=" maps", disable=None)
    for start in range(0, len(examples), _BATCH_SIZE):
        batch = examples[start : start + _BATCH_SIZE]
        query = explained.make_query(batch)
        signals_mv = query.signal_mv.cpu().numpy()
        for name in settings.methods:
            found = attribute(query, name, settings.of_methods)
            for example, signal_mv, values, logit in zip(batch, signals_mv, found.values, found.logit, strict=True):
                files = _write_example(explained, example, METHODS[name], output, signal_mv, values, logit)
                rows[name].append(
                    {
                        "ecg_id": example.ecg_id,
                        "class": example.class_name,
                        "outcome": example.outcome,
                        "method": name,
                        "y_true": " ".join(example.true_classes),
                        "y_prob": example.y_prob,
                        "threshold": explained.run.thresholds[example.class_name],
                        "logit": float(logit),
                        **files,
                    }
                )
                progress.update()
    progress.close()
    table = pd.DataFrame(list(chain(*rows.values())))
    _write_table(table, output / "records.csv")
    return table


def _write_example(
    explained: Subject,
    example: Example,
    method: Method,
    output: Path,
    signal_mv: NDArray[np.float32],
    values: NDArray[np.float32],
    logit: np.float32,
) -> dict[str, str]:
    """Write one attribution ``(lead, sample)`` and its picture; return both files, relative to the output."""
    run, name = explained.run, f"ecg_{example.ecg_id}_{explained.file_names[example.class_name]}"
    arrays, picture = Path("attributions", method.name, f"{name}.npz"), Path("figures", method.name, f"{name}.png")
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
    figure = draw_ecg(
        signal_mv,
        sampling_rate_hz=run.sampling_rate_hz,
        lead_names=run.lead_names,
        title=f"ECG {example.ecg_id}: {example.class_name}, predicted probability {example.y_prob:.2f} "
        f"({OUTCOMES[example.outcome]}); actual: {', '.join(example.true_classes) or 'none'}",
        subtitle=f"{explained.title}; {method.label}",
        attribution=values,
        label=f"{method.label} ({method.unit})",
        is_signed=method.is_signed,
    )
    save_figure(figure, output / picture)
    return {"attribution": str(arrays), "figure": str(picture)}


def _summarize(
    explained: Subject, class_names: Sequence[str], settings: ExplainSettings
) -> dict[tuple[str, str], ClassSummary]:
    """Summarize each method's maps of records that have a class, by method and class."""
    run, test, rate_hz = explained.run, explained.test, explained.run.sampling_rate_hz
    found: dict[tuple[str, str], ClassSummary] = {}
    for class_name in tqdm(class_names, desc="Summarizing", unit=" classes", disable=None):
        sample = draw_sample(
            test,
            class_name=class_name,
            thresholds=run.thresholds,
            n_records=settings.n_summary,
            seed=settings.seed,
        )
        if not sample:
            log.warning("%s: no test record has it, so there is no summary", class_name)
            continue
        query = explained.make_query(sample)
        signal_mv = query.signal_mv.cpu().numpy()
        peaks = [find_r_peaks(one, sampling_rate_hz=rate_hz, lead_names=run.lead_names) for one in signal_mv]
        for name in settings.methods:
            maps = [attribute(batch, name, settings.of_methods).values for batch in query.split(_BATCH_SIZE)]
            summary = summarize_maps(np.concatenate(maps), signal_mv, peaks, sampling_rate_hz=rate_hz)
            found[name, class_name] = summary
            if n_empty := len(sample) - summary.n_records:
                log.warning("%s of %s: %d of %d maps are empty", name, class_name, n_empty, len(sample))
    return {(name, one): found[name, one] for name in settings.methods for one in class_names if (name, one) in found}


def _write_summaries(explained: Subject, summaries: Mapping[tuple[str, str], ClassSummary], output: Path) -> None:
    """Write each lead's share of the attribution, and the attribution around the R peak, as tables and figures."""
    lead_names = list(explained.run.lead_names)
    by_lead = tabulate_leads(summaries, lead_names)
    _write_table(by_lead, output / "by_lead.csv")
    _write_table(tabulate_beats(summaries), output / "by_beat.csv")
    for (name, class_name), summary in summaries.items():
        if summary.n_beats:
            amount = f"{summary.n_beats} beats of {summary.n_records} records"
            figure = draw_beat(
                summary.times_s,
                summary.attribution,
                summary.signal_mv,
                lead_names=lead_names,
                title=f"{explained.title}: {class_name}, mean of {amount}",
                label=f"{METHODS[name].label} ({METHODS[name].unit})",
                is_signed=METHODS[name].is_signed,
            )
            save_figure(figure, output / "figures" / name / f"by_beat_{explained.file_names[class_name]}.png")
    for method, of_method in by_lead.groupby("method", sort=False):
        if np.ptp(of_method["share"]) < 1e-6:
            continue  # a method that gives every lead the same
        shares = of_method.pivot(index="class", columns="lead", values="share")
        figure = draw_lead_shares(
            shares.loc[list(of_method["class"].unique()), lead_names],
            title=f"{explained.title}: where the attribution lies",
            label=f"Share of |{METHODS[str(method)].label}|",
        )
        save_figure(figure, output / "figures" / str(method) / "by_lead.png")


def _write_scorecard(
    explained: Subject, examples: Sequence[Example], output: Path, settings: ExplainSettings
) -> list[str]:
    """Score every method on the examples; return the warnings."""
    query = explained.make_query(examples)
    progress = tqdm(settings.methods, desc="Scoring the methods", unit=" methods", disable=None)
    card = {name: score_method(query, name, settings.of_methods) for name in progress}
    records = [{"ecg_id": example.ecg_id, "class": example.class_name} for example in examples]
    content = {"methods": card, "records": records}
    write_json(output / "scorecard.json", content)
    figure = draw_scorecard(content, title=f"{explained.title}: can the maps be trusted?")
    save_figure(figure, output / "figures" / "scorecard.png")
    return [warning for scores in card.values() for warning in scores["warnings"]]


def _write_table(table: pd.DataFrame, path: Path) -> None:
    write_atomically(path, table.to_csv(index=False).encode())


def _clear(output: Path) -> None:
    """Remove the results of an earlier call, and nothing else."""
    for name in _OUTPUTS:
        if (output / name).is_dir():
            shutil.rmtree(output / name)
        else:
            (output / name).unlink(missing_ok=True)
