"""What a training starts or learns from: another run's net, or weights that somebody has kept, told by content."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ecgcls.config import RunConfig
from ecgcls.errors import ConfigError
from ecgcls.files import check_regular
from ecgcls.identity import identify
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.find import list_beside, open_run
from ecgcls.runs.info import NAME, RunInfo
from ecgcls.runs.manifest import hash_file

_MAX_BYTES = 20_000_000_000


@dataclass(frozen=True)
class Origin:
    """A finished run, or a file of weights.

    Attributes
    ----------
    path
        The run's folder, or the file.
    source
        By what it is known in the identity of the run that starts from it. Of a folder of folds it is the same for all
        folds, so that they are folds of one configuration.
    weights_sha256
        Of the weights.
    run
        None: a file.
    """

    path: Path
    source: str
    weights_sha256: str
    run: RunDirectory | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        if self.run is None:
            return self.path.name
        info = self.run.read_info()
        return f"{info.model}, fold {info.fold} of {info.experiment}"

    def describe(self) -> dict[str, Any]:
        """Return what ``run.json`` says of it."""
        described: dict[str, Any] = {"path": str(self.path), "weights_sha256": self.weights_sha256}
        if self.run is None:
            return described
        info = self.run.read_info()
        keys = ("experiment", "model", "variant", "fold", "seed", "synthetic", "finished")
        return described | {key: getattr(info, key) for key in keys}


def find_origin(config: RunConfig, key: Literal["init", "distill"] = "init") -> Origin | None:
    """Find what ``init=``, or ``distill=``, names, for the fold of a configuration; None where it names nothing.

    Raises
    ------
    ConfigError
        If it is no finished run, no folder that has the same fold, and (of ``init``) no file in the format safetensors;
        or if settings of the group contradict one another.
    """
    node: Any = config.get(key)
    if node is None or node["path"] is None:
        return None
    path: Path = node["path"]
    if path.is_dir():
        if node.get("seen") is not None:
            raise ConfigError(f"init.seen has no effect with the run {path}, which has its own waveforms; leave it out")
        is_run = (path / NAME).exists()
        run = open_run(path if is_run else _choose_fold(path, config["fold"], key))
        info = run.read_info()
        if info.kind == "ensemble" and key == "distill":
            digest = weights = _hash_members(info)
            return Origin(run.path, f"{info.model}-{digest[:12]}", weights, run)
        if info.kind != "net":
            raise ConfigError(f"{key}: {run.path} is of the kind {info.kind}, which has no net of its own")
        weights = info.fingerprints.get("net") or hash_file(run.check_file("best.ckpt"))
        digest = weights if is_run else _hash_configuration(run)
        return Origin(run.path, f"{info.model}-{digest[:12]}", weights, run)
    if not path.exists():
        or_weights = ", or weights in .safetensors" if key == "init" else ""
        beside = list_beside(path) or f"; expected a finished run's folder{or_weights}"
        raise ConfigError(f"{key}: there is no {path}{beside}")
    if key == "distill":
        raise ConfigError(f"distill: {path} is no folder of a run, whose net and records a teacher is known by")
    if path.suffix != ".safetensors":
        raise ConfigError(
            f"init: {path} is no folder of a run; a single file must be .safetensors (safetensors.torch.save_file): "
            "a pickled one can execute code"
        )
    check_regular(path, max_bytes=_MAX_BYTES)
    digest = hash_file(path)
    return Origin(path, f"weights-{digest[:12]}", digest)


def check_same_origin(run: RunDirectory, weights_sha256: str, key: Literal["init", "distill"] = "init") -> None:
    """Refuse a run that started from other weights, or had another teacher, as of another fold, or trained again."""
    found = getattr(run.read_info(), key)["source"]["weights_sha256"] if run.is_begun else weights_sha256
    if found != weights_sha256:
        did = "started from" if key == "init" else "learned from"
        raise ConfigError(
            f"{run.path}: this run {did} other weights than {key}= names now (fingerprint {found[:12]} there, "
            f"{weights_sha256[:12]} here): retrain with overwrite=true, or choose another experiment=NAME"
        )


def _choose_fold(folder: Path, fold: int, key: str) -> Path:
    """Return the fold of the same number: others have learned from its test records."""
    place, does = folder / f"fold_{fold}", "starts" if key == "init" else "learns"
    if not place.is_dir() and (there := sorted(path.parent.name for path in folder.glob(f"fold_*/{NAME}"))):
        raise ConfigError(
            f"{key}: {folder} has no fold_{fold}, which fold={fold} {does} from (there: {', '.join(there)}): train it, "
            "or name one fold's folder"
        )
    return place if place.is_dir() else folder


def _hash_members(info: RunInfo) -> str:
    """Return a digest of the nets of an ensemble and of how it takes their mean, wherever they are."""
    of = info.ensemble
    plain = [of["average"], [[member["fingerprints"], member["weight"]] for member in of["members"]]]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _hash_configuration(run: RunDirectory) -> str:
    """Return a digest of what the folds of a run's configuration share: its settings, and the data."""
    plain = {key: value for key, value in identify(run.read_config()).items() if key != "fold"}
    content = json.dumps([plain, run.read_info().data.get("fingerprint")], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()
