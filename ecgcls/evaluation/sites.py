r"""Sites: how a metric varies over sites that were each held out, and what is to be expected at a new one.

Conventions
    - Each site's value has a standard error from drawing its patients, on the scale without bounds (`scales`; the logit
      for areas and rates), where the values of sites are closer to normal [1]_.
    - The sites' true values are taken as draws from a normal distribution on that scale, with the standard deviation
      tau: a random-effects model. tau is estimated by Paule and Mandel's method [2]_, the mean's standard error by
      Hartung's and Knapp's, and never smaller than the model's own [3]_, with n - 1 degrees of freedom over n sites.
    - The *prediction interval* is for the true value at a new site of the same kind [4]_; the interval of the mean says
      nothing about any single site. It takes tau as uncertain, which with few sites it is: draws of tau from its
      confidence distribution, the inverted exact distribution of Q, each give a draw of the new site's value [5]_. The
      usual :math:`t_{n-2} \sqrt{\tau^2 + SE^2}` takes it as known, and is too narrow where it is small
      (``benchmarks/README.md``).
    - I² is the share of the variation between the sites' values that their standard errors do not explain,
      :math:`\max(0, 1 - (n - 1) / Q)`.
    - A site where too few patients show a class (or do not) is listed, and left out of the summary, as is one
      whose value has no standard error, such as 1.

References
----------
.. [1] T. P. A. Debray et al., "A framework for meta-analysis of prediction model studies with binary and time-to-event
       outcomes", Statistical Methods in Medical Research 28(9), 2019, doi:10.1177/0962280218785504.
.. [2] R. C. Paule, J. Mandel, "Consensus values and weighting factors", Journal of Research of the National Bureau of
       Standards 87(5), 1982, doi:10.6028/jres.087.022.
.. [3] C. Röver, G. Knapp, T. Friede, "Hartung-Knapp-Sidik-Jonkman approach and its modification for random-effects
       meta-analysis with few studies", BMC Medical Research Methodology 15, 2015, doi:10.1186/s12874-015-0091-1.
.. [4] R. D. Riley, J. P. T. Higgins, J. J. Deeks, "Interpretation of random effects meta-analyses", BMJ 342, 2011,
       doi:10.1136/bmj.d549.
.. [5] K. Nagashima, H. Noma, T. A. Furukawa, "Prediction intervals for random-effects meta-analysis: a confidence
       distribution approach", Statistical Methods in Medical Research 28(6), 2019, doi:10.1177/0962280218773520.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ecgcls.evaluation.intervals import count_support, resample
from ecgcls.evaluation.metrics import METRICS
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.scales import bound, slope, unbound
from ecgcls.evaluation.settings import Bootstrap

_N_DRAWS, _N_STEPS = 5000, 80  # of a new site's value; values of tau at which Q's distribution is computed
_COLUMNS = ["n_sites", "mean", "low", "high", "new_low", "new_high", "tau", "i2"]


def measure_sites(sites: Mapping[str, Predictions], settings: Bootstrap = Bootstrap()) -> pd.DataFrame:
    """Measure each site by itself.

    Parameters
    ----------
    sites
        By name the predictions of its records, of the same classes.

    Returns
    -------
    DataFrame
        One row per site, class ('overall' for all together) and metric: ``site``, ``class``, ``metric``, ``n_records``,
        ``n_positive``, ``value``, ``low``, ``high`` (a normal interval on the scale without bounds), ``error`` (the
        standard error there), ``is_supported``.
    """
    return pd.concat([_measure_site(one, settings).assign(site=name) for name, one in sites.items()], ignore_index=True)


def summarize_sites(measured: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Summarize what `measure_sites` gave over the sites, those without support left out.

    Returns
    -------
    DataFrame
        Indexed by ``class`` and ``metric``, with the columns that `combine_sites` gives.
    """
    rows = {}
    for (name, key), sites in measured.groupby(["class", "metric"], sort=False):
        kept = sites[sites["is_supported"]]
        rows[name, key] = combine_sites(kept["value"], kept["error"], bounds=METRICS[str(key)].bounds, level=level)
    table = pd.DataFrame(list(rows.values()), index=pd.MultiIndex.from_tuples(rows, names=["class", "metric"]))
    return table[_COLUMNS]


