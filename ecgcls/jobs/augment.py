"""From the group ``augment`` to what changes the training records, as far as the labels of the task survive it."""

import functools
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from ecgcls.data.crosswalks import read_scp
from ecgcls.data.module import ECGDataModule
from ecgcls.errors import ConfigError
from ecgcls.jobs.parts import build_part
from ecgcls.training.augmentation import Augmentation, Augmenter

log = logging.getLogger(__name__)


def build_augmenter(config: Mapping[str, Any], data: ECGDataModule) -> Augmenter:
    """Build what changes the training records of data that are set up.

    What may make a label of the task untrue is left out with a warning, refused with a `ConfigError`, or allowed, by
    its own setting ``at_risk``.
    """
    nodes = config.get("augment") or {}  # a configuration of an earlier version has none
    every: dict[str, Augmentation] = {}
    if data.n_window_samples is not None and "crop" in nodes:
        log.info("augment.crop: left out, for data.window_s cuts the records already")
        nodes = {name: node for name, node in nodes.items() if name != "crop"}
    for name, node in nodes.items():
        built = build_part(f"augment.{name}", node)
        if isinstance(built, functools.partial):
            built = built(sampling_rate_hz=data.source.sampling_rate_hz)
        if data.metadata_names and getattr(built, "mixes_records", False):
            raise ConfigError(
                f"augment.{name}: a mixed record has no {' or '.join(data.metadata_names)}: leave out model.metadata, "
                f"or ~augment.{name}"
            )
        if _is_kept(f"augment.{name}", built, data):
            every[name] = built
    return Augmenter(every, seed=config["seed"])


def find_at_risk(
    statements: Iterable[str], class_of_statement: Mapping[str, str], class_names: Iterable[str]
) -> list[str]:
    """Return the classes that SCP statements belong to, told by name or by their SNOMED CT code in the Challenge."""
    named = {statement.casefold() for statement in statements}
    scp = read_scp()["snomed_code"]
    named |= {code for statement, code in scp.items() if code and str(statement).casefold() in named}
    found = {name for statement, name in class_of_statement.items() if str(statement).casefold() in named}
    return [name for name in class_names if name in found]


def _is_kept(key: str, augmentation: Any, data: ECGDataModule) -> bool:
    """Whether an augmentation takes part, for what it may do to the classes of the task."""
    statements = getattr(augmentation, "statements_at_risk", ())
    if not statements:
        return True
    class_of = data.task.class_of_statement(data.source.read_statements())
    at_risk, rule = find_at_risk(statements, class_of, data.class_names), augmentation.at_risk
    if not at_risk or rule == "allow":
        return True
    why = f"it may make {', '.join(at_risk[:8])}{', ...' * (len(at_risk) > 8)} untrue"
    if rule == "refuse":
        raise ConfigError(f"{key}: {why}; {key}.at_risk=allow keeps it, ~{key} leaves it out")
    log.warning("%s is left out: %s (%s.at_risk=allow keeps it)", key, why, key)
    return False
