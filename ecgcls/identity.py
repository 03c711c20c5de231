"""What makes two configurations the same, and how their difference is written into a folder's name.

A configuration is plain data here: dicts, lists and values.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ecgcls.data.lead_sets import LEADS, join_leads, parse_leads

_NOT_IDENTITY = (
    "experiment", "n_threads", "output_dir", "overwrite", "data.root", "data.manifest", "data.store_dir",
    "trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.profiler",
)  # fmt: skip
"""Keys that say where things are or what is shown, not what is computed; the whole group ``logger`` is like that.

Threads change a result in its last digits: a run notes how many it had, and that they differ is told.
"""

_ORIGINS = ("init", "distill")
"""The nodes that name another run's net."""


def identify(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resolved settings that a result depends on, by dotted key."""
    every = flatten(_take_origin(config))
    return {key: _standardize(key, value) for key, value in every if _is_identity(key, value)}


def name_variant(
    config: Mapping[str, Any],
    *,
    choices: Mapping[str, Any],
    default_config: Mapping[str, Any],
    default_choices: Mapping[str, Any],
) -> str:
    """Write into a folder's name what distinguishes a configuration from the default one of the same model.

    Such as ``task=rhythm,trainer.max_epochs=30``; empty for the defaults. Two configurations that differ in anything
    but the fold and where things are have different names. `config` is composed with its interpolations;
    `default_config` is what the same choices give without further overrides.
    """
    parts = [
        f"{group}={_name_value(choice)}"
        for group, choice in sorted(choices.items())
        if group not in ("model", "logger") and choice != default_choices.get(group)
    ]
    paths = {key: (config.get(key) or {}).get("path") for key in _ORIGINS}
    placed = {key: {**default_config[key], "path": path} for key, path in paths.items() if path}
    own, default = identify(config), identify({**default_config, **placed})
    for key in sorted(own.keys() | default.keys()):
        if key == "fold":
            continue
        if key not in own:
            parts.append(f"no-{key}")
        elif key not in default or (own[key], type(own[key])) != (default[key], type(default[key])):
            parts.append(f"{key.removesuffix('.source')}={_name_value(own[key])}")
    name = ",".join(parts)
    return name if len(name) <= 150 else f"{name[:140]}~{_digest(name)}"


def flatten(config: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf with its dotted key; an empty dict or a list is a leaf."""
    if isinstance(config, Mapping) and config:
        for name, child in config.items():
            yield from flatten(child, f"{key}.{name}" if key else str(name))
    else:
        yield key, config


def suggest(word: str, known: Sequence[str], *, prefix: str = "") -> str:
    """Return '; did you mean ...?' with the near matches, or the whole list if it is short; each after a prefix."""
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.7)
    if near:
        return f"; did you mean {' or '.join(prefix + name for name in near)}?"
    return f"; expected one of {', '.join(prefix + name for name in known)}" if 0 < len(known) <= 30 else ""


def suggest_key(key: str, known: Sequence[str]) -> str:
    """Return the near matches of a dotted key among its siblings, or anywhere if its parent is unknown."""
    parent, dot, name = key.rpartition(".")
    siblings = [each.rpartition(".")[2] for each in known if each.rpartition(".")[0] == parent and "._" not in each]
    return suggest(name, siblings, prefix=parent + dot) if siblings or not dot else suggest(key, known)


def _take_origin(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out where a net is that a training starts or learns from, told by its `source`; or that there is none."""
    kept = {}
    for key, value in config.items():
        if key not in _ORIGINS:
            kept[key] = value
        elif value and value.get("path"):
            kept[key] = {name: each for name, each in value.items() if name not in ("path", "seen")}
    return kept


def _is_identity(key: str, value: Any) -> bool:
    if key in ("model.metadata", "data.n_train", "data.n_train_seed") and not value:
        return False  # a net of the signal alone, of all training records, as all were before there were these settings
    if key.startswith("evaluation.") and key.rpartition(".")[2] in ("_target_", "_convert_"):
        return False  # where the settings' classes are in the code
    if (key, value) == ("data.shorter", "refuse") or (key in ("augment", "loss.label_smoothing") and not value):
        return False  # as before there were these settings
    if (key == "data.window_s" and value is None) or (key, value) == ("data.window_pooling", "logits"):
        return False  # as before there were these settings
    if key == "data.leads" and parse_leads(value) == LEADS:
        return False  # as before there were these settings
    return key not in _NOT_IDENTITY and key.partition(".")[0] != "logger"


def _standardize(key: str, value: Any) -> Any:
    """Return a value as all who mean the same have it."""
    return join_leads(parse_leads(value)) if key == "data.leads" else value


def _name_value(value: Any) -> str:
    """Write a value so that it can be in a folder's name; what had to be changed gets a digest."""
    is_word = value is None or isinstance(value, bool)
    text = json.dumps(value) if is_word else str(value)  # null, true, false
    if re.fullmatch(r"[A-Za-z0-9._+-]{1,40}", text) and text not in (".", ".."):
        return text
    last = re.sub(r"[^A-Za-z0-9._+-]+", "-", text.rstrip("/").rpartition("/")[2]).strip("-")[:40]
    return f"{last}~{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
