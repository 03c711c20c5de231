"""Another data set than a run's own: its source, and its labels in the classes of the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import pandas as pd
from numpy.typing import NDArray

from ecgcls.config import read_target
from ecgcls.data.source import ModuleSettings, Source
from ecgcls.data.tasks import Labels, Task
from ecgcls.data.translation import Translation, translate
from ecgcls.errors import ConfigError
from ecgcls.jobs.parts import build_part

log = logging.getLogger(__name__)

_PTBXL = "ecgcls.data.ptbxl.PTBXL"
_OWN = ("known_records",)  # of evaluate's node `data`, besides the settings of the source and of the data module


def build_source(data: Mapping[str, Any], sampling_rate_hz: int) -> Source:
    """Build the source of a node ``data`` of ``conf/evaluate.yaml``, at a run's sampling rate.

    Without a ``_target_`` it is a data set in PTB-XL's layout. One that has no signals at this rate is read at its
    highest, and resampled by the store.
    """
    target = data.get("_target_") or _PTBXL
    signature, hints = read_target("data", target)
    hint = hints.get("sampling_rate_hz")
    rates = get_args(hint) if get_origin(hint) is Literal else (sampling_rate_hz,)
    of_module = ModuleSettings.__annotations__
    node = {key: value for key, value in data.items() if key not in (*of_module, *_OWN)}
    if "missing_records" not in signature.parameters and node.pop("missing_records", "error") != "error":
        raise ConfigError(f"data.missing_records=drop has no effect on {target}, which has all its records")
    rate_hz = sampling_rate_hz if sampling_rate_hz in rates else max(rates)
    source: Source = build_part("data", {**node, "_target_": target, "sampling_rate_hz": rate_hz})
    source.prepare()
    return source


@dataclass(frozen=True, eq=False)
class Translated:
    """The labels of another data set in the classes of a run."""

    translation: Translation
    labels: Labels
    is_labeled: NDArray
    """Which records take part, ``(record,)``."""
    class_names: tuple[str, ...]
    """Those classes of the net that can be scored there."""
    columns: list[int]
    """Where these are among the classes of the net."""

    @property
    def left_out(self) -> list[str]:
        """The classes of the net that nothing there says."""
        return [name for name in self.translation.list_classes("none") if name in self.labels.class_names]

    @property
    def broader(self) -> list[str]:
        """The scored classes that are only nearly the same there."""
        return [name for name in self.translation.list_classes("broader") if name in self.class_names]

    def tabulate(self, scp_codes: pd.Series) -> pd.DataFrame:
        """Return the links of `Translation` with the records that have each statement; no statement where none has."""
        counts = pd.Series([code for codes in scp_codes for code in codes], dtype=str).value_counts()
        table = self.translation.links
        missing = pd.DataFrame({"class": self.left_out, "statement": "", "relation": "none"})
        n_records = table["statement"].map(counts).fillna(0).astype(int)
        table = pd.concat([table.assign(n_records=n_records), missing.assign(n_records=0)], ignore_index=True)
        taken_as = self.translation.taken_as
        taken = {f"{key}_taken_as": [taken_as.get(name, "") for name in table[key]] for key in table.columns[:2]}
        return table.assign(**taken)


def label_records(
    task: Task, class_names: tuple[str, ...], absent: tuple[str, ...], scp_codes: pd.Series, statements: pd.DataFrame
) -> Translated:
    """Label the records of another data set, and say which classes of the run it does not have.

    `absent` are the classes that the run left out: a record that has only these is a negative of the others.
    """
    translation = translate(task, (*class_names, *absent), statements)
    labels, is_labeled = translation.label(task, scp_codes, statements.index)
    scored = [name for name in class_names if translation.relations[name] != "none"]
    columns = [class_names.index(name) for name in scored]
    if not scored:
        raise ConfigError(f"data: none of the classes of the net ({', '.join(class_names)}) is said there")
    is_labeled = is_labeled & (labels.y_true[:, columns] >= 0).any(axis=1)
    if task.exclusive:  # a record whose only class the run left out has none
        is_labeled = is_labeled & (labels.y_true[:, : len(class_names)] == 1).any(axis=1)
    if translation.taken_as:
        taken = (f"{name} as {what}" for name, what in translation.taken_as.items())
        log.info("By their names, as crosswalk.csv has it, taken: %s", ", ".join(taken))
    found = Translated(translation, labels, is_labeled, tuple(scored), columns)
    if left_out := [name for name in class_names if name not in scored]:
        log.warning("Not scored, for no statement there says them: %s", ", ".join(left_out))
    if found.broader:
        log.warning("Statements there are near to, but not the same as: %s", ", ".join(found.broader))
    return found
