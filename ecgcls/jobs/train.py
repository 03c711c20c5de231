"""Train, predict and score one run, resuming where an earlier start was stopped."""

import contextlib
import hashlib
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from logging.handlers import MemoryHandler
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_lightning.loggers.logger import DummyLogger

from ecgcls.command.interruption import was_told_to_stop
from ecgcls.command.processes import count_started, read_rank, run_processes
from ecgcls.data.cohort import Cohort
from ecgcls.data.groupings import list_groupings, name_groups
from ecgcls.data.likeness import learn_from_store
from ecgcls.data.module import ECGDataModule
from ecgcls.errors import DataError
from ecgcls.evaluation.decisions import learn_decisions
from ecgcls.evaluation.predictions import Predictions
from ecgcls.figures.curves import draw_training_curves
from ecgcls.figures.style import save_figure
from ecgcls.files import encode_csv, type_ids, write_atomically
from ecgcls.jobs.build import Job
from ecgcls.jobs.logs import errors_only, write_log
from ecgcls.jobs.results import write_results
from ecgcls.jobs.track import log_results, open_trackers
from ecgcls.runs.attested import CHECKPOINTS, hash_uncalibrated
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo
from ecgcls.runs.leaks import check_standardizer, describe_checks, log_official_test
from ecgcls.runs.manifest import hash_file
from ecgcls.runs.origin import check_same_origin
from ecgcls.training.fitters import Predicted
from ecgcls.training.memory import keep_freed_memory

log = logging.getLogger(__name__)


def train(job: Job, early: MemoryHandler) -> None:
    """Train, predict and score; what was written before an error is kept for the next try."""
    keep_freed_memory()
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a debugging aid
    if job.n_devices:
        with errors_only():  # the first of the processes reports the rest
            run_processes(job.n_devices)
        return
    if read_rank() > 0:
        with errors_only():
            _take_part(job)
        return
    run = job.run
    made = [path for path in (run.path, *run.path.absolute().parents) if not path.exists()]
    with run.locked():
        if not job.overwrite and run.is_finished:
            return _add_seen(job)  # another process has finished it meanwhile, or an earlier version of ecgcls
        ongoing = _Ongoing(run, _start(job), made=made)
        with write_log(early, run.path / "run.log"), ongoing.recorded():
            loggers = open_trackers(job.trackers, ongoing.info, run.path, output_dir=job.output_dir)
            for logger in loggers:
                where = {"experiment": job.info.experiment, "run_dir": str(run.path)}
                logger.log_hyperparams({**job.identity, **where})
            job.fitter.attach(loggers)
            if job.fitter.is_trained(run.path):
                log.info("%s: trained already; what is missing is to predict and to score", run.path)
                history = run.read_history()
                ongoing.update(stages_s={"fit": 0.0, **ongoing.info.stages_s})
            else:
                with ongoing.timed("fit"):
                    history = job.fitter.fit(job.data, run.path, resume=True)
                run.write_info(ongoing.info)  # with the time that it took
                run.write_history(history)
            with ongoing.timed("test"):
                predicted = job.fitter.predict(job.data, run.path)
            run.write_predictions(tabulate(predicted, job.data.cohort), is_calibrated=False)
            ongoing.update(n_epochs=len(history), n_parameters=job.fitter.n_parameters, **job.fitter.describe(run.path))
            check_standardizer(ongoing.info.standardized_on, ongoing.info, job.fitter.standardizer)
            with ongoing.timed("score"):
                _score(job, ongoing)
            shown = [] if job.is_trial else sorted((run.path / "figures").glob("*.png"))
            parts = ("val",) if job.is_trial else ("val", "test")  # a search must not see test scores
            log_results(loggers, run.read_metrics(), parts=parts, figures=shown, step=job.fitter.n_steps)


def tabulate(predicted: Predicted, cohort: Cohort) -> Predictions:
    """Put part, rows of the cohort and probabilities together, one row per record."""
    parts = list(predicted.values())
    rows = np.concatenate([part.rows for part in parts])
    records = cohort.records.iloc[rows]
    logits = [part.y_logit for part in parts if part.y_logit is not None]
    return Predictions(
        ecg_id=type_ids(records.index),
        patient_id=records["patient_id"].to_numpy(),
        strat_fold=records["strat_fold"].to_numpy(),
        split=np.concatenate([np.full(len(part.rows), name) for name, part in predicted.items()]),
        y_true=cohort.y_true[rows],
        y_prob=np.concatenate([part.y_prob for part in parts]),
        class_names=cohort.class_names,
        y_logit=np.concatenate(logits) if logits else None,
    )


def find_likelihoods(data: ECGDataModule) -> pd.DataFrame:
    """Return how likely the positive labels of the cohort are, as `ecgcls.data.tasks.Task.find_likelihoods`."""
    cohort = data.cohort
    return data.task.find_likelihoods(cohort.class_names, cohort.records["scp_codes"], data.source.read_statements())


def _start(job: Job) -> RunInfo:
    """Prepare the folder, new or of a run that was stopped, and write the first ``run.json``."""
    run = job.run
    if job.overwrite and run.path.exists():
        run.clear()
    run.remove_leftovers()
    run.check_same_data(job.info.data["fingerprint"])
    if job.info.init:
        check_same_origin(run, job.info.init["source"]["weights_sha256"])
    if job.info.distill:
        check_same_origin(run, job.info.distill["source"]["weights_sha256"], "distill")
    earlier = run.read_info() if run.is_begun else replace(job.info, n_starts=0)
    if run.is_begun and earlier.n_threads != job.info.n_threads:
        log.warning(
            "%s: resumed with n_threads=%d, begun with %d: the last digits differ from those of a run that was not",
            run.path,
            job.info.n_threads,
            earlier.n_threads,
        )
    run.write_config(job.config_yaml)
    run.write_seen(job.data.seen)
    for name, table in (("repairs.csv", job.data.noted), ("left_out.csv", job.data.left_out)):
        if len(table):
            write_atomically(run.path / name, encode_csv(table, index=False))
    info = replace(
        job.info,
        started=earlier.started or _now(),
        stages_s={**earlier.stages_s, **job.info.stages_s},
        tracking_id=earlier.tracking_id or uuid.uuid4().hex,
        n_starts=earlier.n_starts + 1,
        n_processes=count_started(),
    )
    run.write_info(info)
    return info


