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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ecgcls.data.reading import read_repaired
from ecgcls.data.signals import to_millivolt
from ecgcls.data.source import split_settings
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.explanation.attribution import METHODS, attribute, choose_methods
from ecgcls.explanation.beats import find_r_peaks
from ecgcls.explanation.method import Method, MethodSettings, Query, make_query
from ecgcls.explanation.scorecard import score_method
from ecgcls.explanation.selection import OUTCOMES, Example, choose_examples, draw_sample, list_examples
from ecgcls.explanation.summary import ClassSummary, summarize_maps, tabulate_beats, tabulate_leads
from ecgcls.figures.ecg_paper import draw_ecg
from ecgcls.figures.explanation import draw_beat, draw_lead_shares, draw_scorecard
from ecgcls.figures.style import save_figure
from ecgcls.files import name_files, write_atomically, write_json
from ecgcls.jobs.load import load_configuration
from ecgcls.jobs.loaded import LoadedRun
from ecgcls.jobs.parts import build_part
from ecgcls.jobs.rescore import parse_records
from ecgcls.jobs.trust import take_trusted
from ecgcls.outputs import check_output, claim_folder
from ecgcls.runs.configuration import Configuration
from ecgcls.training.standardizer import Standardizer

log = logging.getLogger(__name__)

_BATCH_SIZE = 16  # records that are attributed together


@dataclass(frozen=True)
class ExplainSettings:
    """What to explain, and how; ``conf/interpret.yaml`` explains each setting."""

    methods: Sequence[str]
    class_names: Sequence[str] | None = None
    records: str | None = None
    layer: str | None = None
    n_summary: int = 50
    n_scorecard: int = 8
    seed: int = 0
    data_root: Path | None = None
    device: str = "cpu"
    trust: Sequence[str] = ()


@dataclass(frozen=True)
class _Subject:
    """A finished run, its title in figures, its test records that may be explained, and their files by ecg_id.

    The settings are those of the attribution methods.
    """

    run: LoadedRun
    title: str
    test: Predictions
    paths: pd.Series
    settings: MethodSettings

    def make_query(self, examples: Sequence[Example]) -> Query:
        """Read the records of some examples, whose classes are to be explained."""
        form = {"sampling_rate_hz": int(self.run.sampling_rate_hz), "n_samples": self.run.n_samples}
        signals = [read_repaired(self.paths[example.ecg_id], **form).signal_uv for example in examples]
        standardizer = self.run.nets[0][0]
        assert isinstance(standardizer, Standardizer)
        return make_query(
            self.run.nets[0],
            torch.from_numpy(to_millivolt(np.stack(signals))),
            [example.class_index for example in examples],
            baseline_mv=standardizer.mean_mv,
            sd_mv=standardizer.sd_mv,
            sampling_rate_hz=self.run.sampling_rate_hz,
        )


def explain_run(one: Configuration, output: Path, settings: ExplainSettings) -> tuple[pd.DataFrame, list[str]]:
    """Explain records of a single run's test set, and write the results in place of those of an earlier call.

    Return the content of ``records.csv``, and in sentences why a method should not be believed.
    """
    settings = replace(settings, methods=choose_methods(settings.methods))
    check_output(output, "interpret")
    explained = _open_subject(one, settings)
    run = explained.run
    class_names = run.class_names if settings.class_names is None else tuple(settings.class_names)
    unknown = [name for name in class_names if name not in run.class_names]
    if unknown:
        raise ConfigError(f"classes: this run has no class {', '.join(unknown)}; it has {', '.join(run.class_names)}")
    if settings.records is None:
        examples, absent = choose_examples(explained.test, thresholds=run.thresholds, class_names=class_names)
        for sentence in absent:
            log.info("Nothing to show for %s in the test set", sentence)
    else:
        examples = list_examples(explained.test, thresholds=run.thresholds, class_names=settings.class_names)
    if not examples:
        raise DataError(f"{one.folder}: the test set has no record to show for {', '.join(class_names)}")
    claim = claim_folder(output, "interpret")
    table = _explain_examples(explained, examples, output, settings.methods)
    if settings.n_summary:
        _write_summaries(explained, _summarize(explained, class_names, settings), output)
    warnings = []
    if settings.n_scorecard:
        spread = np.linspace(0, len(examples) - 1, min(settings.n_scorecard, len(examples))).round().astype(int)
        warnings = _write_scorecard(explained, [examples[number] for number in spread], output, settings.methods)
    requested = {
        "run": str(one.folder),
        "methods": list(settings.methods),
        "class_names": list(class_names),
        "records": settings.records,
        "n_summary": settings.n_summary,
        "seed": settings.seed,
        "warnings": warnings,
    }
    write_json(output / "interpret.json", requested)
    claim.seal()
    return table, warnings


