"""How a command starts: from what was typed to the arguments of its function."""

import functools
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import MappingProxyType
from typing import Any

import hydra
from hydra import compose
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ecgcls import __version__
from ecgcls.command.arguments import expand_home, read_arguments
from ecgcls.command.help import format_help
from ecgcls.command.interruption import exit_interrupted, stop_on_signals, was_told_to_stop
from ecgcls.command.processes import end_with, is_child, is_reporter, read_parent
from ecgcls.command.refusal import RUN, is_expected, load_yaml, refuse
from ecgcls.command.screen import guard_screen
from ecgcls.config import CONF_DIR, check_arguments, list_texts
from ecgcls.errors import ConfigError
from ecgcls.identity import name_variant

_TRACEBACK = "ECGCLS_TRACEBACK"  # in the environment of the processes that a command starts: what the user chose
_CHOICES = {  # groups of which a command sees the choices, without the settings that have no meaning there
    "evaluate": {
        "data": (
            "sampling_rate_hz",
            "copies",
            "duration_s",
            "leads",
            "window_s",
            "window_pooling",
            "batch_size",
            "n_train",
            "n_train_seed",
        )
    }
}
_SHARED = ["output_subdir", "run", "sweep", "hydra_logging", "job_logging"]  # of the run command's `hydra:`


def run_command(
    command: Callable[..., Any],
    *,
    around: Callable[[Callable[[], Any]], Any] | None = None,
    early: Callable[[dict[str, Any]], Any] | None = None,
) -> None:
    """Run a command on the command line's arguments, with its YAML file in ``conf/`` (``config.yaml`` for ``run``).

    `command` is a function whose keywords, with their annotations, are what the command takes. `around` is given the
    call of the command, makes it, and returns what Hydra is to see of it. `early` is given the resolved configuration
    before all of it is checked, which may import torch and Lightning; what it returns, unless None, is the answer.
    """
    _let_threads_sleep()
    with guard_screen():
        if "--version" in sys.argv[1:]:
            print(f"ecgcls {__version__}")
        elif "--help" in sys.argv[1:] or "-h" in sys.argv[1:]:
            print(format_help(_name_config(command), sys.argv[1:]))
        else:
            with stop_on_signals():
                _run(command, around, early)


def _let_threads_sleep() -> None:
    """Let OpenMP's threads sleep while they wait for each other, unless the user says how they wait.

    By default they spin, so one that a busy neighbor has driven from its core is waited for by another that works for
    nothing: the epoch of a run with several threads then takes many times as long. Libraries read this as they load.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & set(os.environ):
        os.environ["OMP_WAIT_POLICY"] = "passive"


def _name_config(command: Callable[..., Any]) -> str:
    return RUN if command.__name__ == "run" else command.__name__


def _run(command: Callable[..., Any], around: Callable[..., Any] | None, early: Callable[..., Any] | None) -> None:
    config_name = _name_config(command)
    if is_child():
        end_with(read_parent())
    warnings.filterwarnings("ignore", message="(?s).*validated against ConfigStore schema")  # our launcher=ray by Ray's
    shows_traceback = os.environ.get(_TRACEBACK if is_child() else "HYDRA_FULL_ERROR") == "1"
    os.environ[_TRACEBACK] = str(int(shows_traceback))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands exceptions on instead of printing and exiting

    @functools.wraps(command)
    def call(config: DictConfig) -> Any:
        def make() -> Any:
            plain = resolve(config)
            answer = None if early is None else early(plain)
            return command(**check_arguments(command, plain)) if answer is None else answer

        try:
            return make() if around is None else around(make)
        except Exception as error:
            if shows_traceback or not is_expected(error):
                raise
            refuse(error, config_name)

    stored = config_name if config_name == RUN else f"ecgcls_{config_name}"
    # Without groups of its own, a command is not shown conf/: model=cnn1d names a run there, not a file.
    own_groups = () if config_name == RUN else _store(config_name, stored)
    is_shown = config_name == RUN or (own_groups and config_name not in _CHOICES)
    config_path = str(CONF_DIR) if is_shown else "pkg://ecgcls"
    application = hydra.main(version_base="1.3", config_path=config_path, config_name=stored)
    try:
        sys.argv[1:] = read_arguments(sys.argv[1:], list_texts(command), may_sweep=config_name == RUN)
        application(call)()
    except (KeyboardInterrupt, Exception) as error:
        # A sweep's processes, which break its pool, have received the signal too.
        if isinstance(error, KeyboardInterrupt) or (isinstance(error, BrokenProcessPool) and was_told_to_stop()):
            exit_interrupted(resumes=config_name == RUN, is_silent=not is_reporter())
        if shows_traceback or not is_expected(error):
            raise
        refuse(error, config_name)


def name_job(config: Mapping[str, Any] = MappingProxyType({})) -> tuple[str, str]:
    """Return the running job's choice of the group ``model``, and its variant: what differs from the defaults.

    ``init`` and ``distill`` are those of `config`, with the ``source`` of the weights that
    `ecgcls.runs.init_settings.settle_init` adds.
    """
    job = HydraConfig.get()
    search_path = [override for override in job.overrides.hydra if override.startswith("hydra.searchpath")]
    choices = _own_choices(job.runtime.choices)
    plain = compose(RUN, overrides=search_path, return_hydra_config=True)
    defaults = _own_choices(plain.hydra.runtime.choices)
    overrides = [
        f"{'' if group in defaults else '+'}{group}={'null' if choice is None else choice}"
        for group, choice in choices.items()
        if choice != defaults.get(group)
    ]
    own, default = _compose([*search_path, *job.overrides.task]), _compose([*search_path, *overrides])
    own |= {key: dict(config[key]) for key in ("init", "distill") if config.get(key)}
    variant = name_variant(own, choices=choices, default_config=default, default_choices=defaults)
    return choices["model"], variant


def list_shadowed() -> list[str]:
    """Return, in words, each choice of the running job that several places have; the first counts."""
    runtime = HydraConfig.get().runtime
    places = [place for place in runtime.config_sources if place.provider not in ("hydra", "schema") and place.path]
    registry = SourcesRegistry.instance()
    sources = [
        registry.resolve(place.schema)(provider=place.provider, path=f"{place.schema}://{place.path}")
        for place in places
    ]
    found = []
    for group, choice in _own_choices(runtime.choices).items():
        having = [source.path for source in sources if choice and source.is_config(f"{group}/{choice}")]
        found += [f"{group}={choice} is that of {having[0]}, not of {path}: rename the latter" for path in having[1:]]
    return found


def read_choice(group: str) -> str:
    """Return the running command's choice of a group."""
    choice: str = HydraConfig.get().runtime.choices[group]
    return choice