def _add_seen(job: Job) -> None:
    """Add to a finished run what it lacks if an earlier version of ecgcls has trained it: no training is needed."""
    if not job.run.has_seen:
        job.run.check_same_data(job.info.data["fingerprint"])
        job.run.write_seen(job.data.seen)
        log.info("%s: finished already; the waveforms of its records are added", job.run.path)


def _take_part(job: Job) -> None:
    """Do this process's share of a net that several processes train; the first one writes."""
    job.fitter.attach([DummyLogger() for _ in job.trackers])
    if job.overwrite or not job.fitter.is_trained(job.run.path):
        job.fitter.fit(job.data, job.run.path, resume=not job.overwrite)
    job.fitter.predict(job.data, job.run.path)


def _score(job: Job, ongoing: "_Ongoing") -> None:
    """Recalibrate, choose thresholds, score and draw."""
    run, info = job.run, ongoing.info
    settings, uncalibrated = info.evaluation, run.read_predictions(is_calibrated=False)
    decisions = learn_decisions(
        uncalibrated.select("val"),
        calibration=settings.calibration,
        thresholds=settings.thresholds,
        pos_weight=info.pos_weight,
    )
    decisions.check_learned_on(info.hash_part("val"))
    config_sha256 = hashlib.sha256(job.config_yaml.encode()).hexdigest()
    fingerprints = {"predictions": hash_uncalibrated(uncalibrated), "config": config_sha256}
    fingerprints |= {name: hash_file(run.path / name) for name in CHECKPOINTS if (run.path / name).is_file()}
    ongoing.update(fingerprints=info.fingerprints | fingerprints)
    for name, why in decisions.not_tuned.items():
        log.info("Threshold of %s: %g, not tuned (%s in validation)", name, decisions.thresholds[name], why)
    predictions = decisions.apply(uncalibrated)
    run.write_predictions(predictions)
    groups = name_groups(job.data.cohort.records, list_groupings(job.data.source))
    run.write_groups(groups.loc[predictions.ecg_id])
    likelihoods = find_likelihoods(job.data)
    likelihoods = likelihoods[likelihoods["ecg_id"].isin(predictions.ecg_id)]
    run.write_likelihoods(likelihoods)
    if info.kind == "net":
        records, cohort = job.data.cohort.records, job.data.cohort
        parts = records.index[cohort.find_part("train")], records.iloc[cohort.find_part("val")]
        learn_from_store(job.data.store, *parts).write(run.path / "likeness.npz")
    write_results(
        run.path,
        predictions,
        title=f"{info.title}, test",
        threshold=[decisions.thresholds[name] for name in predictions.class_names],
        uncalibrated=uncalibrated,
        pos_weight=info.pos_weight,
        settings=settings,
        groups=groups,
        likelihoods=likelihoods,
    )
    curves = draw_training_curves(run.read_history(), best_epoch=info.best_epoch, title=info.title)
    save_figure(curves, run.path / "figures" / "training_curves.png")
    ongoing.update(thresholds=dict(decisions.thresholds), decisions=decisions.to_dict())
    official = log_official_test(run, info, output_dir=job.output_dir, command="run")
    checks = describe_checks(info, learned_on=decisions.records_sha256)
    ongoing.update(leakage=checks | {"official_test_fold": official})


@dataclass
class _Ongoing:
    """A run while it is under way: what ``run.json`` will say of it."""

    run: RunDirectory
    info: RunInfo
    made: Sequence[Path] = ()  # the folders that this start has made, the run's own first

    def update(self, **changes: object) -> None:
        """Note more about the run."""
        self.info = replace(self.info, **changes)  # type: ignore[arg-type]

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note how long a block takes, s."""
        start = time.perf_counter()
        yield
        self.update(stages_s={**self.info.stages_s, stage: round(time.perf_counter() - start, 3)})

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Write how a block ended into ``run.json``."""
        try:
            yield
        except BaseException as error:
            is_stop = isinstance(error, KeyboardInterrupt | SystemExit)  # SystemExit: SLURM's time is up
            reason = "SIGTERM" if was_told_to_stop() else f"{type(error).__name__}: {error}".strip(": ")
            with contextlib.suppress(OSError):  # a full disk, which the error under way reports
                if self._is_void(error):
                    self._remove()
                    raise
                self.run.write_info(replace(self.info, status="interrupted" if is_stop else "failed", error=reason))
            raise
        self.run.write_info(replace(self.info, status="finished", error=None, finished=_now()))

    def _is_void(self, error: BaseException) -> bool:
        """Whether an error leaves nothing to go on with, nor a training that diverged to be told of."""
        is_fault = isinstance(error, Exception) and not isinstance(error, DataError)
        return is_fault and not any((self.run.path / name).exists() for name in ("last.ckpt", "history.csv"))

    def _remove(self) -> None:
        """Leave no folder that would be listed as a run."""
        self.run.clear()
        self.run.path.with_name(f".{self.run.path.name}.lock").unlink(missing_ok=True)
        for folder in self.made:
            folder.rmdir()  # one that has become somebody else's too is not empty


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
