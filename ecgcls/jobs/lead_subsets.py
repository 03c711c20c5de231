"""The nets of a run scored on subsets of their leads, as `predict` treats recordings that have no others.

Limb leads that follow from those that are there are derived, and the rest are 0 after standardization, which is what a
net gets in training with lead dropout. Recalibration and thresholds are the run's own.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit

from ecgcls.data.lead_names import find_available
from ecgcls.data.lead_sets import CHALLENGE, join_leads, parse_leads
from ecgcls.data.module import ECGDataModule
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.metrics import OVERALL, RANKING, class_metrics, find_macro
from ecgcls.evaluation.pooling import pool
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import EvaluationSettings
from ecgcls.figures.forest import draw_forest
from ecgcls.figures.style import COLORS, save_figure
from ecgcls.files import encode_csv, name_file, write_atomically, write_json
from ecgcls.jobs.build import build_data
from ecgcls.jobs.load import load_net, move
from ecgcls.jobs.rescore import decide
from ecgcls.jobs.results import nest
from ecgcls.jobs.score_table import format_interval
from ecgcls.jobs.train import tabulate
from ecgcls.jobs.trust import take_trusted
from ecgcls.runs.configuration import PARTS, Configuration
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.predictions_csv import write_csv
from ecgcls.training.fitters import PredictedPart
from ecgcls.training.standardizer import StandardizedNet

log = logging.getLogger(__name__)

_MAX_DIFFERENCE = 0.05  # of probabilities with all leads, which half precision on a GPU does not reach
Split = Literal["test", "val"]


@dataclass(frozen=True)
class ScoredSubsets:
    """What the nets of a run predict with some of their leads.

    `subsets` are by name the leads that the nets get; `given` those of them that a recording must have, the others
    follow from these.
    """

    title: str
    subsets: dict[str, tuple[str, ...]]
    given: dict[str, tuple[str, ...]]
    predictions: dict[str, Predictions]
    settings: EvaluationSettings
    source: dict[str, Any]

    def narrow(self, ecg_ids: Sequence[int] | Sequence[str]) -> "ScoredSubsets":
        """Keep only these records; one that is not among the predictions is a `DataError`."""
        return replace(
            self,
            predictions={name: one.take(ecg_ids) for name, one in self.predictions.items()},
            title=f"{self.title}, {len(ecg_ids)} chosen records",
            source=self.source | {"n_chosen_records": len(ecg_ids)},
        )

    def measure(self) -> pd.DataFrame:
        """Return every metric with its interval, by subset, class and metric, as `bootstrap` has them."""
        tables = {}
        for name, one in self.predictions.items():
            more = {key: getattr(one, key) for key in ("y_pred", "y_logit", "fold")}
            arrays = one.y_true, one.y_prob, one.patient_id
            tables[name] = bootstrap(*arrays, one.class_names, **more, settings=self.settings.intervals)
        return pd.concat(tables, names=["subset"])


def choose_subsets(leads: str | Sequence[str], lead_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return by name the leads that a setting asks for, all of a net's own first.

    ``challenge`` are the five subsets of the Challenge 2021. Any other text is one subset, as `parse_leads` takes it; a
    list has several.

    Examples
    --------
    >>> choose_subsets(["challenge2", "V2+I"], ["I", "II", "V2"])
    {'all 3': ('I', 'II', 'V2'), 'challenge2': ('I', 'II'), 'I+V2': ('I', 'V2')}
    """
    texts = [leads] if isinstance(leads, str) else list(leads)
    texts = [one for text in texts for one in (CHALLENGE if text.casefold() == "challenge" else (text,))]
    subsets = {f"all {len(lead_names)}": tuple(lead_names)}
    for text in texts:
        wanted = parse_leads(text, key="leads")
        if not find_available(wanted, lead_names):
            raise ConfigError(f"leads: none of {text} is among the net's leads, {', '.join(lead_names)}")
        if wanted not in subsets.values():
            subsets[text if "+" not in text else join_leads(wanted)] = wanted
    return subsets


def score_subsets(
    one: Configuration,
    leads: str | Sequence[str],
    *,
    split: Split,
    overrides: Mapping[str, Any],
    device: str,
    store_dir: Path | None = None,
    trust: Sequence[str] = (),
) -> ScoredSubsets:
    """Predict the records of one part with subsets of the leads; those of all folds each by its own net.

    `store_dir` is the folder of the signal store, None: that of each run.

    Raises
    ------
    ConfigError
        If the nets have none of the leads of a subset.
    DataError
        If the signals or the net are not those of the run.
    """
    lead_names = tuple(one.info.data["lead_names"])
    given = choose_subsets(leads, lead_names)
    subsets = {name: find_available(wanted, lead_names) for name, wanted in given.items()}
    settings = one.evaluation.replace_with(overrides)
    if not one.info.data.get("may_lack_leads"):
        log.warning(
            "%s was trained with all of its leads in every record, so without some of them it is asked what it has not "
            "learned; augment=lead_dropout trains a net for that",
            one.title,
        )
    by_run = [
        _predict_run(run, subsets, split=split, settings=settings, device=device, store_dir=store_dir, trust=trust)
        for run in one.runs
    ]
    folds = [info.fold for info in one.infos]
    predictions = {
        name: pool([found[name].take_classes(one.class_names) for found in by_run], folds) for name in subsets
    }
    return ScoredSubsets(
        f"{one.title}, {PARTS[split]}",
        subsets,
        {name: tuple(each for each in wanted if each in lead_names) for name, wanted in given.items()},
        predictions,
        settings,
        {"runs": [str(run.path) for run in one.runs], "split": split},
    )