def is_sweep() -> bool:
    """Whether the running job is one of a sweep (``-m``)."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def is_first_job() -> bool:
    """Whether no job of the sweep before this one writes on the same screen."""
    config = HydraConfig.get()
    return not is_sweep() or config.job.num == 0 or config.launcher._target_.endswith(("SlurmLauncher", "RayLauncher"))


def read_run_dir() -> Path | None:
    """Return the folder that ``hydra.run.dir=`` gives a single run; None where it was not typed."""
    hydra_config = HydraConfig.get()
    check_sweep_folder(hydra_config.overrides.hydra, is_sweep=is_sweep())
    if "hydra.run.dir" not in map(_read_key, hydra_config.overrides.hydra):
        return None
    if not Path(hydra_config.run.dir).name:
        raise ConfigError(f"hydra.run.dir={hydra_config.run.dir}: expected the path of a folder for this run")
    return Path(hydra_config.run.dir)


def check_sweep_folder(overrides: Sequence[str], *, is_sweep: bool) -> None:
    """Refuse Hydra's own folders for the runs of a sweep, which are placed by their names."""
    for key in map(_read_key, overrides):
        if key in ("hydra.sweep.dir", "hydra.sweep.subdir") or (key == "hydra.run.dir" and is_sweep):
            raise ConfigError(
                f"{key}: each run of a sweep has a folder of its own, <output_dir>/<experiment>/<model>/<variant>/"
                "fold_<k>; set output_dir=PATH or experiment=NAME instead"
            )


def _read_key(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def resolve(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain data; an interpolation that leads nowhere is a `ConfigError`."""
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        why = str(error).splitlines()[0]
        if missing := re.search(r"'preset\.\w+\[(.*)\]' not found", why):
            why = f"the preset has no value for {missing[1]}; set it yourself, or choose another preset"
        raise ConfigError(f"{error.full_key}: {why}") from error
    return expand_home(plain)


def _compose(overrides: list[str]) -> dict[str, Any]:
    """Compose the configuration of a run, its interpolations as they are written."""
    plain: Any = OmegaConf.to_container(compose(RUN, overrides=overrides), resolve=False)
    return dict(plain)


def _own_choices(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out Hydra's own groups."""
    return {group: choice for group, choice in choices.items() if not group.startswith("hydra/")}


def _store(config_name: str, stored: str) -> list[Any]:
    """Hand a command's YAML to Hydra, with the logging of the run; return its groups."""
    shared = OmegaConf.masked_copy(load_yaml(RUN).hydra, _SHARED)
    own = load_yaml(config_name)
    groups = list(own.pop("defaults", []))
    quiet: list[Any] = [{"override hydra/job_logging": "none"}, {"override hydra/hydra_logging": "none"}]
    if "_self_" not in groups:
        quiet.append("_self_")
    node = OmegaConf.merge({"hydra": shared}, own, {"defaults": [*groups, *quiet]})
    ConfigStore.instance().store(name=stored, node=node)
    for group, unused in _CHOICES.get(config_name, {}).items():
        for path in (CONF_DIR / group).glob("*.yaml"):
            choice = load_yaml(f"{group}/{path.stem}")
            kept = OmegaConf.masked_copy(choice, [str(key) for key in choice if key not in ("defaults", *unused)])
            ConfigStore.instance().store(group=group, name=path.stem, node=kept, provider=stored)
    return groups
