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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from ecgcls.data.signals import read_record, to_millivolt
from ecgcls.data.source import Source, split_settings
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.explanation.attribution import METHODS, attribute, choose_methods
from ecgcls.explanation.beats import find_r_peaks
from ecgcls.explanation.method import MethodSettings
from ecgcls.explanation.query import Query, make_query
from ecgcls.explanation.scorecard import score_method
from ecgcls.explanation.selection import Example, check_classes, choose_examples, draw_sample, list_examples
from ecgcls.explanation.summary import ClassSummary, summarize_maps
from ecgcls.files import write_json
from ecgcls.jobs.explanation_files import write_example, write_scorecard, write_summaries, write_table
from ecgcls.jobs.load import LoadedRun, load_configuration
from ecgcls.jobs.parts import build_part
from ecgcls.jobs.rescore import parse_records
from ecgcls.runs.configuration import Configuration
from ecgcls.training.standardizer import Standardizer

log = logging.getLogger(__name__)

_BATCH_SIZE = 16  # records that are attributed together
_OUTPUTS = ("records.csv", "by_lead.csv", "by_beat.csv", "scorecard.json", "interpret.json", "attributions", "figures")


@dataclass(frozen=True)
class ExplainSettings:
    """What to explain, and how.

    Parameters
    ----------
    methods
        Names of `ecgcls.explanation.attribution.METHODS`, or ``all``.
    class_names
        Which classes; None: all, or with `records` those that a record has or is predicted to have.
    records
        Which records, as typed; None: for each class a true positive, a false positive and a false negative.
    layer
        Grad-CAM's layer by its dotted name; None: the activation after the last convolution.
    n_summary, n_scorecard
        Records per class in the summaries, and records of the scorecard; 0 leaves them out.
    seed
        Of whatever is drawn at random.
    data_root
        Where the run's data set is now; None: where it was in training.
    device
        Where the net computes.
    """

    methods: Sequence[str]
    class_names: Sequence[str] | None = None
    records: str | None = None
    layer: str | None = None
    n_summary: int = 50
    n_scorecard: int = 8
    seed: int = 0
    data_root: Path | None = None
    device: str = "cpu"


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
        There is no such run, method, class, layer or device, or the data set is not the one the run was trained on.
    DataError
        A requested record is not in the test set, or no record is left to show.
    """
    methods = choose_methods(settings.methods)
    subject = _open_subject(one, settings)
    run = subject.run
    class_names = run.class_names if settings.class_names is None else tuple(settings.class_names)
    check_classes(class_names, run.class_names)
    if settings.records is None:
        examples, absent = choose_examples(subject.test, thresholds=run.thresholds, class_names=class_names)
        for sentence in absent:
            log.info("Nothing to show for %s in the test set", sentence)
    else:
        subject = replace(subject, test=subject.test.take(parse_records(settings.records)))
        examples = list_examples(subject.test, thresholds=run.thresholds, class_names=settings.class_names)
    if not examples:
        raise DataError(f"{one.folder}: the test set has no record to show for {', '.join(class_names)}")
    _clear(output)
    table = _explain_examples(subject, methods, examples, output)
    if settings.n_summary:
        write_summaries(run, _summarize(subject, methods, class_names), output, title=subject.title)
    warnings = []
    if settings.n_scorecard:
        spread = np.linspace(0, len(examples) - 1, min(settings.n_scorecard, len(examples))).round().astype(int)
        warnings = _score(subject, methods, [examples[number] for number in spread], output)
    requested: dict[str, Any] = {
        "run": str(one.folder),
        "methods": list(methods),
        "class_names": list(class_names),
        "records": settings.records,
        "n_summary": settings.n_summary,
        "seed": settings.seed,
        "warnings": warnings,
    }
    write_json(output / "interpret.json", requested)
    return table, warnings


@dataclass(frozen=True)
class _Subject:
    """A run, its test predictions and the way to its signals."""

    run: LoadedRun
    title: str
    test: Predictions
    paths: pd.Series  # of each ecg_id's record
    settings: ExplainSettings

    @property
    def method_settings(self) -> MethodSettings:
        return MethodSettings(seed=self.settings.seed, layer=self.settings.layer)

    def make_query(self, examples: Sequence[Example]) -> Query:
        """Read the records of some examples, whose classes are to be explained."""
        signals = [read_record(self.paths[example.ecg_id]).signal_uv for example in examples]
        net = self.run.nets[0]
        standardizer = net[0]
        assert isinstance(standardizer, Standardizer)
        return make_query(
            net,
            torch.from_numpy(to_millivolt(np.stack(signals))),
            [example.class_index for example in examples],
            baseline_mv=standardizer.mean_mv,
            sd_mv=standardizer.sd_mv,
            sampling_rate_hz=self.run.sampling_rate_hz,
        )


def _open_subject(one: Configuration, settings: ExplainSettings) -> _Subject:
    node, _ = split_settings(one.runs[0].read_config()["data"])
    root = settings.data_root or Path(node["root"])
    source: Source = build_part("data", {**node, "root": str(root)})
    filenames = source.read_records()["filename"]
    trained_on = one.info.data["fingerprint"]
    changed = [name for name, digest in source.fingerprint().items() if trained_on[name] != digest]
    if changed:
        raise ConfigError(
            f"{root / changed[0]} is not the table that {one.folder} was trained on; where the data set has moved, set "
            "data.root=PATH"
        )
    run = load_configuration(one, device=settings.device)
    return _Subject(run, one.title, one.tested, filenames.map(lambda name: root / name), settings)


def _explain_examples(
    subject: _Subject, methods: Sequence[str], examples: Sequence[Example], output: Path
) -> pd.DataFrame:
    """Write the attribution and the picture of each example, by each method; return ``records.csv``."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in methods}
    progress = tqdm(total=len(examples) * len(methods), desc="Explaining", unit=" maps", disable=None)
    for start in range(0, len(examples), _BATCH_SIZE):
        batch = examples[start : start + _BATCH_SIZE]
        query = subject.make_query(batch)
        signals_mv = query.signal_mv.cpu().numpy()
        for name in methods:
            found = attribute(query, name, subject.method_settings)
            for number, example in enumerate(batch):
                row = write_example(
                    subject.run,
                    example,
                    METHODS[name],
                    output,
                    title=subject.title,
                    signal_mv=signals_mv[number],
                    values=found.values[number],
                    logit=found.logit[number],
                )
                rows[name].append(row)
                progress.update()
    progress.close()
    table = pd.DataFrame([row for name in methods for row in rows[name]])
    write_table(table, output / "records.csv")
    return table


