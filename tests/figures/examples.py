"""Predictions and histories to draw, and readers of drawn figures."""

import numpy as np
import pandas as pd

from ecgcls.data.signals import LEADS
from ecgcls.evaluation.predictions import Predictions
from ecgcls.figures.ecg_paper import draw_ecg
from ecgcls.figures.style import save_figure


def make(n_classes=5, n_records=300, undefined=()):
    rng = np.random.default_rng(n_classes)
    y_true = (rng.random((n_records, n_classes)) < 0.3).astype(np.int8)
    y_true[:3], y_true[3:6] = 1, 0
    y_true[:, list(undefined)] = 0
    logits = rng.normal(size=y_true.shape) + 2 * y_true - 1
    y_prob = (1 / (1 + np.exp(-logits))).round(2)  # rounding makes ties
    ids = np.arange(n_records)
    names = tuple(f"C{number}_" for number in range(n_classes))
    return Predictions(ids, ids, ids % 10 + 1, ["test"] * n_records, y_true, y_prob, names)


def make_history(n_epochs=6):
    epoch = np.arange(n_epochs)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "train/loss": 1.0 / (epoch + 1),
            "val/loss": 1.1 / (epoch + 1),
            "val/pr_auc": 0.1 * epoch,
            "val/roc_auc": 0.5 + 0.05 * epoch,
            "val/f1_macro": 0.09 * epoch,
            "val/f1_micro": 0.08 * epoch,
        }
    )


def png(figure, path):
    save_figure(figure, path)
    return path.read_bytes()


def cell_texts(axes):
    """The texts of a matrix as (actual, predicted)."""
    texts = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts}
    return [[texts[row, column].split("\n") for column in (0, 1)] for row in (0, 1)]


RATE_HZ = 100


def draw(signal_mv, **changed):
    settings = {"sampling_rate_hz": RATE_HZ, "lead_names": LEADS, "title": "ecg_id 7"}
    return draw_ecg(signal_mv, **(settings | changed))


def lines(figure):
    """Return the named lines of the paper: calibration pulses and traces."""
    return {line.get_gid(): line for line in figure.axes[0].lines if line.get_gid()}
