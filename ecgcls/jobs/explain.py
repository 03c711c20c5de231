"""Explain a finished run: pictures of single records, summaries by class, and a scorecard of the methods.

The output folder holds

- ``records.csv``: a row per picture: record, class, outcome, probability, method, files;
- ``attributions/<method>/ecg_<id>_<CLASS>.npz``: the attribution ``(lead, sample)`` with its unit, and the signal;
- ``figures/<method>/ecg_<id>_<CLASS>.png``: the same on ECG paper;
- ``by_lead.csv``, ``figures/<method>/by_lead.png``: each lead's share of the attribution, by class;
- ``by_beat.csv``, ``figures/<method>/by_beat_<CLASS>.png``: the attribution around the R peak, by class;
- ``scorecard.json``, ``figures/scorecard.png``: whether to believe each method;
- ``interpret.json``: what was requested, and whether all of it is there.

Each file is written when it is ready. For anyone's own records, see `explain_recording`.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ecgcls.data.metadata import read_columns
from ecgcls.data.reading import read_repaired
from ecgcls.data.signals import to_millivolt
from ecgcls.data.source import split_settings
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.explanation.attribution import METHODS, attribute, choose_methods
from ecgcls.explanation.beats import find_r_peaks
from ecgcls.explanation.method import MethodSettings, Query
from ecgcls.explanation.scorecard import N_RANDOMIZED, N_SHUFFLES, score_method
from ecgcls.explanation.selection import Example, choose_examples, describe_example, draw_sample, list_examples
from ecgcls.explanation.summary import ClassSummary, summarize_maps
from ecgcls.files import name_files
from ecgcls.jobs.explain_files import (
    describe_scores,
    format_rows,
    recorded,
    write_beat,
    write_map,
    write_scorecard,
    write_summaries,
    write_table,
)
from ecgcls.jobs.explain_recording import check_classes, query_run
from ecgcls.jobs.load import load_configuration
from ecgcls.jobs.loaded import LoadedRun
from ecgcls.jobs.parts import build_part
from ecgcls.jobs.rescore import parse_records
from ecgcls.jobs.trust import take_trusted
from ecgcls.outputs import check_output
from ecgcls.runs.configuration import Configuration

log = logging.getLogger(__name__)

_BATCH_SIZE = 16  # records that are attributed together
_SLOW_SUMMARY = 5  # records per class in the summaries of a slow method, at most
_PICTURE_S = 0.8  # what drawing one takes, about
_SHOWN = ("ecg_id", "class", "outcome", "y_prob", "method", "figure")


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
    """A finished run, its title in figures, its test records that may be explained; by ecg_id their files and metadata.

    The settings are those of the attribution methods; `tell` is given each result in a line.
    """

    run: LoadedRun
    title: str
    test: Predictions
    paths: pd.Series
    metadata: pd.DataFrame
    settings: MethodSettings
    tell: Callable[[str], None]

    def make_query(self, examples: Sequence[Example]) -> Query:
        """Read the records of some examples, whose classes are to be explained."""
        form: dict[str, Any] = {"sampling_rate_hz": int(self.run.sampling_rate_hz), "n_samples": self.run.n_samples}
        form["lead_names"] = self.run.lead_names
        signals = [read_repaired(self.paths[example.ecg_id], **form).signal_uv for example in examples]
        classes, ids = [example.class_index for example in examples], [example.ecg_id for example in examples]
        return query_run(self.run, to_millivolt(np.stack(signals)), classes, self.metadata.loc[ids].to_numpy())


def explain_run(
    one: Configuration, output: Path, settings: ExplainSettings, *, tell: Callable[[str], None] = log.info
) -> tuple[pd.DataFrame, list[str]]:
    """Explain records of a single run's test set, and write the results in place of those of an earlier call.

    Parameters
    ----------
    tell
        Is given what will be done, and each result as it comes, in lines.

    Returns
    -------
    table
        The content of ``records.csv``.
    warnings
        In sentences why a method should not be believed.
    """
    settings = replace(settings, methods=choose_methods(settings.methods))
    check_output(output, "interpret")
    explained = _open_subject(one, settings, tell)
    run = explained.run
    check_classes(run, settings.class_names)
    class_names = run.class_names if settings.class_names is None else tuple(settings.class_names)
    if settings.records is None:
        examples, absent = choose_examples(explained.test, thresholds=run.thresholds, class_names=class_names)
        for sentence in absent:
            tell(f"Nothing to show for {sentence} in the test set")
    else:
        examples = list_examples(explained.test, thresholds=run.thresholds, class_names=settings.class_names)
    if not examples:
        raise DataError(f"{one.folder}: the test set has no record to show for {', '.join(class_names)}")
    spread = np.linspace(0, len(examples) - 1, min(settings.n_scorecard, len(examples))).round().astype(int)
    scored = [examples[number] for number in spread]
    samples = _draw_samples(explained, class_names, settings)
    requested = {
        "run": str(one.folder),
        "methods": list(settings.methods),
        "class_names": list(class_names),
        "records": settings.records,
        "n_summary": settings.n_summary,
        "seed": settings.seed,
    }
    with recorded(output, requested) as found:
        tell(_announce(explained, settings.methods, examples, samples, scored))
        table = _explain_examples(explained, examples, output, settings.methods)
        if samples:
            _summarize(explained, samples, output, settings.methods)
        warnings = _score(explained, scored, output, settings.methods) if scored else []
        found["warnings"] = warnings
    return table, warnings


def _open_subject(one: Configuration, settings: ExplainSettings, tell: Callable[[str], None]) -> _Subject:
    """Open a run with its test records, or those of them that the settings name."""
    node, _ = split_settings(take_trusted(one.runs[0].read_config(), "data", trust=settings.trust))
    root = settings.data_root or Path(node["root"])
    source = build_part("data", {**node, "root": str(root)})
    records = source.read_records()
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
    paths = records["filename"].map(lambda name: source.root / name)
    values = read_columns(records, run.metadata_names, key="model.metadata")
    metadata = pd.DataFrame(values, index=records.index, columns=list(run.metadata_names))
    return _Subject(run, one.title, test, paths, metadata, of_methods, tell)


def _draw_samples(
    explained: _Subject, class_names: Sequence[str], settings: ExplainSettings
) -> dict[str, list[Example]]:
    """Draw by class the records behind its summary; a class that none has is told and left out."""
    samples: dict[str, list[Example]] = {}
    for class_name in class_names if settings.n_summary else ():
        amount = {"n_records": settings.n_summary, "seed": settings.seed}
        thresholds = explained.run.thresholds
        samples[class_name] = draw_sample(explained.test, class_name=class_name, thresholds=thresholds, **amount)
        if not samples[class_name]:
            del samples[class_name]
            explained.tell(f"{class_name}: no test record has it, so there is no summary")
    return samples


def _limit(sample: Sequence[Example], method: str) -> Sequence[Example]:
    return sample[:_SLOW_SUMMARY] if METHODS[method].is_slow else sample


def _announce(
    explained: _Subject,
    methods: Sequence[str],
    examples: Sequence[Example],
    samples: Mapping[str, Sequence[Example]],
    scored: Sequence[Example],
) -> str:
    """Say how many maps are to come, and about how long that takes, judged by one map of each method."""
    query = explained.make_query(examples[:1])
    attribute(query, methods[0], explained.settings)  # the first one also sets the net up
    n_maps, total_s = 0, _PICTURE_S * len(methods) * (len(examples) + len(samples) + 1)
    for name in methods:
        start = time.perf_counter()
        attribute(query, name, explained.settings)
        shuffled = min(N_RANDOMIZED, len(scored)) * (N_SHUFFLES + 1)
        own = len(examples) + sum(len(_limit(sample, name)) for sample in samples.values()) + len(scored) + shuffled
        n_maps += own
        total_s += own * (time.perf_counter() - start)
    parts = [f"{len(examples)} pictures", f"summaries of {len(samples)} classes" if samples else ""]
    parts += ["a scorecard" if scored else ""]
    amount = f"{', '.join(filter(None, parts))} by {', '.join(methods)}"
    duration = f"{total_s / 60:.0f} min" if total_s > 90 else f"{total_s:.0f} s"
    return f"{amount}: {n_maps:,} maps, about {duration}"


def _explain_examples(
    explained: _Subject, examples: Sequence[Example], output: Path, methods: Sequence[str]
) -> pd.DataFrame:
    """Write the attribution and the picture of each example, by each method, and ``records.csv`` as they come."""
    rows: list[dict[str, Any]] = []
    ids, names = [str(example.ecg_id) for example in examples], explained.run.class_names
    named = name_files(list(dict.fromkeys(ids)))
    format_row = format_rows(_SHOWN, {"ecg_id": ids, "class": names, "method": methods})
    explained.tell(format_row(dict(zip(_SHOWN, _SHOWN, strict=True))))
    with tqdm(total=len(examples) * len(methods), desc="Explaining", unit=" maps", disable=None) as progress:
        for start in range(0, len(examples), _BATCH_SIZE):
            batch = examples[start : start + _BATCH_SIZE]
            query = explained.make_query(batch)
            signals_mv = query.signal_mv.cpu().numpy()
            for name in methods:
                found = attribute(query, name, explained.settings)
                for example, signal_mv, values, logit in zip(batch, signals_mv, found.values, found.logit, strict=True):
                    of_one = signal_mv, values, float(logit), named[str(example.ecg_id)]
                    rows.append(_write_example(explained, example, name, output, *of_one))
                    write_table(pd.DataFrame(rows), output / "records.csv")
                    explained.tell(format_row(rows[-1]))
                    progress.update()
    rows.sort(key=lambda row: methods.index(row["method"]))
    table = pd.DataFrame(rows)
    write_table(table, output / "records.csv")
    return table


def _write_example(
    explained: _Subject,
    example: Example,
    method: str,
    output: Path,
    signal_mv: NDArray[np.float32],
    values: NDArray[np.float32],
    logit: float,
    named: str,
) -> dict[str, Any]:
    """Write one attribution ``(lead, sample)`` and its picture; return its row of ``records.csv``."""
    run, label = explained.run, METHODS[method].label
    facts = {"ecg_id": example.ecg_id, "class_name": example.class_name, "y_prob": example.y_prob, "logit": logit}
    files = write_map(
        output,
        f"ecg_{named}_{name_files(run.class_names)[example.class_name]}",
        METHODS[method],
        values,
        signal_mv,
        title=describe_example(
            ecg_id=example.ecg_id,
            class_name=example.class_name,
            y_prob=example.y_prob,
            outcome=example.outcome,
            true_classes=example.true_classes,
        ),
        subtitle=f"{explained.title}; {label}",
        sampling_rate_hz=run.sampling_rate_hz,
        lead_names=run.lead_names,
        facts=facts,
    )
    row = {
        "ecg_id": example.ecg_id,
        "class": example.class_name,
        "outcome": example.outcome,
        "method": method,
        "y_true": " ".join(example.true_classes),
        "y_prob": example.y_prob,
        "threshold": run.thresholds[example.class_name],
        "logit": logit,
    }
    return row | files


def _summarize(
    explained: _Subject, samples: Mapping[str, Sequence[Example]], output: Path, methods: Sequence[str]
) -> None:
    """Summarize each method's maps of records that have a class; the tables grow class by class."""
    run, rate_hz = explained.run, explained.run.sampling_rate_hz
    file_names = name_files(run.class_names)
    found: dict[tuple[str, str], ClassSummary] = {}
    for class_name, sample in tqdm(samples.items(), desc="Summarizing", unit=" classes", disable=None):
        query = explained.make_query(sample)
        signal_mv = query.signal_mv.cpu().numpy()
        peaks = [find_r_peaks(one, sampling_rate_hz=rate_hz, lead_names=run.lead_names) for one in signal_mv]
        for name in methods:
            n_records = len(_limit(sample, name))
            few = query.take(slice(n_records))
            maps = [attribute(batch, name, explained.settings).values for batch in few.split(_BATCH_SIZE)]
            own = np.concatenate(maps), signal_mv[:n_records], peaks[:n_records]
            summary = found[name, class_name] = summarize_maps(*own, sampling_rate_hz=rate_hz)
            if summary.n_beats:
                title, stem = f"{explained.title}: {class_name}", file_names[class_name]
                write_beat(output, METHODS[name], summary, stem, lead_names=run.lead_names, title=title)
            empty = f", {n_records - summary.n_records} more have an empty map" * (n_records > summary.n_records)
            explained.tell(f"Summary of {class_name} by {name}: {summary.n_records} records{empty}")
        ordered = {key: found[key] for name in methods for key in found if key[0] == name}
        write_summaries(output, ordered, lead_names=run.lead_names, title=explained.title)


def _score(explained: _Subject, scored: Sequence[Example], output: Path, methods: Sequence[str]) -> list[str]:
    """Score every method on some examples; return the warnings."""
    query = explained.make_query(scored)
    records = [{"ecg_id": one.ecg_id, "class": one.class_name} for one in scored]
    card: dict[str, Any] = {}
    for name in tqdm(methods, desc="Scoring the methods", unit=" methods", disable=None):
        card[name] = score_method(query, name, explained.settings)
        write_scorecard(output, card, records, title=explained.title)
        explained.tell(f"Scorecard of {describe_scores(name, card[name])}")
    return [warning for scores in card.values() for warning in scores["warnings"]]
