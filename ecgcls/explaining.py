"""Explain a finished run: pictures of single records, summaries by class, and a scorecard of the methods.

The folder of the results holds

- ``records.csv``: a row for each picture: record, class, outcome, probability, method, files;
- ``attributions/<method>/ecg_<id>_<CLASS>.npz``: the attribution ``(lead, sample)`` with its unit, and the signal;
- ``figures/<method>/ecg_<id>_<CLASS>.png``: the same on ECG paper;
- ``by_lead.csv``, ``figures/<method>/by_lead.png``: each lead's share of the attribution, by class;
- ``by_beat.csv``, ``figures/<method>/by_beat_<CLASS>.png``: the attribution around the R peak, by class;
- ``scorecard.json``, ``figures/scorecard.png``: whether to believe each method;
- ``interpret.json``: what was asked.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from ecgcls.config import suggest
from ecgcls.data.ptbxl import PTBXL
from ecgcls.data.signals import read_record, to_millivolt
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.figures import save_figure
from ecgcls.evaluation.predictions import Predictions
from ecgcls.explanation import figures
from ecgcls.explanation.attribution import METHODS, Attribution, attribute
from ecgcls.explanation.beats import align_beats, find_r_peaks, phase_shares
from ecgcls.explanation.scorecard import score_method
from ecgcls.explanation.selection import OUTCOMES, Example, check_classes, choose_examples, examine
from ecgcls.files import name_files, write_atomically, write_json
from ecgcls.inference import LoadedRun, load_run
from ecgcls.rescoring import parse_records
from ecgcls.runs import open_run, say_title
from ecgcls.training.standardizer import Standardizer

log = logging.getLogger(__name__)

_BATCH_SIZE = 16
_OWN = ("records.csv", "by_lead.csv", "by_beat.csv", "scorecard.json", "interpret.json", "attributions", "figures")


def explain_run(
    path: Path,
    output: Path,
    *,
    methods: Sequence[str],
    class_names: Sequence[str] | None,
    records: str | None,
    layer: str | None,
    n_summary: int,
    n_scorecard: int,
    seed: int,
    data_root: Path | None,
    device: str,
) -> tuple[pd.DataFrame, list[str]]:
    """Explain records of a run's test part and write the results; see the head of this module for the files.

    Parameters
    ----------
    path
        The run's folder.
    output
        Gets the results; those of an earlier call are replaced.
    methods
        Names of `ecgcls.explanation.attribution.METHODS`, or ``all``.
    class_names
        Which classes; None: all, or with `records` those that a record has or is predicted to have.
    records
        Which records, as typed; None: for each class a true positive, a false positive and a false negative.
    layer
        Grad-CAM's layer by its dotted name; None: the activation after the last convolution.
    n_summary, n_scorecard
        Records a class in the summaries, and records of the scorecard; 0 leaves them out.
    seed
        Of whatever is drawn at random.
    data_root
        Where the run's data set lies now; None: where it lay in training.
    device
        Where the net computes.

    Returns
    -------
    table
        What ``records.csv`` says.
    warnings
        Why a method should not be believed, in plain sentences.
    """
    methods = _check_methods(methods)
    explained = _open(path, methods, data_root=data_root, layer=layer, seed=seed, device=device)
    names = explained.run.class_names if class_names is None else tuple(class_names)
    check_classes(names, explained.run.class_names)
    if records is None:
        examples, absent = choose_examples(explained.test, thresholds=explained.run.thresholds, class_names=names)
        for sentence in absent:
            log.info("Nothing to show for %s in the test part", sentence)
    else:
        chosen = explained.test.take(parse_records(records))
        explained.test = chosen
        examples = examine(chosen, thresholds=explained.run.thresholds, class_names=class_names)
    if not examples:
        raise DataError(f"{path}: the test part has no record to show for {', '.join(names)}")
    _clear(output)
    table = _draw_examples(explained, examples, output)
    if n_summary:
        _summarise(explained, names, n_summary, output)
    warnings = []
    if n_scorecard:
        spread = np.linspace(0, len(examples) - 1, min(n_scorecard, len(examples))).round().astype(int)
        warnings = _write_scorecard(explained, [examples[number] for number in spread], output)
    write_json(
        output / "interpret.json",
        {
            "run": str(path),
            "methods": list(methods),
            "class_names": list(names),
            "records": records,
            "n_summary": n_summary,
            "seed": seed,
            "warnings": warnings,
        },
    )
    return table, warnings


@dataclass
class _Explained:
    """A run, its test predictions and the way to its signals."""

    run: LoadedRun
    test: Predictions
    filenames: pd.Series
    root: Path
    methods: tuple[str, ...]
    layer: str | None
    seed: int

    @property
    def names(self) -> dict[str, str]:
        """How each class is written in a file's name."""
        return name_files(self.run.class_names)

    @property
    def net(self) -> nn.Sequential:
        return self.run.nets[0]

    @property
    def title(self) -> str:
        return say_title(self.run.info)

    @property
    def standardizer(self) -> Standardizer:
        standardizer = self.net[0]
        assert isinstance(standardizer, Standardizer)
        return standardizer

    def read(self, ecg_ids: Sequence[int]) -> Tensor:
        """Return ``(record, lead, sample)`` in mV."""
        signals = [read_record(self.root / self.filenames[ecg_id]).signal_uv for ecg_id in ecg_ids]
        return torch.from_numpy(to_millivolt(np.stack(signals)))

    def attribute(self, signal_mv: Tensor, class_index: Sequence[int], method: str) -> Attribution:
        return attribute(
            self.net,
            signal_mv,
            class_index,
            method=method,
            baseline_mv=self.standardizer.mean_mv,
            sd_mv=self.standardizer.sd_mv,
            sampling_rate_hz=self.run.sampling_rate_hz,
            seed=self.seed,
            layer=self.layer,
        )


