"""Compare runs, configurations or predictions files, and write the result."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.comparison import HOLDS_NONE, VERDICTS, compare
from ecgcls.evaluation.differences import SUPPORTED
from ecgcls.evaluation.folds import compare_folds
from ecgcls.evaluation.metrics import OVERALL, class_metrics, overall_metrics
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap
from ecgcls.figures.forest import draw_differences
from ecgcls.figures.style import save_figure
from ecgcls.files import encode_csv, printable, write_atomically, write_json
from ecgcls.identity import identify
from ecgcls.jobs.results import nest
from ecgcls.outputs import name_output
from ecgcls.runs.configuration import Configuration, read_single
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.find import LAST, find_last, list_configurations, open_run
from ecgcls.runs.predictions_csv import read_predictions

log = logging.getLogger(__name__)

_MACROS = {OVERALL: "macro", SUPPORTED: "macro, enough patients"}


@dataclass(frozen=True)
class Side:
    """One of two things that are compared: a predictions file, or a configuration with one or several seeds.

    `tested` is the pooled test predictions by seed, for a file under the seed None; `by_seed` the configurations by
    seed, that differ in nothing else, empty for a file.
    """

    name: str
    path: Path
    tested: Mapping[int | None, Predictions]
    by_seed: Mapping[int, Configuration] = field(default_factory=dict)

    @property
    def intervals(self) -> Bootstrap:
        """How the runs' own intervals are computed; the defaults for a file."""
        return next((one.evaluation.intervals for one in self.by_seed.values()), Bootstrap())

    def score_runs(self) -> dict[tuple[int, int], dict[str, float]]:
        """Score each run by itself, by (seed, fold)."""
        return {
            (seed, info.fold): scores.overall
            for seed, one in self.by_seed.items()
            for info, scores in zip(one.infos, one.by_fold, strict=True)
        }

    def count_records(self, part: str) -> float:
        """Return how many records ``train`` or ``test`` has, on average over the runs."""
        return float(np.mean([one.count_records(part) for one in self.by_seed.values()]))


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison: by class, and over the runs that both sides have (empty with fewer than two)."""

    a: Side
    b: Side
    settings: Bootstrap
    margin: float | None
    by_class: pd.DataFrame
    over_runs: pd.DataFrame

    @property
    def n_records(self) -> int:
        """How many test records both have."""
        return len(next(iter(self.a.tested.values())))

    @property
    def n_unknown(self) -> dict[str, int]:
        """How many of them each class is not annotated in, of the classes that are not in all."""
        tested = next(iter(self.a.tested.values()))
        counts = zip(tested.class_names, tested.n_unknown.tolist(), strict=True)
        return {name: count for name, count in counts if count}

    @property
    def is_within_folds(self) -> bool:
        """Whether differences are means over folds."""
        return "pooled_difference" in self.by_class

    @property
    def default_folder(self) -> Path:
        """Where the results go unless another folder is given."""
        path = self.a.path
        beside = path.with_name(f"{path.stem}_compare") if path.is_file() else path / "compare"
        return beside / (name_output(self.b.path) + (f"-margin{self.margin:g}" if self.margin else ""))


def read_side(text: str, *, output_dir: Path) -> Side:
    """Read a run's folder, that of a configuration, or a predictions file; a folder may be given below `output_dir`."""
    path = next((one for one in (Path(text), output_dir / text) if one.exists()), None)
    if path is None and text == LAST:
        path = find_last(output_dir)
    if path is None:
        raise ConfigError(f"{text}: no such folder or file, and no {output_dir / text}")
    if path.is_file():
        predictions, assumptions = read_predictions(path)
        for assumption in assumptions:
            log.warning("%s: %s", path, assumption)
        return Side(path.name, path, {None: predictions.select("test")})
    by_seed = _find_seeds(path)
    info = next(iter(by_seed.values())).info
    folds = sorted({info.fold for one in by_seed.values() for info in one.infos})
    n_folds = next(iter(by_seed.values())).n_folds
    several = f"{len(folds)} folds" if len(folds) == n_folds else f"{len(folds)}/{n_folds} folds"
    name = info.model + (f", fold {folds[0]}" if len(folds) == 1 else f", {several}")
    name += f", {len(by_seed)} seeds" if len(by_seed) > 1 else ""
    name += info.simulated
    return Side(name, path, {seed: one.tested for seed, one in by_seed.items()}, by_seed)