def _open_subject(one: Configuration, settings: ExplainSettings) -> _Subject:
    """Open a run with its test records, or those of them that the settings name."""
    node, _ = split_settings(take_trusted(one.runs[0].read_config(), "data", trust=settings.trust))
    root = settings.data_root or Path(node["root"])
    source = build_part("data", {**node, "root": str(root)})
    filenames = source.read_records()["filename"]
    trained_on = one.info.data["fingerprint"]
    changed = [name for name, digest in source.fingerprint().items() if trained_on[name] != digest]
    if changed:
        raise ConfigError(
            f"{source.root / changed[0]} is not the table that {one.folder} was trained on; where the data set has "
            "moved, set data.root=PATH"
        )
    run = load_configuration(one, device=settings.device, trust=settings.trust)
    test = one.tested if settings.records is None else one.tested.take(parse_records(settings.records))
    of_methods = MethodSettings(seed=settings.seed, layer=settings.layer)
    return _Subject(run, one.title, test, filenames.map(lambda name: source.root / name), of_methods)


def _explain_examples(
    explained: _Subject, examples: Sequence[Example], output: Path, methods: Sequence[str]
) -> pd.DataFrame:
    """Write the attribution and the picture of each example, by each method, and ``records.csv``."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in methods}
    progress = tqdm(total=len(examples) * len(methods), desc="Explaining", unit=" maps", disable=None)
    for start in range(0, len(examples), _BATCH_SIZE):
        batch = examples[start : start + _BATCH_SIZE]
        query = explained.make_query(batch)
        signals_mv = query.signal_mv.cpu().numpy()
        for name in methods:
            found = attribute(query, name, explained.settings)
            for example, signal_mv, values, logit in zip(batch, signals_mv, found.values, found.logit, strict=True):
                files = _write_example(explained, example, METHODS[name], output, signal_mv, values, logit)
                row = {
                    "ecg_id": example.ecg_id,
                    "class": example.class_name,
                    "outcome": example.outcome,
                    "method": name,
                    "y_true": " ".join(example.true_classes),
                    "y_prob": example.y_prob,
                    "threshold": explained.run.thresholds[example.class_name],
                    "logit": float(logit),
                }
                rows[name].append(row | files)
                progress.update()
    progress.close()
    table = pd.DataFrame(list(chain(*rows.values())))
    _write_table(table, output / "records.csv")
    return table


def _write_example(
    explained: _Subject,
    example: Example,
    method: Method,
    output: Path,
    signal_mv: NDArray[np.float32],
    values: NDArray[np.float32],
    logit: np.float32,
) -> dict[str, str]:
    """Write one attribution ``(lead, sample)`` and its picture; return both files, relative to the output."""
    run = explained.run
    name = f"ecg_{example.ecg_id}_{name_files(run.class_names)[example.class_name]}"
    arrays, picture = Path("attributions", method.name, f"{name}.npz"), Path("figures", method.name, f"{name}.png")
    (output / arrays).parent.mkdir(parents=True, exist_ok=True)
    leads: dict[str, Any] = {"sampling_rate_hz": run.sampling_rate_hz, "lead_names": run.lead_names}
    np.savez_compressed(
        output / arrays,
        attribution=values,
        signal_mv=signal_mv,
        ecg_id=example.ecg_id,
        class_name=example.class_name,
        method=method.name,
        unit=method.unit,
        y_prob=example.y_prob,
        logit=logit,
        **leads,
    )
    figure = draw_ecg(
        signal_mv,
        title=f"ECG {example.ecg_id}: {example.class_name}, predicted probability {example.y_prob:.2f} "
        f"({OUTCOMES[example.outcome]}); actual: {', '.join(example.true_classes) or 'none'}",
        subtitle=f"{explained.title}; {method.label}",
        attribution=values,
        label=f"{method.label} ({method.unit})",
        is_signed=method.is_signed,
        **leads,
    )
    save_figure(figure, output / picture)
    return {"attribution": str(arrays), "figure": str(picture)}


def _summarize(
    explained: _Subject, class_names: Sequence[str], settings: ExplainSettings
) -> dict[tuple[str, str], ClassSummary]:
    """Summarize each method's maps of records that have a class, by method and class."""
    run, rate_hz = explained.run, explained.run.sampling_rate_hz
    found: dict[tuple[str, str], ClassSummary] = {}
    for class_name in tqdm(class_names, desc="Summarizing", unit=" classes", disable=None):
        amount = {"n_records": settings.n_summary, "seed": settings.seed}
        sample = draw_sample(explained.test, class_name=class_name, thresholds=run.thresholds, **amount)
        if not sample:
            log.warning("%s: no test record has it, so there is no summary", class_name)
            continue
        query = explained.make_query(sample)
        signal_mv = query.signal_mv.cpu().numpy()
        peaks = [find_r_peaks(one, sampling_rate_hz=rate_hz, lead_names=run.lead_names) for one in signal_mv]
        for name in settings.methods:
            maps = [attribute(batch, name, explained.settings).values for batch in query.split(_BATCH_SIZE)]
            found[name, class_name] = summarize_maps(np.concatenate(maps), signal_mv, peaks, sampling_rate_hz=rate_hz)
            if n_empty := len(sample) - found[name, class_name].n_records:
                log.warning("%s of %s: %d of %d maps are empty", name, class_name, n_empty, len(sample))
    return {key: found[key] for key in product(settings.methods, class_names) if key in found}