def _open(
    path: Path, methods: tuple[str, ...], *, data_root: Path | None, layer: str | None, seed: int, device: str
) -> _Explained:
    directory = open_run(path)
    config = directory.read_config()
    root = data_root or Path(config.data.root)
    source = PTBXL(root=root, sampling_rate_hz=config.data.sampling_rate_hz)
    database = source.read_records()
    stored = directory.read_info()["data"]["fingerprint"]
    changed = [name for name, digest in source.fingerprint().items() if stored[name] != digest]
    if changed:
        raise ConfigError(
            f"{root / changed[0]} is not the table that {path} was trained on; where the data set has moved, say so "
            "with data.root=PATH"
        )
    return _Explained(
        run=load_run(path, device=device),
        test=directory.read_predictions().select("test"),
        filenames=database["filename"],
        root=root,
        methods=methods,
        layer=layer,
        seed=seed,
    )


def _draw_examples(explained: _Explained, examples: Sequence[Example], output: Path) -> pd.DataFrame:
    """Write the attribution and the picture of each example, by each method."""
    run, rows = explained.run, []
    progress = tqdm(total=len(examples) * len(explained.methods), desc="Explaining", unit=" maps", disable=None)
    for method in explained.methods:
        label = f"{METHODS[method].label} ({METHODS[method].unit})"
        for batch in _batches(examples):
            signal_mv = explained.read([example.ecg_id for example in batch])
            found = explained.attribute(signal_mv, [example.class_index for example in batch], method)
            for number, example in enumerate(batch):
                name = f"ecg_{example.ecg_id}_{explained.names[example.class_name]}"
                arrays, picture = (
                    Path("attributions") / method / f"{name}.npz",
                    Path("figures") / method / f"{name}.png",
                )
                values, signal = found.values[number], signal_mv[number].numpy()
                (output / arrays).parent.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(
                    output / arrays,
                    attribution=values,
                    signal_mv=signal,
                    lead_names=np.array(run.lead_names),
                    sampling_rate_hz=run.sampling_rate_hz,
                    ecg_id=example.ecg_id,
                    class_name=example.class_name,
                    method=method,
                    unit=METHODS[method].unit,
                    y_prob=example.y_prob,
                    logit=found.logit[number],
                )
                figure = figures.draw_ecg(
                    signal,
                    sampling_rate_hz=run.sampling_rate_hz,
                    lead_names=run.lead_names,
                    title=say_example(example),
                    subtitle=f"{explained.title}; {METHODS[method].label}",
                    attribution=values,
                    label=label,
                    is_signed=METHODS[method].is_signed,
                )
                save_figure(figure, output / picture)
                rows.append(
                    {
                        "ecg_id": example.ecg_id,
                        "class": example.class_name,
                        "outcome": example.outcome,
                        "method": method,
                        "y_true": " ".join(example.true_classes),
                        "y_prob": example.y_prob,
                        "threshold": run.thresholds[example.class_name],
                        "logit": float(found.logit[number]),
                        "attribution": str(arrays),
                        "figure": str(picture),
                    }
                )
                progress.update()
    progress.close()
    table = pd.DataFrame(rows)
    write_atomically(output / "records.csv", table.to_csv(index=False).encode())
    return table


