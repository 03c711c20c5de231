"""Compare runs, configurations or predictions files, and write the result."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecgcls.config import identify
from ecgcls.cross_validation import read_folds
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.comparison import VERDICTS, ComparisonSettings, compare
from ecgcls.evaluation.figures import COLORS, save_figure
from ecgcls.evaluation.folds import compare_folds
from ecgcls.evaluation.metrics import OVERALL
from ecgcls.evaluation.panels import Forest, draw_forest
from ecgcls.evaluation.predictions import Predictions, pool
from ecgcls.evaluation.results import score_split
from ecgcls.files import write_atomically, write_json
from ecgcls.predictions_file import read_predictions
from ecgcls.runs import RunDirectory

log = logging.getLogger(__name__)

_OVER_RUNS = ("pr_auc", "roc_auc", "f1_macro", "mcc", "f1_micro", "brier", "log_loss")
_SHOWN = {"pr_auc": "PR-AUC", "roc_auc": "ROC-AUC", "f1": "F1", "f1_macro": "F1"}


@dataclass(frozen=True)
class Side:
    """One of two things that are compared.

    Attributes
    ----------
    name
        For tables and figures.
    path
        The folder or file.
    by_seed
        The pooled test predictions of each seed; of a file one, under the seed None.
    by_run
        The test predictions of each run by (seed, fold); empty for a file.
    n_train, n_test
        Records of a run's training and test part, on average; 0 for a file.
    """

    name: str
    path: Path
    by_seed: Mapping[int | None, Predictions]
    by_run: Mapping[tuple[int, int], Predictions]
    n_train: float = 0.0
    n_test: float = 0.0


def read_side(text: str, *, output_dir: Path) -> Side:
    """Read what was named.

    Parameters
    ----------
    text
        A run's folder, that of a configuration, or a predictions file; a folder also as it stands below `output_dir`.
    output_dir
        Where experiments lie.

    Raises
    ------
    ConfigError
        If there is nothing of that name, no finished run, or runs of several configurations.
    DataError
        If a file is damaged.
    """
    path = next((one for one in (Path(text), output_dir / text) if one.exists()), None)
    if path is None:
        raise ConfigError(f"{text}: no such folder or file, nor is there a {output_dir / text}")
    if path.is_file():
        predictions, assumptions = read_predictions(path)
        for assumption in assumptions:
            log.warning("%s: %s", path, assumption)
        return Side(path.name, path, {None: predictions.select("test")}, {})
    runs = _find_runs(path)
    groups: dict[int, list[RunDirectory]] = {}
    for run in runs:
        groups.setdefault(run.read_info()["seed"], []).append(run)
    by_seed: dict[int | None, Predictions] = {}
    by_run: dict[tuple[int, int], Predictions] = {}
    for seed, of_seed in sorted(groups.items()):
        tested, _ = read_folds(of_seed, split="test")
        by_seed[seed] = pool(tested)
        by_run |= {(seed, run.read_info()["fold"]): said for run, said in zip(of_seed, tested, strict=True)}
    infos = [run.read_info() for run in runs]
    n_train, n_test = (
        float(np.mean([info["data"]["parts"][part]["n_records"] for info in infos])) for part in ("train", "test")
    )
    folds = sorted({info["fold"] for info in infos})
    name = infos[0]["model"] + (f", fold {folds[0]}" if len(folds) == 1 else f", {len(folds)} folds")
    name += f", {len(groups)} seeds" if len(groups) > 1 else ""
    return Side(name, path, by_seed, by_run, n_train, n_test)


def compare_sides(a: Side, b: Side, settings: ComparisonSettings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare two sides.

    Returns
    -------
    by_class
        What `ecgcls.evaluation.comparison.compare` gives.
    over_runs
        Indexed by metric: what `ecgcls.evaluation.folds.compare_folds` gives over the runs that both have; empty
        with fewer than two.

    Raises
    ------
    DataError
        If the two were not tested on the same records, or do not have the same seeds.
    """
    if list(a.by_seed) != list(b.by_seed) and {len(a.by_seed), len(b.by_seed)} != {1}:
        raise DataError(f"a has the seeds {[*a.by_seed]}, b has {[*b.by_seed]}: train the missing ones")
    by_class = compare([*a.by_seed.values()], [*b.by_seed.values()], settings)
    shared = sorted(a.by_run.keys() & b.by_run.keys())
    if len(shared) < 2:
        return by_class, pd.DataFrame()
    scores = [[score_split(side.by_run[key]).overall for key in shared] for side in (a, b)]
    n_train, n_test = (a.n_train + b.n_train) / 2, (a.n_test + b.n_test) / 2
    rows = {
        metric: compare_folds(
            *[[one[metric] for one in of_side] for of_side in scores],
            n_train=n_train, n_test=n_test, level=settings.level,
        )
        for metric in _OVER_RUNS
    }  # fmt: skip
    return by_class, pd.DataFrame(rows).T.rename_axis("metric")


