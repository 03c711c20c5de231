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

SHARE_OF, PREVALENCE, UNKNOWN_SHARE = "share of records", "prevalence", "not known"
_OF_CLASS = (PREVALENCE, "mean probability", "spread of logits", UNKNOWN_SHARE)
_RUN, _HERE = "run's test", "here"


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
        found[_OF_CLASS[1], name] = float(predictions.y_prob[rows, column].mean()) if rows.any() else np.nan
        found[_OF_CLASS[2], name] = float(logits[rows, column].std()) if rows.any() else np.nan
        found[UNKNOWN_SHARE, name] = float(1 - rows.mean())
    return found


def _sort(keys: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Put what belongs together side by side, in the order of its first row; subgroups by their names."""
    order = {what: place for place, what in enumerate(dict.fromkeys(what for what, _ in keys))}
    place = {key: (key[1] if key[0] == SHARE_OF else "", number) for number, key in enumerate(keys)}
    return sorted(keys, key=lambda key: (order[key[0]], *place[key]))


def format_case_mix(table: pd.DataFrame) -> str:
    """Return the table as text, a class a line, without the shares of groupings of more than three subgroups."""
    grouping = table["of"].str.partition("=")[0].where(table["what"] == SHARE_OF, "")
    is_long = grouping.map(grouping.value_counts()).gt(3) & grouping.ne("")
    of_class = table["what"].isin(_OF_CLASS)
    shown = table[~of_class & ~is_long]
    whole = pd.DataFrame(
        {_RUN: [_format(*row) for row in zip(shown["what"], shown["run"], strict=True)],
         _HERE: [_format(*row) for row in zip(shown["what"], shown["here"], strict=True)]},
        index=[f"{row.what} {row.of}".strip() for row in shown.itertuples()],
    )  # fmt: skip
    classes = table[of_class].pivot(index="of", columns="what", values=["run", "here"])
    names = table.loc[table["what"] == PREVALENCE, "of"]
    lines = {
        (what, title): [_format(what, value) for value in classes[place, what].reindex(names)]
        for what in _OF_CLASS
        for place, title in (("run", _RUN), ("here", _HERE))
        if what != UNKNOWN_SHARE or classes[place, what].any()
    }
    return f"{whole.to_string()}\n\n{pd.DataFrame(lines, index=list(names)).to_string()}"


def _format(what: str, value: float) -> str:
    if np.isnan(value):
        return ""
    return f"{value:,.0f}" if what in ("records", "patients") else f"{value:.3f}"
