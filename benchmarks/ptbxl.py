"""Train nets on the real PTB-XL, and write what they score: ``python -m benchmarks.ptbxl --root data/ptbxl``.

What is finished is not trained again, and what was stopped goes on, for each job is an ordinary run of ``ecgcls.run``.
``benchmarks/ptbxl.json`` keeps every result that was ever measured, with the command, the code and the machine that it
is from; the tables of ``docs/results.md`` are written from it.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.findings import describe_machine, replace_table

TASKS = ("superdiagnostic", "subdiagnostic", "diagnostic", "form", "rhythm", "all")
SPLITS = {
    "official": (["folds=official"], "trained on strat_folds 1 to 8, chosen on 9, tested on 10"),
    "development": (["folds.val=[[8]]", "folds.test=[[9]]"], "trained on strat_folds 1 to 7, chosen on 8, tested on 9"),
}
RECIPES = {
    "cnn1d": [],
    "cnn1d+small": ["+preset=small"],
    "cnn2d": [],
    "cnn2d+small": ["+preset=small"],
    "minirocket": [],
    "fcn_wang": ["+preset=benchmark"],
    "resnet1d_wang": ["+preset=benchmark"],
    "xresnet1d50": ["+preset=benchmark"],
    "xresnet1d101": ["+preset=benchmark"],
    "inception1d": ["+preset=benchmark"],
    "lstm_bidir": ["+preset=benchmark"],
    "s4d": ["+preset=benchmark"],
}
"""What each row of the tables is trained with; a row is named by its net, and ``+small`` after it is that preset."""
_HERE = Path(__file__).parent
_RESULTS, _LITERATURE, _PAGE = _HERE / "ptbxl.json", _HERE / "literature.csv", _HERE.parent / "docs" / "results.md"


@dataclass(frozen=True)
class Job:
    """One net, trained and tested on one task.

    Attributes
    ----------
    name
        A row of `RECIPES`.
    settings
        What is added to that recipe.
    """

    name: str
    task: str
    split: str
    settings: tuple[str, ...] = ()

    @property
    def overrides(self) -> list[str]:
        """What the result depends on, as ``ecgcls.run`` takes it."""
        return [
            f"model={self.name.partition('+')[0]}",
            f"task={self.task}",
            *SPLITS[self.split][0],
            *RECIPES[self.name],
            *self.settings,
        ]

    @property
    def key(self) -> str:
        """Names the job in the file of results."""
        return " ".join(self.overrides)


def main() -> None:
    """Train what is missing, one line a job, and write the results after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ptbxl", description=__doc__)
    parser.add_argument("--root", type=Path, help="the folder with ptbxl_database.csv; without it nothing is trained")
    parser.add_argument("--nets", default=",".join(RECIPES), type=_split(RECIPES), help="rows (default: all)")
    parser.add_argument("--tasks", default=",".join(TASKS), type=_split(TASKS), help="default: all six")
    parser.add_argument(
        "--split", choices=SPLITS, default="official", help="default: official, tested on strat_fold 10"
    )
    parser.add_argument("--output", type=Path, default=Path("outputs"), help="folder of the runs (default: outputs)")
    parser.add_argument("--store", type=Path, help="folder of the signal store (default: in --root)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a training (default: 1)")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="default: benchmarks/ptbxl.json")
    parser.add_argument("--page", type=Path, default=_PAGE, help="default: docs/results.md")
    parser.add_argument("--list", action="store_true", help="say what would be trained, and train nothing")
    parser.add_argument("settings", nargs="*", metavar="SETTING", help="added to each recipe: trainer.max_epochs=10")
    arguments = parser.parse_args()
    settings = tuple(arguments.settings)
    jobs = [Job(name, task, arguments.split, settings) for task in arguments.tasks for name in arguments.nets]
    known = read_results(arguments.results)
    missing = [job for job in jobs if job.key not in known]
    if arguments.list or not arguments.root:
        print("\n".join(f"{'missing' if job in missing else 'measured'}: {job.key}" for job in jobs))
        missing = []
    failed = run_jobs(missing, known, arguments)
    replace_table(arguments.page, tabulate(known.values()), mark="ptbxl")
    sys.exit(1 if failed else 0)