def write_comparison(
    folder: Path, a: Side, b: Side, by_class: pd.DataFrame, over_runs: pd.DataFrame, settings: ComparisonSettings
) -> None:
    """Write ``comparison.csv``, ``over_runs.csv``, ``comparison.json`` and ``figures/forest.png``."""
    write_atomically(folder / "comparison.csv", by_class.to_csv().encode())
    (folder / "over_runs.csv").unlink(missing_ok=True)
    if len(over_runs):
        write_atomically(folder / "over_runs.csv", over_runs.to_csv().encode())
    first = next(iter(a.by_seed.values()))
    write_json(
        folder / "comparison.json",
        {
            "a": {"name": a.name, "path": str(a.path)},
            "b": {"name": b.name, "path": str(b.path)},
            "n_records": len(first),
            "n_patients": len(np.unique(first.patient_id)),
            "n_seeds": len(a.by_seed),
            "level": settings.level,
            "n_resamples": settings.n_resamples,
            "comparison": _nest(by_class),
            "over_runs": {str(name): _plain(row.to_dict()) for name, row in over_runs.iterrows()},
        },
    )
    save_figure(draw_differences(by_class, a=a.name, b=b.name, level=settings.level), folder / "figures" / "forest.png")


def draw_differences(by_class: pd.DataFrame, *, a: str, b: str, level: float) -> Figure:
    """Draw the differences of PR-AUC and ROC-AUC, class by class, with their intervals."""
    names = ["macro", *[name for name in by_class.index.get_level_values("class").unique() if name != OVERALL]]
    columns = []
    for metric in ("pr_auc", "roc_auc"):
        rows = by_class.xs(metric, level="metric").rename(index={OVERALL: "macro"}).loc[names]
        value, low, high = (rows[key].to_numpy(dtype=float) for key in ("difference", "low", "high"))
        label = f"Difference of {_SHOWN[metric]}, a - b"
        columns.append(Forest(label, value, low, high, kinds=[*map(str, rows["verdict"])], reference=0.0))
    colors = dict(zip(VERDICTS, (COLORS[0], COLORS[1], "0.45"), strict=True))
    title = f"a: {a}\nb: {b}\n{100 * level:g} % intervals from drawing patients"
    return draw_forest(names, columns, title=title, colors=colors)


def say_comparison(by_class: pd.DataFrame, over_runs: pd.DataFrame, *, level: float) -> str:
    """Return the result as text: PR-AUC, ROC-AUC and F1 by class, and over folds and seeds."""
    rows = []
    for (name, metric), row in zip(by_class.index.tolist(), by_class.to_dict(orient="records"), strict=True):
        if metric not in _SHOWN:
            continue
        mark = "" if row["is_supported"] else " !"
        interval = "" if np.isnan(row["low"]) else f"[{row['low']:+.3f}, {row['high']:+.3f}]"
        rows.append(
            {
                "": "macro" if name == OVERALL else name,
                "metric": _SHOWN[metric],
                "a": f"{row['a']:.3f}",
                "b": f"{row['b']:.3f}",
                "a - b": f"{row['difference']:+.3f}",
                f"{100 * level:g} %": interval + mark,
                "p (Holm)": _say_p(row["p_holm"]),
                "DeLong": _say_p(row["delong_p_holm"]),
                "McNemar": _say_p(row["mcnemar_p_holm"]),
                "detectable": "" if np.isnan(row["detectable"]) else f"{row['detectable']:.3f}",
                "verdict": row["verdict"],
            }
        )
    text = pd.DataFrame(rows).to_string(index=False)
    if not by_class["is_supported"].all():
        text += "\n! too few positive or negative records for the interval to be relied on"
    if len(over_runs):
        n_runs = int(over_runs["n_runs"].max())
        text += f"\n\nOver {n_runs} folds and seeds (corrected resampled t-test); here each net\n"
        text += "ranks its own test part, above all nets' records are ranked together:\n"
        shown = over_runs.loc[["pr_auc", "roc_auc", "f1_macro"], ["mean", "sd", "low", "high", "p"]]
        text += shown.rename(index=_SHOWN).to_string(float_format="{:.3f}".format)
    return text


def _say_p(p: float) -> str:
    return "" if np.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def _find_runs(path: Path) -> list[RunDirectory]:
    """Find the finished runs of one configuration: a run, its folds, or its folds with several seeds."""
    own = RunDirectory(path)
    if own.read_info():
        if not own.is_finished:
            raise ConfigError(f"{path}: this run is not finished; the command that began it goes on with it")
        return [own]
    runs = [RunDirectory(found.parent) for found in sorted(path.rglob("fold_*/run.json"))]
    runs = [run for run in runs if run.is_finished]
    if not runs:
        raise ConfigError(f"{path}: no finished run here")
    groups: dict[str, list[RunDirectory]] = {}
    for run in runs:
        same = {key: value for key, value in identify(run.read_config()).items() if key not in ("fold", "seed")}
        groups.setdefault(repr(sorted(same.items())), []).append(run)
    nearest = [group for group in groups.values() if any(run.path.parent == path for run in group)]
    chosen = nearest or list(groups.values())
    if len(chosen) > 1:
        places = sorted({str(group[0].path.parent) for group in chosen})
        raise ConfigError(f"{path} has runs of {len(chosen)} configurations: name one of {' or '.join(places)}")
    return sorted(chosen[0], key=lambda run: (run.read_info()["seed"], run.read_info()["fold"]))


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    found = {str(key): value.item() if isinstance(value, np.generic) else value for key, value in row.items()}
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in found.items()}


def _nest(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for (name, metric), row in zip(table.index.tolist(), table.to_dict(orient="records"), strict=True):
        nested.setdefault(str(name), {})[str(metric)] = _plain(row)
    return nested