def _write_summaries(explained: _Subject, summaries: Mapping[tuple[str, str], ClassSummary], output: Path) -> None:
    """Write each lead's share of the attribution, and the attribution around the R peak, as tables and figures."""
    lead_names, file_names = list(explained.run.lead_names), name_files(explained.run.class_names)
    by_lead = tabulate_leads(summaries, lead_names)
    _write_table(by_lead, output / "by_lead.csv")
    _write_table(tabulate_beats(summaries), output / "by_beat.csv")
    for (name, class_name), summary in summaries.items():
        if summary.n_beats:
            amount, method = f"{summary.n_beats} beats of {summary.n_records} records", METHODS[name]
            figure = draw_beat(
                summary.times_s,
                summary.attribution,
                summary.signal_mv,
                lead_names=lead_names,
                title=f"{explained.title}: {class_name}, mean of {amount}",
                label=f"{method.label} ({method.unit})",
                is_signed=method.is_signed,
            )
            save_figure(figure, output / "figures" / name / f"by_beat_{file_names[class_name]}.png")
    for name in by_lead["method"].unique():
        of_method = by_lead[by_lead["method"] == name]
        if np.ptp(of_method["share"]) < 1e-6:
            continue  # a method that gives every lead the same
        shares = of_method.pivot(index="class", columns="lead", values="share")
        shares = shares.loc[of_method["class"].unique(), lead_names]
        title, label = f"{explained.title}: where the attribution lies", f"Share of |{METHODS[name].label}|"
        figure = draw_lead_shares(shares, title=title, label=label)
        save_figure(figure, output / "figures" / name / "by_lead.png")


def _write_scorecard(
    explained: _Subject, examples: Sequence[Example], output: Path, methods: Sequence[str]
) -> list[str]:
    """Score every method on the examples; return the warnings."""
    query = explained.make_query(examples)
    progress = tqdm(methods, desc="Scoring the methods", unit=" methods", disable=None)
    card = {name: score_method(query, name, explained.settings) for name in progress}
    content = {"methods": card, "records": [{"ecg_id": one.ecg_id, "class": one.class_name} for one in examples]}
    write_json(output / "scorecard.json", content)
    figure = draw_scorecard(content, title=f"{explained.title}: can the maps be trusted?")
    save_figure(figure, output / "figures" / "scorecard.png")
    return [warning for scores in card.values() for warning in scores["warnings"]]


def _write_table(table: pd.DataFrame, path: Path) -> None:
    write_atomically(path, table.to_csv(index=False).encode())
