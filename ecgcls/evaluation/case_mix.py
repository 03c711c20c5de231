"""Case mix: how the records on which a net is tested elsewhere differ from those on which its run was tested.

A score elsewhere is lower for two reasons, which only this tells apart: the net is worse there, or the records are
harder, because they are more alike [1]_. Of both places: who the patients are, how many classes a record has, how
frequent each class is, and, for each class, the mean probability that the net gives (against the prevalence:
calibration in the large) and the standard deviation of its logits (the smaller, the more alike are the records).

References
----------
.. [1] T. P. A. Debray, Y. Vergouwe, H. Koffijberg, D. Nieboer, E. W. Steyerberg, K. G. M. Moons, "A new framework to
       enhance the interpretation of external validation studies of clinical prediction models", J. Clin. Epidemiol. 68
       (2015) 279-289, doi:10.1016/j.jclinepi.2014.06.018.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ecgcls.evaluation.checks import UNKNOWN
from ecgcls.evaluation.logits import to_logits
from ecgcls.evaluation.predictions import Predictions

SHARE_OF, PREVALENCE = "share of records", "prevalence"


def compare_case_mix(
    run: Predictions, here: Predictions, groups_of_run: pd.DataFrame, groups_here: pd.DataFrame
) -> pd.DataFrame:
    """Compare the test records of a run with those of another place.

    Parameters
    ----------
    run, here
        Of the run's test set, and of the other place, whose classes are among the run's.
    groups_of_run, groups_here
        The names of each record's subgroups, by ecg_id; those columns that both have are compared.

    Returns
    -------
    DataFrame
        ``what``, ``of`` (a subgroup, or a class), ``run`` and ``here``; nan where one of both has no such records.
    """
    run = run.take_classes(here.class_names)
    both = [_describe(run, groups_of_run), _describe(here, groups_here)]
    shared = groups_of_run.columns.intersection(groups_here.columns)
    keys = [key for key in {**both[0], **both[1]} if key[0] != SHARE_OF or key[1].partition("=")[0] in shared]
    rows = [(*key, *(each.get(key, 0.0 if key[0] == SHARE_OF else np.nan) for each in both)) for key in _sort(keys)]
    return pd.DataFrame(rows, columns=["what", "of", "run", "here"])


def _describe(predictions: Predictions, groups: pd.DataFrame) -> dict[tuple[str, str], float]:
    known, y_true = predictions.y_true != UNKNOWN, predictions.y_true == 1
    found = {
        ("records", ""): float(len(predictions)),
        ("patients", ""): float(len(np.unique(predictions.patient_id))),
        ("classes per record", ""): float(y_true.sum(axis=1).mean()),
    }
    own = groups.reindex(predictions.ecg_id)
    for column in own:
        shares: Mapping[str, float] = dict(own[column].value_counts(normalize=True))
        found |= {(SHARE_OF, f"{column}={name}"): float(share) for name, share in shares.items()}
    logits = to_logits(predictions.y_prob) if predictions.y_logit is None else predictions.y_logit
    for column, name in enumerate(predictions.class_names):
        rows = known[:, column]
        found[PREVALENCE, name] = float(y_true[rows, column].mean()) if rows.any() else np.nan
        found["mean probability", name] = float(predictions.y_prob[rows, column].mean()) if rows.any() else np.nan
        found["spread of logits", name] = float(logits[rows, column].std()) if rows.any() else np.nan
        found["not known", name] = float(1 - rows.mean())
    return found


def _sort(keys: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Put what belongs together side by side, in the order of its first row; subgroups by their names."""
    order = {what: place for place, what in enumerate(dict.fromkeys(what for what, _ in keys))}
    place = {key: (key[1] if key[0] == SHARE_OF else "", number) for number, key in enumerate(keys)}
    return sorted(keys, key=lambda key: (order[key[0]], *place[key]))


def format_case_mix(table: pd.DataFrame) -> str:
    """Return the table as text, without the shares of more than two subgroups of the same grouping."""
    grouping = table["of"].str.partition("=")[0].where(table["what"] == SHARE_OF, "")
    is_long = grouping.map(grouping.value_counts()).gt(3) & grouping.ne("")
    is_certain = (table["what"] == "not known") & (table[["run", "here"]].sum(axis=1) == 0)
    shown = table[~is_long & ~is_certain]
    lines = pd.DataFrame(
        {
            "": [f"{row.what} {row.of}".strip() for row in shown.itertuples()],
            "run's test": [_format(row.what, row.run) for row in shown.itertuples()],
            "here": [_format(row.what, row.here) for row in shown.itertuples()],
        }
    )
    return lines.to_string(index=False)


def _format(what: str, value: float) -> str:
    if np.isnan(value):
        return ""
    return f"{value:,.0f}" if what in ("records", "patients") else f"{value:.3f}"