def say_example(example: Example) -> str:
    """Title of an example's picture: record, class, truth and probability."""
    truth = ", ".join(example.true_classes) or "none"
    return (
        f"ecg_id {example.ecg_id}: why {example.class_name}? probability {example.y_prob:.2f} "
        f"({OUTCOMES[example.outcome]}); true: {truth}"
    )


def _summarise(explained: _Explained, class_names: Sequence[str], n_asked: int, output: Path) -> None:
    """Write what holds on average: each lead's share of the attribution, and the attribution around the R peak."""
    by_lead, by_beat = [], []
    tasks = [(method, name) for method in explained.methods for name in class_names]
    for method, class_name in tqdm(tasks, desc="Summarising", unit=" classes", disable=None):
        rows = _draw_sample(explained, class_name, n_asked)
        if not len(rows):
            log.warning("%s: no test record has it, so there is no summary", class_name)
            continue
        summary = _summarise_class(explained, method, class_name, rows)
        n_records = summary.n_records
        if n_records < len(rows):
            log.warning("%s of %s: %d of %d maps are empty", method, class_name, len(rows) - n_records, len(rows))
        for lead, share in zip(explained.run.lead_names, summary.lead_shares, strict=True):
            by_lead.append(
                {"method": method, "class": class_name, "lead": lead, "share": share, "n_records": n_records}
            )
        by_beat.append(
            {"method": method, "class": class_name, "n_records": n_records, "n_beats": summary.n_beats}
            | {f"{phase}_share": share for phase, share in summary.phase_shares.items()}
            | {f"{phase}_time": share for phase, share in summary.phase_times.items()}
        )
        if summary.n_beats:
            figure = figures.draw_beat(
                summary.times_s,
                summary.attribution,
                summary.signal_mv,
                lead_names=explained.run.lead_names,
                title=f"{explained.title}: {class_name}, mean of {summary.n_beats} beats of {n_records} records",
                label=f"{METHODS[method].label} ({METHODS[method].unit})",
                is_signed=METHODS[method].is_signed,
            )
            save_figure(figure, output / "figures" / method / f"by_beat_{explained.names[class_name]}.png")
    lead_table = pd.DataFrame(by_lead)
    write_atomically(output / "by_lead.csv", lead_table.to_csv(index=False).encode())
    write_atomically(output / "by_beat.csv", pd.DataFrame(by_beat).to_csv(index=False).encode())
    for method in explained.methods:
        of_method = lead_table[lead_table["method"] == method] if len(lead_table) else lead_table
        if of_method.empty or np.ptp(of_method["share"]) < 1e-6:
            continue  # a method that gives every lead the same
        shares = of_method.pivot(index="class", columns="lead", values="share")
        figure = figures.draw_lead_shares(
            shares.loc[[name for name in class_names if name in shares.index], list(explained.run.lead_names)],
            title=f"{explained.title}: where the attribution lies",
            label=f"Share of |{METHODS[method].label}|",
        )
        save_figure(figure, output / "figures" / method / "by_lead.png")


@dataclass(frozen=True)
class _ClassSummary:
    n_records: int  # whose map is not empty
    lead_shares: NDArray[np.float64]  # (lead,)
    times_s: NDArray[np.float64]  # (sample,), from the R peak
    attribution: NDArray[np.float64]  # (lead, sample), mean over beats
    signal_mv: NDArray[np.float64]  # (lead, sample), mean over beats
    phase_shares: dict[str, float]  # of the attribution
    phase_times: dict[str, float]  # of the time: what a map that is the same everywhere would have
    n_beats: int


