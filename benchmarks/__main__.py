"""Measure: ``python -m benchmarks [TOPIC ...]``."""

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.findings import Setting, list_rows, replace_table, tabulate, write_results
from ecgcls.data.synthetic import write_synthetic

TOPICS = ("ingest", "loader", "training", "crowded", "sweep", "start", "inference", "rival", "stacked")
_RESULTS = Path(__file__).parent / "results.json"
_README = Path(__file__).parent / "README.md"


def main() -> None:
    """Measure what the command line asks for, one topic after another, and keep the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"{', '.join(TOPICS)}; all if none is named")
    parser.add_argument("--folder", type=Path, default=Path("outputs/.benchmarks"), help="for all that is written")
    parser.add_argument("--records", type=int, default=21799, help="of the simulated data set (default: as PTB-XL)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each candidate (default: %(default)s)")
    parser.add_argument("--ptbxl", type=Path, help="a folder of real PTB-XL records, for the comparison")
    parser.add_argument("--deepecg", type=Path, help="the command of an environment with deepecgkit==0.3.0")
    parser.add_argument(
        "--results", type=Path, default=_RESULTS, help="the JSON file (default: benchmarks/results.json)"
    )
    parser.add_argument("--readme", action="store_true", help="put the table of all results into benchmarks/README.md")
    arguments = parser.parse_args()
    unknown = [topic for topic in arguments.topics if topic not in TOPICS]
    if unknown:
        parser.error(f"{unknown[0]}: no such topic; expected {', '.join(TOPICS)}")
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    setting = Setting(
        folder,
        arguments.records,
        arguments.rounds,
        ptbxl=arguments.ptbxl and arguments.ptbxl.resolve(),
        deepecg=arguments.deepecg and arguments.deepecg.absolute(),
    )
    write_synthetic(setting.root, n_records=setting.n_records, seed=0, sampling_rate_hz=100)
    for topic in arguments.topics or TOPICS:
        print(f"{topic}:", file=sys.stderr)
        findings = importlib.import_module(f"benchmarks.{topic}").measure(setting)
        if findings:
            write_results(arguments.results, {topic: findings}, setting)
            print(f"\n{topic}\n{list_rows(findings)}\n", flush=True)
    if arguments.readme:
        replace_table(_README, tabulate(arguments.results))


if __name__ == "__main__":
    main()
