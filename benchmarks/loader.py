"""An epoch of the DataModule alone."""

import statistics

from benchmarks.findings import Finding, Setting
from benchmarks.ingest import load_module
from benchmarks.interleave import take_turns
from ecgcls.training.memory import keep_freed_memory


def measure(setting: Setting) -> list[Finding]:
    """Go through the shuffled training part, batch 16."""
    keep_freed_memory()  # as a run does
    module = load_module(setting)
    module.prepare_data()
    loader = module.train_dataloader()
    n_records = len(module.cohort.find_part("train"))
    seconds = take_turns({"epoch": lambda: [None for _ in loader]}, setting.rounds + 1)["epoch"][1:]
    rates = [n_records / each for each in seconds]
    return [Finding("records/s, shuffled, batch 16, no worker process", statistics.median(rates), ">= 40,000", rates)]
