import json

import pytest

from tests.commands import succeed


@pytest.mark.slow
def test_cnn1d_learns_on_real_ecgs(tmp_path, ptbxl_root):
    """Pooled over five folds, cnn1d must come near what a plain training loop reaches on these records.

    That is a macro PR-AUC of 0.56 and a ROC-AUC of 0.81; choosing the epoch on some 35 validation records costs a
    little, and another machine's rounding moves both by some hundredths.
    """
    done = succeed(
        tmp_path,
        "-m",
        "fold=0,1,2,3,4",
        f"data.root={ptbxl_root}",
        f"data.store_dir={tmp_path}",
        "trainer.max_epochs=30",
        "trainer.enable_progress_bar=false",
    )
    assert "5/5" in done.stdout
    (cv,) = tmp_path.glob("outputs/default/*/*/cv")
    metrics = json.loads((cv / "metrics.json").read_text())["test"]
    assert metrics["overall"]["n_records"] == 349  # 356 less the 7 without a superclass
    counts = {name: row["n_positive"] for name, row in metrics["by_class"].items()}
    assert counts == {"NORM": 213, "MI": 50, "STTC": 71, "CD": 52, "HYP": 32}
    assert metrics["overall"]["pr_auc"] > 0.48
    assert metrics["overall"]["roc_auc"] > 0.75
    for row in metrics["by_class"].values():
        assert row["pr_auc"] > 1.2 * row["prevalence"]
