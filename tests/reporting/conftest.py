from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from ecgcls.data.groupings import name_groups
from ecgcls.data.ptbxl import PTBXL
from ecgcls.evaluation.decisions import learn_decisions
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import CalibrationRule, ThresholdRule
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo

CLASSES = ("NORM", "LAFB/LPFB", "<b>&\"HYP'")
N_FOLDS = 3


@pytest.fixture(scope="session")
def database(synthetic_root) -> pd.DataFrame:
    return pd.read_csv(synthetic_root / "ptbxl_database.csv").set_index("ecg_id")


@pytest.fixture(scope="session")
def write_configuration(synthetic_root, database) -> Callable[..., Path]:
    """Write the finished folds of a configuration, as a run leaves them, without training."""

    def write(
        experiment: Path,
        model: str,
        variant: str = "",
        *,
        skill: float = 0.5,
        folds=range(N_FOLDS),
        root: Path = synthetic_root,
        info: dict | None = None,
        calibration: CalibrationRule = CalibrationRule(method="none"),
        thresholds: ThresholdRule = ThresholdRule(rule="fixed"),
    ) -> Path:
        """`skill`, 0 to 1, is how much the probabilities know of the truth; `info` is changed in ``run.json``."""
        pos_weight = [2.0, 2.0, 2.0] if model == "cnn1d" else None
        y_true = np.random.default_rng(0).random((len(database), len(CLASSES))) < (0.6, 0.3, 0.2)
        rng = np.random.default_rng(int(100 * skill))
        y_prob = skill * y_true + (1 - skill) * rng.random(y_true.shape)
        strat_fold = database["strat_fold"].to_numpy()
        groups = name_groups(pd.read_csv(root / "ptbxl_database.csv", index_col="ecg_id"))
        for fold in folds:
            rows = np.flatnonzero(strat_fold % N_FOLDS == fold)
            run = RunDirectory(experiment / model / variant / f"fold_{fold}")
            twice = np.tile(rows, 2)  # what is validated on looks like what is tested
            predictions = Predictions(
                database.index.to_numpy()[twice],
                database["patient_id"].to_numpy()[twice].astype(int),
                strat_fold[twice],
                np.repeat(["test", "val"], len(rows)),
                y_true[twice],
                y_prob[twice],
                CLASSES,
            )
            decisions = learn_decisions(
                predictions.select("val"),
                calibration=calibration,
                thresholds=thresholds,
                pos_weight=pos_weight,
            )
            run.write_predictions(predictions, is_calibrated=False)
            run.write_predictions(decisions.apply(predictions))
            run.write_groups(groups.loc[database.index[rows]])
            config = {
                "fold": fold,
                "seed": 0,
                "model": {"_target_": f"nets.{model}"},
                "data": {"_target_": "ecgcls.data.ptbxl.PTBXL", "root": str(root), "sampling_rate_hz": 100},
                "folds": {"test": [[n] for n in range(N_FOLDS)]},
            }
            (run.path / ".hydra").mkdir(exist_ok=True)
            OmegaConf.save(config, run.path / ".hydra" / "config.yaml")
            epochs = {"epoch": [0, 1], "train/loss": [1.0, 0.5], "val/loss": [1.0, 0.7], "val/pr_auc": [0.2, skill]}
            pd.DataFrame(epochs).to_csv(run.path / "history.csv", index=False)
            part = {"n_records": 10 + fold, "n_patients": 9, "n_positive": dict.fromkeys(CLASSES, 4)}
            part["records_sha256"] = decisions.records_sha256
            known = {
                "status": "finished",
                "experiment": experiment.name,
                "model": model,
                "variant": variant,
                "fold": fold,
                "started": f"2026-01-0{1 + fold}T10:00:00+00:00",
                "finished": f"2026-01-0{1 + fold}T11:30:00+00:00",
                "synthetic": True,
                "n_parameters": 1234 if model == "cnn1d" else 99,
                "pos_weight": pos_weight,
                "thresholds": dict(decisions.thresholds),
                "decisions": decisions.to_dict(),
                "command": ["python", "-m", "ecgcls.run", f"model={model}", "data.root=my data"],
                "stages_s": {"fit": 1.5},
                "versions": {"ecgcls": "0.1.0", "torch": "2.13.0" if model == "cnn1d" else "2.14.0"},
                "machine": {"platform": "Linux", "n_cpus": 2},
                "git": {"commit": "abc", "modified": False},
                "data": {
                    "root": str(root),
                    "sampling_rate_hz": 100,
                    "n_samples": 1000,
                    "lead_names": ["I", "II"],
                    "n_records": 60,
                    "n_without_label": 7,
                    "n_missing_files": 2,
                    "n_copies_left_out": 0,
                    "n_bad_records": 0,
                    "n_duplicates_left_out": 0,
                    "n_records_with_a_flat_lead": 1,
                    "absent_classes": ["WPW"],
                    "class_names": list(CLASSES),
                    "labels_sha256": "0123456789abcdef" * 4,
                    "parts": {"train": part, "val": part, "test": part},
                    "fingerprint": {"signals": "5", **PTBXL(root=root).fingerprint()},
                },
            }
            run.write_info(RunInfo(**known | (info or {})))
        return experiment / model / variant

    return write


@pytest.fixture(scope="session")
def write_unfinished() -> Callable[..., None]:
    """Write what a run that never ended leaves behind."""

    def write(folder: Path, **info) -> None:
        RunDirectory(folder).write_info(RunInfo(**info))

    return write


@pytest.fixture(scope="session")
def experiment(tmp_path_factory, write_configuration, write_unfinished) -> Path:
    """Two configurations, one of them with a fold that failed, and a third that has only begun."""
    folder = tmp_path_factory.mktemp("outputs") / "demo"
    write_configuration(folder, "cnn1d", "seed=1,trainer.max_epochs=3", skill=0.4)
    variant = "trainer.max_epochs=3"
    partial = write_configuration(folder, "cnn2d", variant, skill=0.7, folds=(0, 2))
    write_unfinished(partial / "fold_1", status="failed", error="out of <memory>", model="cnn2d", variant=variant)
    variant = "seed=2,trainer.max_epochs=3"
    write_unfinished(folder / "cnn1d" / variant / "fold_0", status="running", model="cnn1d", variant=variant)
    return folder
