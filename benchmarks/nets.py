"""An epoch of each net through ``ecgcls.run`` against a bare loop: ``python -m benchmarks.nets [MODEL ...]``.

The bare loops train a copy of the run's net with its optimizer and loss on the same windows, which lie standardized in
memory. They run in the run's process, between its epochs, so that both meet the same machine, and differ from the first
one in one thing each: precision, fused step, threads, memory format of the weights. An epoch is measured without its
validation.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch

from benchmarks.findings import Setting, describe_machine
from benchmarks.interleave import median_ratio
from ecgcls.data.synthetic import write_synthetic
from ecgcls.training.classifier import ECGClassifier

MODELS = (
    "cnn1d", "cnn2d", "fcn_wang", "resnet1d_wang", "xresnet1d50", "xresnet1d101", "inception1d", "lstm_bidir", "s4d",
)  # fmt: skip
_RESULTS = Path(__file__).parent / "nets.json"
_BASE: dict[str, Any] = {"precision": "bf16-mixed", "fused": True, "threads": 1, "channels_last": False}
_OTHERS: dict[str, dict[str, Any]] = {
    "32-true": {"precision": "32-true"},
    "not fused": {"fused": False},
    "2 threads": {"threads": 2},
    "weights channels last": {"channels_last": True},
}
_ENOUGH = 0.95  # of the time: what is faster by less is not worth a setting
_N_FULL = 15_000  # records of an epoch whose time is told, about PTB-XL's training part


class BareLoop:
    """Trains a copy of a classifier's net on batches in memory."""

    def __init__(
        self,
        classifier: ECGClassifier,
        batches: Sequence[Mapping[str, torch.Tensor]],
        *,
        precision: str,
        fused: bool,
        threads: int,
        channels_last: bool,
    ) -> None:
        self.net = copy.deepcopy(classifier.net)
        if channels_last:
            self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = classifier._make_optimizer(self.net.parameters(), fused=fused)  # type: ignore[call-arg]
        self.loss, self.batches = classifier.loss, batches
        self.is_mixed, self.n_threads = precision == "bf16-mixed", threads

    def take_turn(self) -> float:
        """Train over all batches; return the seconds."""
        n_before = torch.get_num_threads()
        torch.set_num_threads(self.n_threads)
        start = time.perf_counter()
        self.net.train()
        for number in torch.randperm(len(self.batches)).tolist():
            signal, target = self.batches[number]["signal"], self.batches[number]["target"]
            self.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.is_mixed):
                logits = self.net(signal)
            self.loss(logits.float(), target).backward()
            self.optimizer.step()
        seconds = time.perf_counter() - start
        torch.set_num_threads(n_before)
        return seconds


class Rounds(pl.Callback):
    """Lets bare loops take their turns before each epoch of a run; at the end writes all seconds and ends the process.

    Parameters
    ----------
    path
        The JSON file: ``n_records`` of an epoch, and `seconds` by candidate; the first round, a warm-up, is left out.
    precision
        That of the run, and of the bare loops but one.
    """

    def __init__(self, *, path: str, precision: str) -> None:
        self.path, self.precision = Path(path), precision
        self.loops: dict[str, BareLoop] = {}
        self.seconds: dict[str, list[float]] = {}
        self._start = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read the batches and copy the net."""
        assert isinstance(pl_module, ECGClassifier)
        batches = [
            {"signal": pl_module.standardizer(batch["signal"]), "target": batch["target"]}
            for batch in islice(trainer.train_dataloader, int(trainer.num_training_batches))  # type: ignore[arg-type]
        ]
        self.n_records = sum(len(batch["target"]) for batch in batches)
        base = _BASE | {"precision": self.precision}
        changes = {name: base | change for name, change in _OTHERS.items()}
        settings = {"bare": base} | {name: each for name, each in changes.items() if each != base}
        self.loops = {name: BareLoop(pl_module, batches, **each) for name, each in settings.items()}
        self.seconds = {name: [] for name in ("run", *settings)}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the bare loops train, then the run."""
        for name, loop in self.loops.items():
            self.seconds[name].append(loop.take_turn())
        self._start = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The epoch is trained."""
        self.seconds["run"].append(time.perf_counter() - self._start)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write; what a run does after its training is not measured here."""
        found = {name: values[1:] for name, values in self.seconds.items()}
        self.path.write_text(json.dumps({"n_records": self.n_records, "seconds": found}))
        os._exit(0)


