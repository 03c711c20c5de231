"""The files that tell how far probabilities are from frequencies, before recalibration and after."""

import logging
from pathlib import Path

import pandas as pd

from ecgcls.evaluation.calibration import find_miscalibrated, measure_calibration, reliability_curve
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.settings import Bootstrap
from ecgcls.evaluation.smooth_calibration import smooth_curves
from ecgcls.figures.panels import draw_calibration
from ecgcls.figures.style import save_figure
from ecgcls.files import encode_csv, printable, write_atomically

log = logging.getLogger(__name__)


def write_calibration(
    folder: Path, after: Predictions, before: Predictions | None, *, settings: Bootstrap, title: str
) -> None:
    """Write how far probabilities are from frequencies, before recalibration and after, and name what is off."""
    stages = {"after": after} if before is None else {"before": before, "after": after}
    names = after.class_names
    curves = {stage: reliability_curve(each.y_true, each.y_prob, names) for stage, each in stages.items()}
    reliability = pd.concat(curves, names=["recalibration"]).reset_index("recalibration").reset_index(drop=True)
    write_atomically(folder / "reliability.csv", encode_csv(reliability, index=False))
    level = settings.level
    smooth = pd.concat(
        {
            stage: smooth_curves(each.y_true, each.y_prob, each.patient_id, names, y_logit=each.y_logit, level=level)
            for stage, each in stages.items()
        },
        names=["recalibration"],
    )
    smooth = smooth.reset_index("recalibration").reset_index(drop=True)
    write_atomically(folder / "calibration_curves.csv", encode_csv(smooth, index=False))
    measured = {
        stage: measure_calibration(
            each.y_true,
            each.y_prob,
            names,
            y_logit=each.y_logit,
            patient_id=each.patient_id,
            level=level,
            min_positives=settings.min_positives,
        )
        for stage, each in stages.items()
    }
    table = pd.concat(measured, names=["recalibration", "class"])
    write_atomically(folder / "calibration.csv", encode_csv(table.assign(level=level)))
    if off := find_miscalibrated(measured["after"]):
        log.info("Not calibrated (p below 0.05, Holm): %s", "; ".join(map(printable, off)))
    if before is not None:
        figure = draw_calibration(before, after, title=title, level=level)
        save_figure(figure, folder / "figures" / "calibration.png")