def compare_sides(a: Side, b: Side, *, overrides: Mapping[str, Any], margin: float | None = None) -> Comparison:
    """Compare two sides as a's own intervals are computed, but for the `overrides` that are not None.

    `margin` is the largest loss that does not matter, see `ecgcls.evaluation.margins`.
    """
    if list(a.tested) != list(b.tested) and {len(a.tested), len(b.tested)} != {1}:
        raise DataError(f"a has the seeds {[*a.tested]}, b has {[*b.tested]}: train the missing ones")
    settings = replace(a.intervals, **{name: value for name, value in overrides.items() if value is not None})
    by_class = compare([*a.tested.values()], [*b.tested.values()], settings, margin=margin)
    return Comparison(a, b, settings, margin, by_class, _compare_runs(a, b, level=settings.level))


def _get_classes(side: Side) -> tuple[str, ...]:
    return next(iter(side.tested.values())).class_names


def _compare_runs(a: Side, b: Side, *, level: float) -> pd.DataFrame:
    scores = [a.score_runs(), b.score_runs()]
    shared = sorted(scores[0].keys() & scores[1].keys())
    if len(shared) < 2:
        return pd.DataFrame()
    n_train, n_test = ((a.count_records(part) + b.count_records(part)) / 2 for part in ("train", "test"))
    rows = {
        metric.key: compare_folds(
            [scores[0][run][metric.key] for run in shared],
            [scores[1][run][metric.key] for run in shared],
            [fold for _, fold in shared],
            n_train=n_train,
            n_test=n_test,
            level=level,
        )
        for metric in overall_metrics(_get_classes(a))
    }
    return pd.DataFrame(rows).T.rename_axis("metric")


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write ``comparison.csv``, ``over_runs.csv``, ``comparison.json`` and ``figures/forest.png``."""
    a, b, settings, over_runs = comparison.a, comparison.b, comparison.settings, comparison.over_runs
    write_atomically(folder / "comparison.csv", encode_csv(comparison.by_class))
    (folder / "over_runs.csv").unlink(missing_ok=True)
    if len(over_runs):
        write_atomically(folder / "over_runs.csv", encode_csv(over_runs))
    first = next(iter(a.tested.values()))
    write_json(
        folder / "comparison.json",
        {
            "a": {"name": a.name, "path": str(a.path)},
            "b": {"name": b.name, "path": str(b.path)},
            "n_records": len(first),
            "n_patients": len(np.unique(first.patient_id)),
            "n_unknown": comparison.n_unknown,
            "n_seeds": len(a.tested),
            "level": settings.level,
            "n_resamples": settings.n_resamples,
            "min_positives": settings.min_positives,
            "is_within_folds": comparison.is_within_folds,
            "margin": comparison.margin,
            "comparison": nest(comparison.by_class),
            "over_runs": over_runs.astype(object).where(over_runs.notna(), None).to_dict("index"),
        },
    )
    figure = draw_differences(comparison.by_class, a=a.name, b=b.name, level=settings.level, margin=comparison.margin)
    save_figure(figure, folder / "figures" / "forest.png")


def format_comparison(comparison: Comparison) -> str:
    """Return the result as text: the leaderboard's metrics by class, and over folds and seeds."""
    by_class, margin = comparison.by_class, comparison.margin
    overall = overall_metrics(_get_classes(comparison.a), headline=True)
    labels = {each.key: each.label for each in (*overall, *class_metrics(headline=True))}
    rows = []
    for (name, metric), row in zip(by_class.index.tolist(), by_class.to_dict(orient="records"), strict=True):
        if metric not in labels:
            continue
        interval = "" if np.isnan(row["low"]) else f"[{row['low']:+.3f}, {row['high']:+.3f}]"
        rows.append(
            {
                "": _MACROS.get(name) or printable(name),
                "metric": labels[metric],
                "a": f"{row['a']:.3f}",
                "b": f"{row['b']:.3f}",
                "a - b": f"{row['difference']:+.3f}",
                f"{100 * comparison.settings.level:g}%": interval + ("" if row["is_supported"] else " !"),
                **({"pooled": f"{row['pooled_difference']:+.3f}"} if comparison.is_within_folds else {}),
                "p (Holm)": _format_p(row["p_holm"]),
                "DeLong": _format_p(row["delong_p_holm"]),
                "McNemar": _format_p(row["mcnemar_p_holm"]),
                "detectable": "" if np.isnan(row["detectable"]) else f"{row['detectable']:.3f}",
                "verdict": row["verdict"] + (f": {row['why']}" if row["why"] not in ("", HOLDS_NONE) else ""),
                **({f"margin {margin:g}": row["margin_verdict"]} if margin is not None else {}),
            }
        )
    return "\n".join(
        [pd.DataFrame(rows).to_string(index=False), *_explain(comparison), *_format_runs(comparison, labels)]
    )


