r"""Margins: whether a model is not inferior, or equivalent, to another by a difference that was named beforehand.

Conventions
    - The gain is a - b in a metric that is better when higher, b - a in one that is better when lower. The margin is
      the largest loss that does not matter, in the metric's own unit.
    - *a not inferior*: the lower limit of the two-sided interval of level :math:`1-\alpha` of the gain is above
      -margin, which is a one-sided test of size :math:`\alpha/2` [1]_. *a inferior*: its upper limit is below -margin.
    - *equivalent*: the two-sided interval of level :math:`1-2\alpha` lies within the margin on both sides, which is two
      one-sided tests of size :math:`\alpha` each [2]_.
    - Both claims are adjusted over the classes of a metric by Holm's procedure, as every test is; over all classes they
      are what the intervals show.
    - Of several that hold, the table tells the first of *equivalent*, *a better* (as without a margin), *a not
      inferior*, *a inferior*; with none, and where a class has too few patients, *cannot be told*.

References
----------
.. [1] G. Piaggio, D. R. Elbourne, S. J. Pocock, S. J. W. Evans, D. G. Altman, "Reporting of noninferiority and
       equivalence randomized trials: extension of the CONSORT 2010 statement", JAMA 308(24), 2012,
       doi:10.1001/jama.2012.87802.
.. [2] D. J. Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for assessing the
       equivalence of average bioavailability", Journal of Pharmacokinetics and Biopharmaceutics 15, 1987,
       doi:10.1007/BF01068419.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from ecgcls.errors import ConfigError
from ecgcls.evaluation.differences import Differences, adjust_classes
from ecgcls.evaluation.metrics import METRICS

MARGIN_VERDICTS = ("equivalent", "a better", "a not inferior", "a inferior", "cannot be told")


def check_margin(margin: Any, level: float = 0.95) -> None:
    r"""Refuse a margin that is not above 0, and a level of which :math:`1-2\alpha` is none."""
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not (margin > 0 and math.isfinite(margin)):
        raise ConfigError(f"margin must be above 0, in the unit of the metrics, such as 0.01; got {margin!r}")
    if level <= 0.5:
        raise ConfigError(f"a margin needs a level above 0.5, such as 0.95; got {level:g}")


def judge_margin(table: pd.DataFrame, differences: Differences, margin: float, level: float) -> pd.DataFrame:
    r"""Return what the differences say about a margin.

    Parameters
    ----------
    table
        Of the same rows as the differences (a - b), by class and metric, with ``is_supported`` and ``verdict``.

    Returns
    -------
    DataFrame
        ``p_not_inferior`` (one-sided, to hold against :math:`\alpha/2`), ``p_inferior`` (likewise), ``p_equivalent``
        (against :math:`\alpha`), each with ``_holm``; ``low_equivalence`` and ``high_equivalence``, the interval of
        level :math:`1-2\alpha` of a - b; ``margin_verdict``.
    """
    gain = differences.orient([1 if METRICS[key].higher_is_better else -1 for _, key in table.index])
    not_inferior, not_superior = gain.exceed(-margin), (-gain).exceed(-margin)
    found = pd.DataFrame(
        {
            "p_not_inferior": not_inferior,
            "p_inferior": (-gain).exceed(margin),
            "p_equivalent": np.maximum(not_inferior, not_superior),
        },
        index=table.index,
    )
    for name in list(found):
        found[f"{name}_holm"] = adjust_classes(found[name], table["is_supported"])
    found["low_equivalence"], found["high_equivalence"] = differences.limits(1 - 2 * (1 - level))
    alpha, is_supported = 1 - level, table["is_supported"]
    found["margin_verdict"] = np.select(
        [
            is_supported & (found["p_equivalent_holm"] < alpha),
            table["verdict"] == "a better",
            is_supported & (found["p_not_inferior_holm"] < alpha / 2),
            is_supported & (found["p_inferior_holm"] < alpha / 2),
        ],
        MARGIN_VERDICTS[:-1],
        MARGIN_VERDICTS[-1],
    )
    return found
