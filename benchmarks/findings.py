"""What was measured, as JSON and as a Markdown table."""

import json
import os
import platform
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

_TITLES = {
    "ingest": "Reading the data set",
    "loader": "The DataModule alone",
    "training": "Training",
    "crowded": "Two threads beside a busy process",
    "sweep": "Five folds",
    "start": "Start",
    "inference": "Prediction",
    "rival": "Whole commands against deepecgkit 0.3.0, the same net, files, epochs and batch size",
    "stacked": "Five nets in one step (tried, not kept)",
}
_PACKAGES = ("torch", "pytorch-lightning", "numpy", "wfdb", "hydra-core")


@dataclass(frozen=True)
class Setting:
    """What the measurements work on.

    Attributes
    ----------
    folder
        Where the simulated data set and everything else that is written goes.
    n_records
        Of the simulated data set; PTB-XL has 21,799.
    rounds
        How often each candidate takes its turn; medians are reported.
    ptbxl
        A folder of real records, or None.
    deepecg
        The command ``deepecg`` of an environment with deepecgkit, or None.
    """

    folder: Path
    n_records: int
    rounds: int
    ptbxl: Path | None = None
    deepecg: Path | None = None

    @property
    def root(self) -> Path:
        """The simulated data set."""
        return self.folder / f"ptbxl_{self.n_records}"

    @property
    def overrides(self) -> list[str]:
        """What makes ``ecgcls.run`` use it."""
        return [
            "data=synthetic",
            f"data.root={self.root}",
            f"data.n_records={self.n_records}",
            f"output_dir={self.folder / 'outputs'}",
            "overwrite=true",
        ]


@dataclass(frozen=True)
class Finding:
    """One number.

    Attributes
    ----------
    what
        What was measured, with its unit.
    value
        The median.
    reach
        What it is held against, such as ``>= 40``; empty if nothing.
    samples
        What each round gave.
    """

    what: str
    value: float
    reach: str = ""
    samples: list[float] = field(default_factory=list)

    @property
    def is_met(self) -> bool | None:
        """Whether the value is within reach; None if it is held against nothing."""
        if not self.reach:
            return None
        sign, number = self.reach.split()
        limit = float(number.replace(",", ""))
        return self.value >= limit if sign == ">=" else self.value <= limit


def describe_machine() -> dict[str, Any]:
    """Return what the numbers were measured on."""
    info = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", info.read_text()) if info.is_file() else []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def write_results(path: Path, found: dict[str, list[Finding]], setting: Setting) -> None:
    """Write everything as JSON; topics that were not measured this time stay as they are."""
    content = json.loads(path.read_text()) if path.is_file() else {}
    for topic, findings in found.items():
        content[topic] = {
            "n_records": setting.n_records,
            "rounds": setting.rounds,
            "machine": describe_machine(),
            "findings": [asdict(finding) | {"is_met": finding.is_met} for finding in findings],
        }
    path.write_text(json.dumps(content, indent=2) + "\n")


def tabulate(path: Path) -> str:
    """Return the Markdown table of a file of results."""
    content = json.loads(path.read_text())
    machine = next(iter(content.values()))["machine"]
    rows = ["| | measured | aim | |", "|---|---:|---:|---|"]
    for topic, results in content.items():
        rows.append(f"| **{_TITLES.get(topic, topic)}** | | | |")
        rows += [_write_row(finding) for finding in results["findings"]]
    return "\n".join([*rows, "", f"Medians, on {machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}."])


def replace_table(readme: Path, table: str, *, mark: str = "benchmarks") -> None:
    """Put a table between ``<!-- benchmarks -->`` and ``<!-- /benchmarks -->``."""
    text = readme.read_text()
    before, begin, rest = text.partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- /{mark} -->")
    if not begin or not end:
        raise SystemExit(f"{readme}: there is no <!-- {mark} --> ... <!-- /{mark} --> to replace")
    readme.write_text(f"{before}{begin}{table}\n{end}{after}")


def _write_row(finding: dict[str, Any]) -> str:
    value = finding["value"]
    number = f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    sign = {">=": "≥", "<=": "≤", "": ""}[finding["reach"].partition(" ")[0]]
    aim = f"{sign} {finding['reach'].partition(' ')[2]}" if sign else ""
    met = {True: "", False: "missed", None: ""}[finding["is_met"]]
    return f"| {finding['what']} | {number} | {aim} | {met} |"


def list_rows(findings: Iterable[Finding]) -> str:
    """Return the findings as the table will have them."""
    return "\n".join(_write_row(asdict(finding) | {"is_met": finding.is_met}) for finding in findings)