def _draw_sample(explained: _Explained, class_name: str, n_records: int) -> NDArray[np.int64]:
    """Draw records that have a class, those that the net predicts first: their rows of the test predictions."""
    column = explained.test.class_names.index(class_name)
    rows = np.flatnonzero(explained.test.y_true[:, column] == 1)
    rows = np.random.default_rng(explained.seed).permutation(rows)
    is_missed = explained.test.y_prob[rows, column] < explained.run.thresholds[class_name]
    return rows[np.argsort(is_missed, kind="stable")][:n_records]


def _summarise_class(explained: _Explained, method: str, class_name: str, rows: NDArray[np.int64]) -> _ClassSummary:
    run = explained.run
    column = explained.test.class_names.index(class_name)
    lead_sums, n_records = np.zeros(len(run.lead_names)), 0
    beats, signals, shares, times = [], [], [], []
    times_s = np.empty(0)
    for batch in _batches(rows):
        signal_mv = explained.read(explained.test.ecg_id[batch].tolist())
        found = explained.attribute(signal_mv, [column] * len(batch), method)
        for values, signal in zip(found.values, signal_mv.numpy(), strict=True):
            magnitude = np.abs(values).sum(axis=1)
            if not magnitude.any():
                continue  # a Grad-CAM may be empty: nothing in the block speaks for the class
            n_records += 1
            lead_sums += magnitude / magnitude.sum()  # every record weighs the same
            peaks = find_r_peaks(signal, sampling_rate_hz=run.sampling_rate_hz, lead_names=run.lead_names)
            times_s, of_values = align_beats(values, peaks, sampling_rate_hz=run.sampling_rate_hz)
            _, of_signal = align_beats(signal, peaks, sampling_rate_hz=run.sampling_rate_hz)
            if len(of_values):
                beats.append(of_values)
                signals.append(of_signal)
                shares.append(phase_shares(values, peaks, sampling_rate_hz=run.sampling_rate_hz))
                times.append(phase_shares(np.ones_like(values), peaks, sampling_rate_hz=run.sampling_rate_hz))
    return _ClassSummary(
        lead_shares=lead_sums / max(n_records, 1),
        n_records=n_records,
        times_s=times_s,
        attribution=np.concatenate(beats).mean(axis=0) if beats else np.empty((0, 0)),
        signal_mv=np.concatenate(signals).mean(axis=0) if signals else np.empty((0, 0)),
        phase_shares=_mean_by_key(shares),
        phase_times=_mean_by_key(times),
        n_beats=sum(map(len, beats)),
    )


def _mean_by_key(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in (rows[0] if rows else ())}


def _write_scorecard(explained: _Explained, examples: Sequence[Example], output: Path) -> list[str]:
    """Score every method on the examples; return the warnings."""
    signal_mv = explained.read([example.ecg_id for example in examples])
    class_index = [example.class_index for example in examples]
    card = {}
    for method in tqdm(explained.methods, desc="Scoring the methods", unit=" methods", disable=None):
        card[method] = score_method(
            explained.net,
            signal_mv,
            class_index,
            method=method,
            baseline_mv=explained.standardizer.mean_mv,
            sd_mv=explained.standardizer.sd_mv,
            sampling_rate_hz=explained.run.sampling_rate_hz,
            seed=explained.seed,
            layer=explained.layer,
        )
    records = [{"ecg_id": example.ecg_id, "class": example.class_name} for example in examples]
    content = {"methods": card, "records": records}
    write_json(output / "scorecard.json", content)
    save_figure(
        figures.draw_scorecard(content, title=f"{explained.title}: can the maps be believed?"),
        output / "figures" / "scorecard.png",
    )
    return [warning for scores in card.values() for warning in scores["warnings"]]


def _check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    if list(methods) == ["all"]:
        return tuple(METHODS)
    for method in methods:
        if method not in METHODS:
            raise ConfigError(f"method: there is no {method!r}{suggest(method, [*METHODS, 'all'])}")
    if not methods:
        raise ConfigError(f"method is empty, expected one or more of {', '.join(METHODS)}, or all")
    return tuple(dict.fromkeys(methods))


def _clear(output: Path) -> None:
    """Remove the results of an earlier call, and nothing else."""
    for name in _OWN:
        if (output / name).is_dir():
            shutil.rmtree(output / name)
        else:
            (output / name).unlink(missing_ok=True)


def _batches(items: Any) -> Iterator[Any]:
    for start in range(0, len(items), _BATCH_SIZE):
        yield items[start : start + _BATCH_SIZE]
