"""What somebody meant who typed a key or a choice that is not there: the field's other words for our settings."""

import ast
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from ecgcls.identity import suggest, suggest_key

_WORDS: Mapping[str, tuple[str, ...]] = {  # the first key that the command has
    "trainer.max_epochs": ("epochs", "n_epochs", "num_epochs", "max_epochs", "epoch"),
    "optimizer.lr": ("lr", "learning_rate", "learningrate"),
    "optimizer.weight_decay": ("weight_decay", "wd", "l2"),
    "data.batch_size": ("batch_size", "bs", "batch", "batchsize", "n_batch"),
    "data.root": ("root", "data_dir", "data_root", "data_path", "dataset", "data_folder", "data.path", "data.dir"),
    "task.only": ("classes", "class", "labels", "class_names"),
    "logger": ("wandb", "mlflow", "tensorboard", "use_wandb", "log"),
    "data.sampling_rate_hz": ("sampling_rate_hz", "sampling_rate", "fs", "hz", "frequency"),
    "data.n_records": ("n_records", "n_samples"),
    "trainer.devices": ("devices", "gpus", "n_gpus", "num_gpus", "n_devices", "num_devices"),
    "trainer.accelerator": ("accelerator", "device", "gpu", "cuda"),
    "trainer.precision": ("precision", "fp16", "amp", "bf16"),
    "trainer.gradient_clip_val": ("gradient_clip_val", "clip", "grad_clip", "gradient_clip", "max_grad_norm"),
    "model.dropout": ("dropout", "dropout_rate", "drop"),
    "model.width": ("width", "channels", "n_filters", "filters", "hidden_size"),
    "seed": ("random_seed", "random_state", "rng", "manual_seed"),
    "fold": ("n_folds", "n_fold", "cv_fold", "test_fold"),
    "experiment": ("name", "exp", "experiment_name", "exp_name", "run_name", "project"),
    "input": ("path", "file", "files", "record", "ecg"),
    "output": ("out", "output_path", "outdir", "out_dir", "save_dir", "output_dir"),
    "output_dir": ("out", "output", "output_path", "outdir", "out_dir", "save_dir", "log_dir", "outputs"),
    "run": ("checkpoint", "ckpt", "ckpt_path", "checkpoint_path", "weights", "run_path"),
    "evaluation.thresholds.fixed": ("threshold", "thresholds"),
    "evaluation.intervals.n_resamples": ("n_bootstrap", "n_resamples", "bootstrap"),
    "thresholds.fixed": ("threshold",),
    "intervals.n_resamples": ("n_bootstrap", "n_resamples", "bootstrap"),
}
_ADVICE: Mapping[str, str] = {  # where there is no such key at all
    "num_workers": "there are no worker processes: batches come from mapped memory",
    "n_workers": "there are no worker processes: batches come from mapped memory",
    "workers": "there are no worker processes: batches come from mapped memory; -m hydra.launcher.n_jobs=N is how many "
    "runs of a sweep go at a time",
    "patience": "type callbacks=early_stopping; then it is callbacks.early_stopping.patience",
    "early_stopping": "type callbacks=early_stopping",
    "pretrained": "nothing is pretrained here; predict, evaluate and interpret take run=PATH",
    "resume": "the same command resumes a run that was stopped",
}
_OF_RUNS = ("run", "run_dir", "model", "experiment", "variant", "fold", "checkpoint", "ckpt")
_DEVICES = {
    "gpu": "trainer.accelerator=gpu", "cuda": "trainer.accelerator=gpu", "cpu": "trainer.accelerator=cpu",
    "mps": "trainer.accelerator=mps", "tpu": "trainer.accelerator=tpu",
    "ddp": "trainer.accelerator=gpu trainer.devices=N", "multi_gpu": "trainer.accelerator=gpu trainer.devices=N",
}  # fmt: skip


def explain_key(key: str, known: Sequence[str], targets: Mapping[str, str]) -> str:
    """Say what an unknown key may have meant.

    Parameters
    ----------
    key
        As it was typed, without its value.
    known
        All keys of the command.
    targets
        What each node of the configuration that names something names, by the node's key.
    """
    if key == "bundle" and "run" in known:
        return (
            "bundle: no such key; this takes the run that a bundle was made from, run=PATH "
            "(predict, evaluate and serve take bundles)"
        )
    if key in _OF_RUNS and "bundle" in known and "run" not in known:
        return (
            f"{key}: no such key; this takes a bundle alone, bundle=PATH, which python -m ecgcls.export makes of a run"
        )
    parent, _, name = key.rpartition(".")
    target = targets.get(parent)
    settable = [each for each in list_parameters(target) if f"{parent}.{each}" not in known] if target else []
    if name in settable:
        return f"{key}: a setting of {target} that no file sets yet; a plus adds it: +{key}={_read_value(key)}"
    for word in (key, name):
        meant = [each for each, words in _WORDS.items() if each in known and word.casefold().replace("-", "_") in words]
        if meant:
            return f"{key}: no such key; did you mean {' or '.join(meant[:3])}?"
    if (advice := _ADVICE.get(name)) and "trainer.max_epochs" in known:
        return f"{key}: no such key; {advice}"
    near = suggest_key(key, known)
    if settable and not near.startswith("; did you mean"):
        added = suggest(name, settable, prefix=f"+{parent}.")
        near = added if added.startswith("; did you mean") else near
    return f"{key}: no such key{near}"


def explain_choice(group: str, name: str, options: Sequence[str]) -> str:
    """Say what a choice that a group does not have may have meant."""
    near = suggest(name, options)
    hint = near if near.startswith("; did you mean") else ""
    if group == "trainer" and name in _DEVICES:
        hint = f"; type {_DEVICES[name]} (trainer is the group of whole trainers)"
    elif group == "hydra/launcher" and name in ("joblib", "parallel", "process", "multiprocessing"):
        hint = "; did you mean local, the runs of a sweep side by side on this machine?"
    return f"{group}={name}: no such choice{hint} (choices: {', '.join(options)})"


def list_parameters(target: str) -> list[str]:
    """Return the parameters of a class or function, by its full name, without importing it; empty if that fails.

    Examples
    --------
    >>> "fast_dev_run" in list_parameters("pytorch_lightning.Trainer")
    True
    """
    try:
        found = _find_definition(target, depth=5)
    except (OSError, ValueError, SyntaxError, ImportError):
        return []
    if isinstance(found, ast.ClassDef):
        found = next((each for each in found.body if getattr(each, "name", "") == "__init__"), None)
    if not isinstance(found, ast.FunctionDef):
        return []
    return [each.arg for each in (*found.args.args, *found.args.kwonlyargs) if each.arg != "self"]


def _find_definition(target: str, *, depth: int) -> ast.stmt | None:
    """Follow a name through the ``from ... import`` of packages to the source of what it names."""
    module, _, name = target.rpartition(".")
    top, *inner = module.split(".")
    spec = find_spec(top)
    if depth == 0 or spec is None or spec.origin is None:
        return None
    path = Path(spec.origin)
    if inner:
        place = path.parent.joinpath(*inner)
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if getattr(node, "name", None) == name:
            return node
        if isinstance(node, ast.ImportFrom):
            source = next((each.name for each in node.names if name == (each.asname or each.name)), None)
            if source is not None:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                return _find_definition(".".join([*parents, *filter(None, [node.module]), source]), depth=depth - 1)
    return None


def _read_value(key: str) -> str:
    """Return what was typed for a key."""
    typed = (re.fullmatch(rf"\+*{re.escape(key)}=(.*)", argument) for argument in sys.argv[1:])
    return next((found[1] for found in typed if found), "VALUE")
