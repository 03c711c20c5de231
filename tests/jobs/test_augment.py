"""Which augmentations a task gets, and which are left out for what they may do to its labels."""

from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from ecgcls.config import CONF_DIR
from ecgcls.data.crosswalks import read_scp
from ecgcls.data.tasks import Task
from ecgcls.errors import ConfigError
from ecgcls.jobs.augment import build_augmenter, find_at_risk

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
ALL = ["crop", "time_warp", "amplitude", "noise", "wander", "time_mask", "mixup", "lead_dropout"]


def build(
    task, class_names, choice="strong", *, statements=None, n_window_samples=None, metadata=(), without=(), **changed
):
    """Build a choice of the group for a task of PTB-XL's statements, or of others."""
    nodes = yaml.safe_load((CONF_DIR / "augment" / f"{choice}.yaml").read_text())
    for name, at_risk in changed.items():
        nodes[name]["at_risk"] = at_risk
    data = SimpleNamespace(
        source=SimpleNamespace(
            sampling_rate_hz=100.0, read_statements=lambda: read_scp() if statements is None else statements
        ),
        task=task,
        class_names=class_names,
        n_window_samples=n_window_samples,
        metadata_names=metadata,
    )
    kept = {name: node for name, node in nodes.items() if name not in without}
    return build_augmenter({"augment": kept, "seed": 0}, data)


def superclasses(**given):
    return build(Task(statements="diagnostic", classes="diagnostic_class"), SUPERCLASSES, **given)


def test_what_may_make_a_class_untrue_is_left_out_and_told(caplog):
    kept = superclasses().augmentations
    assert [*kept] == [name for name in ALL if name not in ("time_warp", "amplitude")]
    assert "augment.amplitude is left out: it may make HYP untrue" in caplog.text
    assert "augment.time_warp is left out: it may make STTC, CD untrue" in caplog.text  # long QT, blocks
    assert kept["wander"].sampling_rate_hz == kept["time_mask"].sampling_rate_hz == 100.0
    assert [*superclasses(choice="light").augmentations] == ["crop", "noise", "wander"]


def test_a_task_of_rhythms_loses_warps_and_masks_and_one_without_such_classes_nothing():
    rhythm = Task(statements="rhythm")
    assert [*build(rhythm, ("SR", "AFIB", "PSVT")).augmentations] == [
        "amplitude", "noise", "wander", "mixup", "lead_dropout",
    ]  # fmt: skip
    assert [*build(Task(statements="diagnostic"), ("IMI", "ASMI")).augmentations] == ALL  # whatever else there is


def test_it_is_allowed_or_refused_where_the_setting_says_so():
    assert "amplitude" in superclasses(amplitude="allow").augmentations
    with pytest.raises(ConfigError, match=r"augment\.amplitude: it may make HYP untrue; .*at_risk=allow keeps it"):
        superclasses(amplitude="refuse")


def test_statements_of_other_data_are_known_by_name_or_code():
    own = pd.DataFrame({"diagnostic": True}, index=["afib", "broken_lead"])
    assert "time_warp" not in build(Task(statements="all"), ("afib", "broken_lead"), statements=own).augmentations
    assert "time_warp" in build(Task(statements="all"), ("broken_lead",), statements=own).augmentations
    code = read_scp()["snomed_code"]["AFIB"]
    assert find_at_risk({"AFIB"}, {code: "AF", "59118001": "RBBB"}, ("AF", "RBBB")) == ["AF"]


def test_windows_are_not_cropped_once_more(caplog):
    caplog.set_level("INFO")
    assert "crop" not in superclasses(n_window_samples=250).augmentations
    assert "augment.crop: left out, for data.window_s cuts the records already" in caplog.text


def test_records_are_not_mixed_where_their_metadata_would_not_be():
    with pytest.raises(
        ConfigError, match=r"augment\.mixup: a mixed record has no age or sex: leave out model\.metadata"
    ):
        superclasses(metadata=("age", "sex"))
    assert "mixup" not in superclasses(metadata=("age",), without=("mixup",)).augmentations
