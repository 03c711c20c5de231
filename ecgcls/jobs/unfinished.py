"""A run that was stopped, scored as it is: by the best of the epochs that it has, and marked as unfinished."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy.special import expit
from torch import nn

from ecgcls.data.groupings import list_groupings, name_groups
from ecgcls.data.initial import Initial
from ecgcls.data.module import ECGDataModule
from ecgcls.data.seen import SeenRecords
from ecgcls.errors import DataError
from ecgcls.evaluation.decisions import learn_decisions
from ecgcls.files import STANDARDIZED_ON
from ecgcls.jobs.build import build_data
from ecgcls.jobs.load import load_net, move
from ecgcls.jobs.rescore import Rescored, simplify
from ecgcls.jobs.train import find_likelihoods, tabulate
from ecgcls.jobs.trust import take_trusted
from ecgcls.runs.configuration import PARTS
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.leaks import log_official_test
from ecgcls.training.checkpoints import read_checkpoint
from ecgcls.training.fitters import PredictedPart


def score_unfinished(
    run: RunDirectory,
    *,
    split: str,
    overrides: Mapping[str, Any],
    device: str,
    output_dir: Path,
    store_dir: Path | None = None,
    trust: Sequence[str] = (),
) -> Rescored:
    """Predict a run's validation and test set with its best epoch so far, and decide as the run would.

    Nothing in the run's own files changes. `overrides` is what differs from the run's settings of the evaluation,
    `store_dir` the folder of the signal store (None: the run's own), `trust` as for `ecgcls.jobs.load.load_run`.
    """
    info, config = run.read_info(), run.read_config()
    settings = info.evaluation.replace_with(overrides)
    settings.thresholds.refuse_unused(overrides.get("thresholds", {}))
    best, last = read_checkpoint(run.best_checkpoint), read_checkpoint(run.last_checkpoint)
    if best is None:
        raise DataError(f"{run.path}: no whole best.ckpt to score; the command that began this run starts it again")
    torch.set_num_threads(info.n_threads)
    net = move(load_net(run, trust=trust), device)
    trusted = {group: take_trusted(config, group, trust=trust) for group in ("data", "task", "folds")}
    init = run.read_seen().init if info.init or info.distill else ()
    initial = Initial("init", SeenRecords({}, init), "drop") if init else None  # as this run itself has left them out
    if store_dir is not None:
        trusted["data"]["store_dir"] = str(store_dir)
    data = build_data({**config, **trusted}, initial=initial)
    data.prepare_data()
    data.setup()
    run.check_same_data(data.describe()["fingerprint"])
    is_fitted = info.kind == "net" and info.init.get("standardizer", "refit") == "refit"
    if is_fitted and info.covers_content and best[STANDARDIZED_ON] != data.standardization.sha256:
        raise DataError(f"leak: {run.best_checkpoint}: its standardizer is not that of the training part; train again")
    parts: tuple[Literal["val", "test"], ...] = ("val", "test")
    uncalibrated = tabulate({part: _predict(net, data, part, device=device) for part in parts}, data.cohort)
    weights = best["state_dict"]
    pos_weight = weights.get("loss.pos_weight", weights.get("loss.class_weight"))
    decisions = learn_decisions(
        uncalibrated.select("val"),
        calibration=settings.calibration,
        thresholds=settings.thresholds,
        pos_weight=None if pos_weight is None else pos_weight.double().tolist(),
    )
    n_trained = (last or best)["epoch"] + 1
    unfinished = {"epoch": best["epoch"] + 1, "n_trained": n_trained, "n_epochs": config["trainer"]["max_epochs"]}
    if split == "test":
        tested = uncalibrated.select("test")
        log_official_test(run, info, output_dir=output_dir, command="evaluate unfinished", tested=tested)
    return Rescored(
        decisions.apply(uncalibrated.select(split)),
        f"{info.title}, {PARTS[split]}, unfinished: epoch {unfinished['epoch']} of {unfinished['n_epochs']}",
        {"runs": [{"path": str(run.path)}], "split": split, "unfinished": unfinished, "decisions": decisions.to_dict()},
        settings,
        simplify([decisions.thresholds[name] for name in uncalibrated.class_names]),
        uncalibrated=uncalibrated.select(split),
        groups=name_groups(data.cohort.records, list_groupings(data.source)),
        not_tuned=tuple(decisions.not_tuned),
        likelihoods=find_likelihoods(data),
    )


def _predict(net: nn.Module, data: ECGDataModule, part: Literal["val", "test"], *, device: str) -> PredictedPart:
    """Predict the records of one part."""
    loader = data.val_dataloader() if part == "val" else data.test_dataloader()
    with torch.inference_mode():
        logits = []
        for batch in loader:
            beside = batch["metadata"].to(device) if "metadata" in batch else None
            logits.append(net(batch["signal"].to(device), beside).double().cpu())
    y_logit = torch.cat(logits).numpy()
    if not np.isfinite(y_logit).all():
        raise DataError(f"the net's logits of the {part} set are not finite: training diverged")
    return PredictedPart(data.cohort.find_part(part), expit(y_logit), y_logit)