def _summarize(
    subject: _Subject, methods: Sequence[str], class_names: Sequence[str]
) -> dict[tuple[str, str], ClassSummary]:
    """Summarize each method's maps of records that have a class, by method and class."""
    run, test, found = subject.run, subject.test, {}
    rate_hz = run.sampling_rate_hz
    progress = tqdm(total=len(methods) * len(class_names), desc="Summarizing", unit=" classes", disable=None)
    for class_name in class_names:
        sample = draw_sample(
            test,
            class_name=class_name,
            thresholds=run.thresholds,
            n_records=subject.settings.n_summary,
            seed=subject.settings.seed,
        )
        if not sample:
            log.warning("%s: no test record has it, so there is no summary", class_name)
            continue
        query = subject.make_query(sample)
        signal_mv = query.signal_mv.cpu().numpy()
        peaks = [find_r_peaks(one, sampling_rate_hz=rate_hz, lead_names=run.lead_names) for one in signal_mv]
        for name in methods:
            maps = [attribute(batch, name, subject.method_settings).values for batch in query.split(_BATCH_SIZE)]
            summary = summarize_maps(np.concatenate(maps), signal_mv, peaks, sampling_rate_hz=rate_hz)
            found[name, class_name] = summary
            if n_empty := len(sample) - summary.n_records:
                log.warning("%s of %s: %d of %d maps are empty", name, class_name, n_empty, len(sample))
            progress.update()
    progress.close()
    return {(name, one): found[name, one] for name in methods for one in class_names if (name, one) in found}


def _score(subject: _Subject, methods: Sequence[str], examples: Sequence[Example], output: Path) -> list[str]:
    """Run the checks of every method on the examples; return the warnings."""
    query = subject.make_query(examples)
    progress = tqdm(methods, desc="Scoring the methods", unit=" methods", disable=None)
    card = {name: score_method(query, name, subject.method_settings) for name in progress}
    write_scorecard(card, examples, output, title=subject.title)
    return [warning for scores in card.values() for warning in scores["warnings"]]


def _clear(output: Path) -> None:
    """Remove the results of an earlier call, and nothing else."""
    for name in _OUTPUTS:
        if (output / name).is_dir():
            shutil.rmtree(output / name)
        else:
            (output / name).unlink(missing_ok=True)