def combine_sites(
    value: ArrayLike, error: ArrayLike, *, bounds: tuple[float, float] = (-np.inf, np.inf), level: float = 0.95
) -> dict[str, float]:
    """Combine one metric of several sites by a random-effects model.

    Parameters
    ----------
    value
        ``(site,)``, within the bounds.
    error
        ``(site,)``: its standard error on the scale without bounds; a site whose error is nan, infinite or 0 is left
        out.

    Returns
    -------
    dict
        ``n_sites``; the ``mean`` with its interval ``low``, ``high`` and the prediction interval ``new_low``,
        ``new_high``, all in the metric's own units; ``tau``, on the scale without bounds; ``i2``. nan with fewer than
        two sites, and for the prediction interval with fewer than three.

    Examples
    --------
    >>> found = combine_sites([0.86, 0.90, 0.92, 0.94], [0.05, 0.06, 0.1, 0.1], bounds=(0, 1))
    >>> [round(found[name], 2) for name in ("mean", "low", "high", "new_low", "new_high")]
    [0.91, 0.84, 0.95, 0.69, 0.98]
    """
    values, errors = unbound(value, bounds), np.asarray(error, dtype=float)
    kept = np.isfinite(values) & np.isfinite(errors) & (errors > 0)
    values, errors = values[kept], errors[kept]
    found = dict.fromkeys(_COLUMNS, np.nan) | {"n_sites": len(values)}
    if len(values) < 2:
        return found
    from statsmodels.stats.meta_analysis import combine_effects  # takes a second to import

    model = combine_effects(values, errors**2, method_re="iterated")
    mean, tau = float(model.mean_effect_re), float(np.sqrt(max(model.tau2, 0.0)))
    mean_error = float(model.sd_eff_w_re * np.sqrt(max(model.scale_hksj_re, 1.0)))
    share = (1 + level) / 2
    half = stats.t.ppf(share, len(values) - 1) * mean_error
    new = np.quantile(_draw_new_site(values, errors), [1 - share, share]) if len(values) > 2 else [np.nan, np.nan]
    limits = bound([mean, mean - half, mean + half, *new], bounds).tolist()
    names = ["mean", "low", "high", "new_low", "new_high"]
    i2 = 1 - (len(values) - 1) / max(float(model.q), len(values) - 1)
    return found | dict(zip(names, limits, strict=True)) | {"tau": tau, "i2": i2}


def _draw_new_site(values: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draw the true value at a new site from its predictive distribution [5]_.

    Given tau, Q is distributed as a sum of chi-squares of one degree of freedom, each with its own weight. The share of
    draws of Q above the observed one grows with tau, and is the confidence distribution function of tau.
    """
    generator, n_sites, variances = np.random.default_rng(0), len(values), errors**2
    weights = 1 / variances
    form = np.diag(weights) - np.outer(weights, weights) / weights.sum()  # Q = values @ form @ values
    largest = 20 * (10 * values.var(ddof=1) + variances.max())
    tau2 = np.append(0.0, np.geomspace(1e-5 * largest, largest, _N_STEPS))
    spread = np.sqrt(variances + tau2[:, None])  # (step, site)
    of_squares = np.linalg.eigvalsh(spread[:, :, None] * form * spread[:, None, :])
    drawn_q = generator.chisquare(1, (_N_DRAWS, n_sites)) @ of_squares.T  # (draw, step)
    share_above = np.maximum.accumulate((drawn_q >= values @ form @ values).mean(axis=0))
    tau2 = np.interp(generator.random(_N_DRAWS), share_above, tau2)[:, None]
    weights = 1 / (variances + tau2)  # (draw, site)
    total = weights.sum(axis=1)
    mean = weights @ values / total
    mean_error = np.sqrt((weights * (values - mean[:, None]) ** 2).sum(axis=1) / (n_sites - 1) / total)
    moved = np.sqrt(tau2[:, 0]) * generator.normal(size=_N_DRAWS)
    return mean + moved - mean_error * generator.standard_t(n_sites - 1, _N_DRAWS)


def _measure_site(site: Predictions, settings: Bootstrap) -> pd.DataFrame:
    resamples = resample(site, settings)
    value, drawn = resamples["value"], resamples.drop(columns="value")
    bounds = np.array([METRICS[key].bounds for _, key in resamples.index]).T
    with np.errstate(invalid="ignore"):  # of a value at a bound
        error = drawn.std(axis=1, ddof=1).to_numpy() * slope(value, bounds)
        half = stats.norm.ppf((1 + settings.level) / 2) * error
        low, high = (bound(unbound(value, bounds) + sign * half, bounds) for sign in (-1, 1))
    support = count_support(resamples.index, site.class_names, site.y_true, site.patient_id, y_pred=site.y_pred)
    table = pd.DataFrame(
        {
            "n_records": len(site),
            "n_positive": support["n_positive"],
            "value": value,
            "low": low,
            "high": high,
            "error": error,
            "is_supported": support["n_rarest_patients"] >= settings.min_positives,
        }
    )
    return table.reset_index()