def _explain(comparison: Comparison) -> list[str]:
    """Return what a reader of the table must know."""
    lines, level = [], comparison.settings.level
    if not comparison.by_class["is_supported"].all():
        lines.append("! too few patients of the rarer kind: no verdict, and the interval may not hold what it states")
    if comparison.is_within_folds:
        lines.append(
            "Differences are means over the folds, each net ranking its own test records; pooled: of the records"
        )
        lines.append("of all nets ranked together.")
    if comparison.margin is not None:
        at = f"the {100 * level:g}% interval (one-sided {100 * (1 - level) / 2:g}%)"
        lines.append(
            f"Margin {comparison.margin:g}: not inferior by {at}, equivalent by the {200 * level - 100:g}% interval"
        )
        lines.append(f"(two one-sided tests of {100 * (1 - level):g}% each); of classes, both after Holm's correction.")
    return lines


def _format_runs(comparison: Comparison, labels: Mapping[str, str]) -> list[str]:
    """Return the corrected t-test over folds; with one fold, how much the seeds vary."""
    over_runs = comparison.over_runs
    if not len(over_runs):
        return []
    n_runs, columns = int(over_runs["n_runs"].max()), ["mean", "sd", "low", "high", "p"]
    seeds = ", the seeds of each averaged first" if over_runs["seed_sd"].notna().any() else ""
    text = f"\nOver {n_runs} folds (corrected resampled t-test{seeds}):"
    if n_runs < 2:
        columns = ["mean", "seed_sd"]
        text = (
            "\nSeveral seeds of one fold: they share training and test records, so they show how much training varies\n"
        )
        text += (
            "(seed_sd), and not whether other training records would give the same answer. That takes several folds:"
        )
    table = over_runs.loc[[key for key in over_runs.index if key in labels], columns]
    table = table.rename(index=labels).rename_axis(None)
    formatters = {"p": _format_p} if "p" in columns else None
    return [text, table.to_string(float_format="{:.3f}".format, formatters=formatters), *_weigh(comparison, labels)]


def _weigh(comparison: Comparison, labels: Mapping[str, str]) -> list[str]:
    """Say which of verdict and t-test counts for what, where they do not agree."""
    verdicts = comparison.by_class.xs(OVERALL, level="class")["verdict"]
    alone: dict[str, list[str]] = {"verdict": [], "t-test": []}
    for key, p in comparison.over_runs["p"].dropna().items():
        is_told = verdicts.get(key, VERDICTS[2]) != VERDICTS[2]
        if key in labels and is_told != (p < 1 - comparison.settings.level):
            alone["verdict" if is_told else "t-test"].append(labels[str(key)])
    if not any(alone.values()):
        return []
    found = "; ".join(
        f"the {which} alone finds a difference in {', '.join(names)}" for which, names in alone.items() if names
    )
    return [
        f"Verdict and t-test do not agree: {found}.",
        "The verdict is about these nets and other patients. Whether nets trained on other records would differ, the",
        "t-test asks: for a claim about models, and not about these nets alone, both must find it.",
    ]


def _format_p(p: float) -> str:
    return "" if np.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def _find_seeds(path: Path) -> dict[int, Configuration]:
    """Find the finished runs of one configuration, by seed: a run, its folds, or its folds with several seeds."""
    if RunDirectory(path).is_begun:
        one = read_single(open_run(path))
        return {one.info.seed: one}
    found = [one for one in list_configurations(path) if one.runs]
    if not found:
        raise ConfigError(f"{path}: no finished run here")
    groups: dict[str, list[Configuration]] = {}
    for one in found:
        identity = identify(one.runs[0].read_config())
        same = {key: value for key, value in identity.items() if key not in ("fold", "seed")}
        groups.setdefault(repr(sorted(same.items())), []).append(one)
    nearest = [group for group in groups.values() if any(one.folder == path for one in group)]
    chosen = nearest or list(groups.values())
    if len(chosen) > 1:
        places = sorted({str(group[0].folder) for group in chosen})
        raise ConfigError(f"{path} has runs of {len(chosen)} configurations: name one of {' or '.join(places)}")
    return {one.info.seed: one for one in sorted(chosen[0], key=lambda one: one.info.seed)}
