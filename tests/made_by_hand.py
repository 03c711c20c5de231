"""Finished folds without training: what is pooled and what is averaged can be worked out beside them."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap, EvaluationSettings
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo

N_FOLDS = 3


def write_fold(
    folder: Path,
    fold: int,
    *,
    class_names=("NORM", "MI"),
    ecg_ids=None,
    data="same",
    status="finished",
    lr=0.1,
    model="cnn1d",
    variant="seed=1",
    held_out="",
) -> Predictions:
    """Write a fold of three, with 40 test records and as many for validation; return its test predictions.

    `held_out` is the site that the fold tests, if it is of `folds=by_site`.
    """
    rng = np.random.default_rng(fold)
    ecg_ids = np.arange(fold * 100, fold * 100 + 40) if ecg_ids is None else np.asarray(ecg_ids)
    n = len(ecg_ids)
    y_true = (rng.random((n, len(class_names))) < 0.4).astype(int)
    predictions = Predictions(
        ecg_id=np.concatenate([ecg_ids, ecg_ids + 10_000]),
        patient_id=np.concatenate([ecg_ids, ecg_ids + 10_000]),
        strat_fold=np.full(2 * n, fold + 1),
        split=np.array(["test"] * n + ["val"] * n),
        y_true=np.concatenate([y_true, y_true]),
        y_prob=np.concatenate([0.3 * y_true + 0.7 * rng.random(y_true.shape)] * 2),
        class_names=tuple(class_names),
    )
    run = RunDirectory(folder / f"fold_{fold}")
    run.write_predictions(predictions)
    run.write_predictions(predictions, is_calibrated=False)
    run.write_groups(pd.DataFrame({"sex": np.where(predictions.ecg_id % 2, "male", "female")}, predictions.ecg_id))
    run.write_history(pd.DataFrame({"epoch": [0, 1], "val/loss": [1.0, 0.5]}))
    folds = {"column": "site"} if held_out else {"test": [[1], [2], [3]]}
    config = {"fold": fold, "folds": folds, "optimizer": {"lr": lr}}
    run.write_config(yaml.safe_dump(config))
    run.write_info(
        RunInfo(
            status=status,
            fold=fold,
            model=model,
            variant=variant,
            n_parameters=46757,
            evaluation=EvaluationSettings(intervals=Bootstrap(n_resamples=100)),
            thresholds=dict.fromkeys(class_names, 0.1 * (fold + 1)),
            stages_s={"fit": 1.5},
            data=({"n_folds": N_FOLDS, "held_out": held_out} if held_out else {})
            | {
                "class_names": list(class_names),
                "fingerprint": {"ptbxl_database.csv": data},
                "parts": {"train": {"n_records": 80}, "val": {"n_records": n}, "test": {"n_records": n}},
            },
        )
    )
    return predictions.select("test")