def write_subsets(scored: ScoredSubsets, folder: Path) -> pd.DataFrame:
    """Write predictions, ``leads.csv``, ``leads.json`` and a figure; return a table for the screen, a row a subset."""
    measured = scored.measure()
    settings = scored.settings.intervals
    for name, predictions in scored.predictions.items():
        write_csv(predictions, folder / f"predictions_{name_file(name)}.csv")
    table = measured.reset_index()
    table.insert(1, "leads", table["subset"].map({name: "+".join(leads) for name, leads in scored.subsets.items()}))
    write_atomically(folder / "leads.csv", encode_csv(table.assign(**settings.describe()), index=False))
    overall = measured[measured.index.get_level_values("class") == OVERALL].droplevel("class")
    content = {
        name: {
            "n_leads": len(leads),
            "leads": leads,
            "derived": [each for each in leads if each not in scored.given[name]],
            "scores": nest(overall.loc[[name], ["value", "low", "high"]])[name],
        }
        for name, leads in scored.subsets.items()
    }
    write_json(folder / "leads.json", {"source": scored.source, "intervals": settings.describe(), "subsets": content})
    _draw(scored, overall, folder / "figures" / "leads.png")
    return _format(scored, overall)


def _predict_run(
    run: RunDirectory,
    subsets: Mapping[str, Sequence[str]],
    *,
    split: Split,
    settings: EvaluationSettings,
    device: str,
    store_dir: Path | None,
    trust: Sequence[str],
) -> dict[str, Predictions]:
    """Predict one part of a run's own data with each subset, and decide as the run does."""
    info, config = run.read_info(), run.read_config()
    torch.set_num_threads(info.n_threads)
    net = move(load_net(run, trust=trust), device)
    trusted = {group: take_trusted(config, group, trust=trust) for group in ("data", "task", "folds")}
    if store_dir is not None:
        trusted["data"]["store_dir"] = str(store_dir)
    data = build_data({**config, **trusted})
    data.prepare_data()
    data.setup()
    run.check_same_data(data.describe()["fingerprint"])
    decisions = decide(run, info, settings)
    logits = _apply(net, data, subsets, split=split, device=device)
    rows = data.cohort.find_part(split)
    found = {name: tabulate({split: PredictedPart(rows, expit(own), own)}, data.cohort) for name, own in logits.items()}
    stored, again = run.read_predictions(split, is_calibrated=False), next(iter(found.values()))
    if not np.array_equal(stored.ecg_id, again.ecg_id) or np.abs(stored.y_prob - again.y_prob).max() > _MAX_DIFFERENCE:
        raise DataError(
            f"{run.path}: with all leads its net does not predict what its uncalibrated predictions say: the net, the "
            "signals or the predictions were changed; retrain with overwrite=true"
        )
    return {name: decisions.apply(predictions) for name, predictions in found.items()}


def _apply(
    net: StandardizedNet, data: ECGDataModule, subsets: Mapping[str, Sequence[str]], *, split: Split, device: str
) -> dict[str, NDArray[np.float64]]:
    """Return the net's logits ``(record, class)`` by subset."""
    loader = data.val_dataloader() if split == "val" else data.test_dataloader()
    absent = {
        name: torch.tensor([each not in leads for each in data.lead_names], device=device)[:, None]  # (lead, 1)
        for name, leads in subsets.items()
    }
    logits: dict[str, list[torch.Tensor]] = {name: [] for name in subsets}
    with torch.inference_mode():
        for batch in loader:
            signal = batch["signal"].to(device)
            beside = batch["metadata"].to(device) if "metadata" in batch else None
            for name in subsets:
                own = net(net.fill_absent(signal.masked_fill(absent[name], torch.nan)), beside)
                logits[name].append(own.double().cpu())
    return {name: torch.cat(each).numpy() for name, each in logits.items()}


def _format(scored: ScoredSubsets, overall: pd.DataFrame) -> pd.DataFrame:
    """Return the macro means as text, a row a subset."""
    macros = {find_macro(metric.key): metric.label for metric in class_metrics(headline=True)}
    level = f"{100 * scored.settings.intervals.level:g}%"
    rows = {}
    for name, leads in scored.subsets.items():
        derived = [each for each in leads if each not in scored.given[name]]
        row: dict[str, Any] = {"leads": ", ".join(scored.given[name]), "derived": ", ".join(derived)}
        for macro, label in macros.items():
            if macro is None:
                continue
            found: Any = overall.loc[(name, macro.key)]
            row[label] = f"{found['value']:.3f}"
            if macro.key in RANKING and (interval := format_interval(found)):
                row[label] += f" {interval}"
        rows[name] = row
    table = pd.DataFrame(rows).T.rename_axis(index=f"macro, {level}")
    return table.drop(columns="derived") if not table["derived"].any() else table


def _draw(scored: ScoredSubsets, overall: pd.DataFrame, path: Path) -> None:
    """Draw PR-AUC and ROC-AUC by subset."""
    kinds = ("all leads of the net", "some of them")
    names = [f"{name}: {', '.join(scored.given[name])}" if n else name for n, name in enumerate(scored.subsets)]
    columns = {}
    for key in RANKING:
        rows = overall.xs(key, level="metric").loc[list(scored.subsets)]
        kind = [
            kinds[len(leads) < len(scored.subsets[next(iter(scored.subsets))])] for leads in scored.subsets.values()
        ]
        rows = rows.assign(kind=kind, is_hollow=~rows["is_supported"].astype(bool))
        columns[f"Macro {key.upper().replace('_', '-')} (0 to 1)"] = rows.set_axis(names)
    colors = dict(zip(kinds, COLORS, strict=False))
    level = f"{100 * scored.settings.intervals.level:g}% intervals"
    save_figure(
        draw_forest(columns, title=f"{scored.title}, by the leads that are there\n{level}", colors=colors), path
    )
