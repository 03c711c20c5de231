import logging

import pandas as pd
import pytest

from ecgcls.errors import ConfigError
from ecgcls.training.monitor import check_scores

NAN = float("nan")


def history(*scores, losses=None):
    return pd.DataFrame({"epoch": range(len(scores)), "val/loss": losses or [0.7] * len(scores), "val/pr_auc": scores})


def test_a_metric_that_was_nan_in_every_epoch_chose_nothing():
    with pytest.raises(ConfigError, match=r"val/pr_auc is nan in every epoch, so there is no best .*monitor=val/loss"):
        check_scores(history(NAN, NAN), "val/pr_auc")


def test_epochs_whose_metric_is_nan_are_told(caplog):
    with caplog.at_level(logging.WARNING):
        check_scores(history(0.5, NAN, 0.6), "val/pr_auc")
    assert "val/pr_auc is nan in epoch 2" in caplog.text


def test_an_epoch_that_was_not_validated_is_no_fault(caplog):
    check_scores(history(NAN, 0.5, losses=[NAN, 0.7]), "val/pr_auc")
    assert not caplog.text
