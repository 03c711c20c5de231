import json
from dataclasses import asdict

import pytest

from ecgcls.errors import ConfigError
from ecgcls.evaluation.settings import Bootstrap, CalibrationRule, EvaluationSettings, Subgroups, ThresholdRule

OTHER = EvaluationSettings(
    intervals=Bootstrap(50, 0.8, "bca", "nan", 3, 7),
    calibration=CalibrationRule("isotonic", 4, 3),
    thresholds=ThresholdRule("cost", 0.7, 0.6, 2.5, 0.25, 3),
    subgroups=Subgroups(9, 11),
    prevalence={"MI": 0.02, "NORM": 0.4},
)


@pytest.mark.parametrize("settings", [EvaluationSettings(), OTHER, EvaluationSettings(prevalence=0.1)])
def test_settings_survive_json(settings):
    stored = json.loads(json.dumps(asdict(settings), allow_nan=False))
    assert EvaluationSettings().replace_with(stored) == settings


def test_only_what_is_given_is_replaced():
    changed = OTHER.replace_with({"intervals": {"level": 0.9, "method": None}, "calibration": None, "prevalence": None})
    assert changed.intervals == Bootstrap(50, 0.9, "bca", "nan", 3, 7)
    assert (changed.calibration, changed.thresholds, changed.subgroups, changed.prevalence) == (
        OTHER.calibration, OTHER.thresholds, OTHER.subgroups, OTHER.prevalence,
    )  # fmt: skip
    assert OTHER.replace_with({"prevalence": {"MI": 0.5}}).prevalence == {"MI": 0.5}
    assert OTHER.replace_with({}) == OTHER


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"interval": {}}, "^interval: no such setting; expected one of intervals, calibration"),
        ({"intervals": {"levle": 0.9}}, "^intervals.levle: no such setting; expected one of n_resamples, level"),
        ({"intervals": 0.9}, "^intervals must be a mapping of settings, got 0.9"),
        ({"intervals": {"method": "normal"}}, "^intervals.method must be one of score, expanded, percentile, bca"),
        ({"thresholds": {"rule": "best"}}, "^thresholds.rule must be one of f1"),
        ({"prevalence": 1.0}, "prevalence of all classes must be between 0 and 1, got 1.0"),
        ({"prevalence": {"MI": True}}, "prevalence of MI must be between 0 and 1, got True"),
        ({"prevalence": {"MI": None}}, "prevalence of MI must be between 0 and 1, got None"),
    ],
)
def test_overrides_that_mean_nothing_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        EvaluationSettings().replace_with(overrides)


def test_the_prevalence_of_each_class():
    names = ("NORM", "MI", "HYP")
    assert EvaluationSettings().prevalence_by_class(names) == {}
    assert EvaluationSettings(prevalence=0.1).prevalence_by_class(names) == dict.fromkeys(names, 0.1)
    assert OTHER.prevalence_by_class(names) == {"MI": 0.02, "NORM": 0.4}
    with pytest.raises(ConfigError, match="prevalence: there is no class MI, expected one of NORM, HYP"):
        OTHER.prevalence_by_class(("NORM", "HYP"))


@pytest.mark.parametrize(
    ("rule", "asked", "message"),
    [
        (
            {"fixed": 0.3},
            None,
            "fixed=0.3 has no effect with thresholds.rule=f1: set thresholds.rule=fixed, too",
        ),
        (
            {"rule": "youden", "cost_ratio": 2.0},
            None,
            r"thresholds\.cost_ratio=2 .* set thresholds.rule=cost, too",
        ),
        ({}, {"sensitivity": 0.9}, "thresholds.sensitivity=0.9 has no effect"),  # asked for, if only as the default
    ],
)
def test_a_threshold_setting_of_another_rule_is_refused(rule, asked, message):
    with pytest.raises(ConfigError, match=message):
        ThresholdRule(**rule).refuse_unused(asked)


def test_a_threshold_setting_of_its_own_rule_is_taken():
    ThresholdRule(rule="fixed", fixed=0.3, min_positives=3).refuse_unused()
    ThresholdRule(rule="cost", sensitivity=0.8).refuse_unused({"cost_ratio": 2.0, "rule": "cost", "sensitivity": None})
