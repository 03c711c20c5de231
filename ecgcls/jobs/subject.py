"""What is to be explained: the test records of a finished run, with its net and the way to their signals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ecgcls.data.signals import read_record, to_millivolt
from ecgcls.data.source import Source, split_settings
from ecgcls.errors import ConfigError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.explanation.method import MethodSettings, Query, make_query
from ecgcls.explanation.selection import Example
from ecgcls.files import name_files
from ecgcls.jobs.load import LoadedRun, load_configuration
from ecgcls.jobs.parts import build_part
from ecgcls.jobs.rescore import parse_records
from ecgcls.runs.configuration import Configuration
from ecgcls.training.standardizer import Standardizer


@dataclass(frozen=True)
class ExplainSettings:
    """What to explain, and how.

    Parameters
    ----------
    methods
        Names of `ecgcls.explanation.attribution.METHODS`, or ``all``.
    class_names
        Which classes; None: all, or with `records` those that a record has or is predicted to have.
    records
        Which records, as typed; None: for each class a true positive, a false positive and a false negative.
    layer
        Grad-CAM's layer by its dotted name; None: the activation after the last convolution.
    n_summary, n_scorecard
        Records per class in the summaries, and records of the scorecard; 0 leaves them out.
    seed
        Of whatever is drawn at random.
    data_root
        Where the run's data set is now; None: where it was in training.
    device
        Where the net computes.
    """

    methods: Sequence[str]
    class_names: Sequence[str] | None = None
    records: str | None = None
    layer: str | None = None
    n_summary: int = 50
    n_scorecard: int = 8
    seed: int = 0
    data_root: Path | None = None
    device: str = "cpu"

    @property
    def of_methods(self) -> MethodSettings:
        """The settings of the attribution methods."""
        return MethodSettings(seed=self.seed, layer=self.layer)


@dataclass(frozen=True)
class Subject:
    """A finished run and its test records; opened by `open_subject`.

    Attributes
    ----------
    run
        Its net, classes, leads and thresholds.
    title
        Of the run, for figures.
    test
        Predictions of the records that may be explained.
    paths
        Each record's file, by ecg_id.
    """

    run: LoadedRun
    title: str
    test: Predictions
    paths: pd.Series

    @property
    def file_names(self) -> dict[str, str]:
        """How each class is written in a file's name."""
        return name_files(self.run.class_names)

    def make_query(self, examples: Sequence[Example]) -> Query:
        """Read the records of some examples, whose classes are to be explained."""
        signals = [read_record(self.paths[example.ecg_id]).signal_uv for example in examples]
        net = self.run.nets[0]
        standardizer = net[0]
        assert isinstance(standardizer, Standardizer)
        return make_query(
            net,
            torch.from_numpy(to_millivolt(np.stack(signals))),
            [example.class_index for example in examples],
            baseline_mv=standardizer.mean_mv,
            sd_mv=standardizer.sd_mv,
            sampling_rate_hz=self.run.sampling_rate_hz,
        )


def open_subject(one: Configuration, settings: ExplainSettings) -> Subject:
    """Open a run with its test records, or those of them that the settings name.

    Raises
    ------
    ConfigError
        There is no such run or device, or the data set is not the one that the run was trained on.
    DataError
        A record is not in the test set.
    """
    node, _ = split_settings(one.runs[0].read_config()["data"])
    root = settings.data_root or Path(node["root"])
    source: Source = build_part("data", {**node, "root": str(root)})
    filenames = source.read_records()["filename"]
    trained_on = one.info.data["fingerprint"]
    changed = [name for name, digest in source.fingerprint().items() if trained_on[name] != digest]
    if changed:
        raise ConfigError(
            f"{root / changed[0]} is not the table that {one.folder} was trained on; where the data set has moved, set "
            "data.root=PATH"
        )
    run = load_configuration(one, device=settings.device)
    test = one.tested if settings.records is None else one.tested.take(parse_records(settings.records))
    return Subject(run, one.title, test, filenames.map(lambda name: root / name))