def run_jobs(jobs: Sequence[Job], known: dict[str, Any], arguments: argparse.Namespace) -> list[Job]:
    """Run jobs one after another, add their results to those that are known, and return those that failed."""
    failed = []
    for number, job in enumerate(jobs):
        left = estimate_minutes(jobs[number:], known.values())
        print(f"{number + 1}/{len(jobs)} {job.name}, {job.task}: {left}", file=sys.stderr, flush=True)
        start = time.monotonic()
        where = [f"data.root={arguments.root}", f"output_dir={arguments.output}", f"n_threads={arguments.threads}"]
        where += [f"data.store_dir={arguments.store}"] * bool(arguments.store)
        command = [sys.executable, "-m", "ecgcls.run", "experiment=ptbxl", *job.overrides, *where]
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        minutes = (time.monotonic() - start) / 60
        if ended.returncode:
            print(f"    failed after {minutes:.1f} minutes: {' '.join(command)}", file=sys.stderr)
            failed.append(job)
            continue
        known[job.key] = read_run(job, Path(ended.stdout.strip().splitlines()[-1]))
        arguments.results.write_text(json.dumps(known, indent=1) + "\n")
        replace_table(arguments.page, tabulate(known.values()), mark="ptbxl")
    return failed


def read_results(path: Path) -> dict[str, Any]:
    """Read the results by `Job.key`."""
    known: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return known


def read_run(job: Job, run: Path) -> dict[str, Any]:
    """Take from a finished run's folder what the tables show, and where it is from."""
    info = json.loads((run / "run.json").read_text())
    intervals = pd.read_csv(run / "intervals.csv").set_index(["class", "metric"]).loc["overall"]
    history = pd.read_csv(run / "history.csv")
    best = history[history["epoch"] == info["best_epoch"]].iloc[-1]
    return {
        "net": job.name,
        "task": job.task,
        "split": job.split,
        "settings": list(job.settings),
        "test": {
            metric: [round(float(intervals[key][metric]), 4) for key in ("value", "low", "high")]
            for metric in ("pr_auc", "roc_auc")
        },
        "val": {metric: round(float(best[f"val/{metric}"]), 4) for metric in ("pr_auc", "roc_auc")},
        "n_parameters": info["n_parameters"],
        "n_epochs": info["n_epochs"],
        "minutes": round(info["stages_s"]["fit"] / 60, 1),
        "n_starts": info["n_starts"],
        "n_threads": info["n_threads"],
        "commit": info["git"]["commit"],
        "machine": describe_machine(),
    }


def estimate_minutes(jobs: Iterable[Job], known: Iterable[Mapping[str, Any]]) -> str:
    """Say how long jobs will take, by what the same nets took before."""
    minutes: dict[str, float] = {result["net"]: result["minutes"] for result in known}
    total, unknown = 0.0, 0
    for job in jobs:
        total += minutes.get(job.name, 0.0)
        unknown += job.name not in minutes
    return f"about {total:.0f} minutes left" + f", and {unknown} jobs of which nothing is known" * bool(unknown)


def tabulate(results: Iterable[Mapping[str, Any]]) -> str:
    """Return the tables, one a split and task, and beside them what others have published."""
    every, lines = list(results), []
    for split, (_, meaning) in SPLITS.items():
        for task in TASKS:
            rows = [each for each in every if (each["split"], each["task"]) == (split, task)]
            if not rows:
                continue
            lines += [f"### `task={task}`: {meaning}", ""]
            lines += [
                "| net | PR-AUC | ROC-AUC | parameters | epochs | minutes | also |",
                "|---|---|---|---:|---:|---:|---|",
            ]
            rows.sort(key=lambda each: -each["test"]["roc_auc"][0])
            lines += [_write_row(each) for each in rows] + [""]
    machines = {json.dumps({key: each["machine"][key] for key in ("cpu", "cores", "torch")}) for each in every}
    for each in sorted(machines):
        machine = json.loads(each)
        lines.append(f"Minutes of training, on {machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}.")
    return "\n".join([*lines, "", *_tabulate_literature()])


def _write_row(result: Mapping[str, Any]) -> str:
    cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*result["test"][metric]) for metric in ("pr_auc", "roc_auc")]
    minutes = f"{result['minutes']:.0f}" + f" (last of {result['n_starts']} starts)" * (result["n_starts"] > 1)
    counts = [f"{result['n_parameters']:,}", str(result["n_epochs"]), minutes]
    settings = [f"`{each}`" for each in result["settings"]]
    return f"| {' | '.join([result['net'], *cells, *counts, ', '.join(settings)])} |"


def _tabulate_literature() -> list[str]:
    """Return what is published for strat_fold 10; none of it was measured here."""
    with _LITERATURE.open() as file:
        rows = list(csv.DictReader(file))
    return [
        "### Published by others",
        "",
        "Macro ROC-AUC on strat_fold 10, as their authors report it; none of it was measured with this code.",
        "",
        "| net | `task=superdiagnostic` | `task=all` | source |",
        "|---|---:|---:|---|",
        *(f"| {row['net']} | {row['superdiagnostic']} | {row['all']} | {row['source']} |" for row in rows),
    ]


def _split(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Return a function that splits text at commas into names that are known."""

    def split(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]}: expected some of {', '.join(known)}")
        return names

    return split


if __name__ == "__main__":
    main()