def measure(model: str, setting: Setting, *, batch_size: int, n_batches: int, precision: str) -> dict[str, Any]:
    """Return what `Rounds` writes about a net."""
    path = setting.folder / f"{model}.json"
    path.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "ecgcls.run", "+preset=benchmark", *setting.overrides, f"model={model}",
        f"data.batch_size={batch_size}", "data.copies=drop", "scheduler.max_lr=1e-3",
        f"trainer.max_epochs={setting.rounds + 1}", f"trainer.precision={precision}",
        f"+trainer.limit_train_batches={n_batches}", "+trainer.limit_val_batches=1",
        "trainer.enable_progress_bar=false", "+callbacks.rounds._target_=benchmarks.nets.Rounds",
        f"+callbacks.rounds.path={path}", f"+callbacks.rounds.precision={precision}",
    ]  # fmt: skip
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).parent.parent))
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if not path.is_file():
        raise SystemExit(f"{model}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def tabulate(results: Mapping[str, Any]) -> str:
    """Return the Markdown table of what was measured: ratios are medians over the rounds."""
    nets: Mapping[str, Any] = results["nets"]
    names = [name for name in next(iter(nets.values()))["seconds"] if name not in ("run", "bare")]
    head = ["net", f"s an epoch of {_N_FULL:,} records", "over the bare loop's", *names, "worth setting"]
    rows = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 2)}---|"]
    for model, found in nets.items():
        seconds = found["seconds"]
        ratios = {name: median_ratio(seconds[name], seconds["bare"]) for name in names}
        faster = ", ".join(name for name in names if ratios[name] <= _ENOUGH) or "nothing"
        epoch = median(seconds["run"]) / found["n_records"] * _N_FULL
        shown = [f"{median_ratio(seconds['run'], seconds['bare']):.2f}", *(f"{ratios[name]:.2f}" for name in names)]
        rows.append(f"| `{model}` | {epoch:.0f} | {' | '.join(shown)} | {faster} |")
    return "\n".join(rows)


def main() -> None:
    """Measure one net after another, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nets", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(MODELS)}; all if none is named")
    parser.add_argument("--folder", type=Path, default=Path("outputs/.benchmarks"), help="for all that is written")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=4, help="of an epoch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each candidate (default: %(default)s)")
    parser.add_argument("--precision", default="bf16-mixed", choices=["bf16-mixed", "32-true"])
    parser.add_argument("--results", type=Path, default=_RESULTS, help="the JSON file (default: benchmarks/nets.json)")
    arguments = parser.parse_args()
    if unknown := set(arguments.models) - set(MODELS):
        parser.error(f"{min(unknown)}: no such net; expected {', '.join(MODELS)}")
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    n_records = max(100, 2 * arguments.batches * arguments.batch_size)  # more than half of them are trained on
    setting = Setting(folder, n_records, arguments.rounds)
    write_synthetic(setting.root, n_records=n_records, seed=0, sampling_rate_hz=100)
    sizes = {"batch_size": arguments.batch_size, "n_batches": arguments.batches, "precision": arguments.precision}
    results = {"machine": describe_machine(), "rounds": arguments.rounds, **sizes, "nets": {}}
    for model in arguments.models or MODELS:
        results["nets"][model] = measure(model, setting, **sizes)
        arguments.results.write_text(json.dumps(results, indent=2) + "\n")
        print(tabulate({"nets": {model: results["nets"][model]}}).splitlines()[-1], file=sys.stderr)
    print(tabulate(results))


if __name__ == "__main__":
    main()
